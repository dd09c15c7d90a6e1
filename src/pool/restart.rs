//! When a lost worker is replaced: a pure function of what happened and when.
//!
//! A worker that dies in a call is replaced at once: the call is to blame, and
//! fails by itself. A worker that dies before it is ready, or idle, says that
//! starting is what fails: replacements then back off, and after a number of
//! such deaths in a row with nobody left the pool is degraded: calls fail fast
//! with the cause, while single attempts go on.

use std::time::Duration;

use super::error_option;
use crate::process::Error;

/// How a pool replaces workers that do not come up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestartPolicy {
    /// Wait before the second attempt; doubled from one to the next. Default:
    /// 10 ms.
    pub initial_backoff: Duration,
    /// The longest wait. Default: 5 s.
    pub max_backoff: Duration,
    /// Failed starts in a row, with no worker left, after which calls fail
    /// instead of waiting. Default: 5.
    pub max_failed_starts: u32,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        RestartPolicy {
            initial_backoff: Duration::from_millis(10),
            max_backoff: Duration::from_secs(5),
            max_failed_starts: 5,
        }
    }
}

impl RestartPolicy {
    /// The wait before the second attempt.
    #[must_use]
    pub fn initial_backoff(mut self, wait: Duration) -> Self {
        self.initial_backoff = wait;
        self
    }

    /// The longest wait.
    #[must_use]
    pub fn max_backoff(mut self, wait: Duration) -> Self {
        self.max_backoff = wait;
        self
    }

    /// Failed starts in a row until calls fail.
    #[must_use]
    pub fn max_failed_starts(mut self, n: u32) -> Self {
        self.max_failed_starts = n;
        self
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if self.initial_backoff.is_zero() || self.max_backoff < self.initial_backoff {
            return Err(error_option(
                "restart",
                self,
                "an initial backoff above zero and a maximum that is not below it",
            ));
        }
        if self.max_backoff > crate::process::MAX_TIME {
            return Err(error_option("restart", self, "backoffs of at most a century"));
        }
        if self.max_failed_starts == 0 {
            return Err(error_option("restart", self, "at least one failed start"));
        }
        Ok(())
    }
}

/// The history that decides.
#[derive(Debug)]
pub(super) struct Restarts {
    policy: RestartPolicy,
    failures: u32,
    /// No attempt before this time.
    not_before: u64,
    random: u64,
}

impl Restarts {
    pub(super) fn new(policy: RestartPolicy, seed: u64) -> Self {
        Restarts { policy, failures: 0, not_before: 0, random: seed | 1 }
    }

    pub(super) fn came_up(&mut self) {
        self.failures = 0;
        self.not_before = 0;
    }

    pub(super) fn failed(&mut self, now: u64) {
        let doublings = self.failures.min(20);
        self.failures = self.failures.saturating_add(1);
        let wait = self
            .policy
            .initial_backoff
            .saturating_mul(1 << doublings)
            .min(self.policy.max_backoff)
            .as_nanos() as u64;
        // Up to a quarter more, so that pools do not start in step.
        let jitter = self.next_random() % (wait / 4 + 1);
        self.not_before = now.saturating_add(wait + jitter);
    }

    pub(super) fn not_before(&self) -> u64 {
        self.not_before
    }

    pub(super) fn given_up(&self) -> bool {
        self.failures >= self.policy.max_failed_starts
    }

    /// xorshift: jitter needs no better.
    pub(super) fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_ten_attempts_in_five_seconds() {
        let mut restarts = Restarts::new(RestartPolicy::default(), 7);
        let (mut now, mut attempts) = (0, 0);
        while now < 5_000_000_000 {
            attempts += 1;
            restarts.failed(now);
            now = restarts.not_before();
        }
        assert!(attempts <= 10, "{attempts}");
        assert!(restarts.given_up());
        restarts.came_up();
        assert!(!restarts.given_up());
        assert_eq!(restarts.not_before(), 0);
    }
}
