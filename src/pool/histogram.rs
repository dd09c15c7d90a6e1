//! How long things took, in buckets of powers of two.

use std::fmt;
use std::time::Duration;

const BUCKETS: usize = 40;

/// A distribution of durations: bucket `i` counts those under `2^i` µs (and not
/// under `2^(i-1)`), up to about six days.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    total_ns: u128,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: [0; BUCKETS], total_ns: 0, max_ns: 0 }
    }
}

impl Histogram {
    #[inline]
    pub(super) fn record(&mut self, ns: u64) {
        let us = ns / 1000;
        let bucket = (u64::BITS - us.leading_zeros()) as usize;
        self.counts[bucket.min(BUCKETS - 1)] += 1;
        self.total_ns += u128::from(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// How many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their mean; zero if there are none.
    #[must_use]
    pub fn mean(&self) -> Duration {
        match u128::from(self.count()) {
            0 => Duration::ZERO,
            n => Duration::from_nanos((self.total_ns / n) as u64),
        }
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns)
    }

    /// An upper bound, at most twice too high, for the fraction `q` (0 to 1) of
    /// the durations; zero if there are none.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Duration {
        let wanted = (self.count() as f64 * q.clamp(0.0, 1.0)).ceil() as u64;
        let mut seen = 0;
        for (i, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return Duration::from_micros(1 << i).min(self.max());
            }
        }
        self.max()
    }

    /// The buckets: each upper bound with its count, empty ones left out.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, n)| **n > 0)
            .map(|(i, n)| (Duration::from_micros(1 << i), *n))
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count())
            .field("mean", &self.mean())
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .field("max", &self.max())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_bound_what_was_recorded() {
        let mut h = Histogram::default();
        assert_eq!(h.quantile(0.5), Duration::ZERO);
        for us in 1..=1000u64 {
            h.record(us * 1000);
        }
        assert_eq!(h.count(), 1000);
        let p50 = h.quantile(0.5);
        assert!(p50 >= Duration::from_micros(500) && p50 <= Duration::from_micros(1024));
        assert_eq!(h.quantile(1.0), Duration::from_millis(1));
        assert_eq!(h.max(), Duration::from_millis(1));
        h.record(u64::MAX);
        assert_eq!(h.count(), 1001);
    }
}
