//! A type of one's own in a manager, used by several processes.
//!
//! Shows that
//! - `#[procpool::shared]` on an `impl` block makes its methods callable from other processes, by a proxy: as futures,
//!   and as blocking calls for tasks that are not async;
//! - methods with `&mut self` run one at a time, wherever their callers are, and none is lost;
//! - a result that is a `Result` arrives as one, apart from what can go wrong on the way.
//!
//! Run it with `cargo run --example shared_counter`.

use std::collections::BTreeMap;

use procpool::{Manager, ProcessPool};

/// Votes, which are counted in the manager's process. It is made there, so it needs no encoded form.
struct Ballot {
    votes: BTreeMap<String, u32>,
    open: bool,
}

#[procpool::shared]
impl Ballot {
    /// A ballot between these candidates.
    fn between(candidates: Vec<String>) -> Self {
        Ballot { votes: candidates.into_iter().map(|name| (name, 0)).collect(), open: true }
    }

    /// One vote; how many the candidate has now.
    fn vote(&mut self, candidate: &str) -> Result<u32, String> {
        if !self.open {
            return Err("the ballot is closed".to_owned());
        }
        let votes = self.votes.get_mut(candidate).ok_or(format!("nobody is named {candidate}"))?;
        *votes += 1;
        Ok(*votes)
    }

    fn close(&mut self) {
        self.open = false;
    }

    fn counted(&self) -> Vec<(String, u32)> {
        self.votes.iter().map(|(name, votes)| (name.clone(), *votes)).collect()
    }
}

/// So many voters, each of whom has another favourite than the one before.
#[procpool::task]
fn vote(ballot: BallotProxy, voters: usize) -> Result<(), String> {
    for voter in 0..voters {
        let candidate = ["Ada", "Grace", "Edsger"][voter % 3];
        ballot.blocking_vote(candidate).map_err(|e| e.to_string())??;
    }
    Ok(())
}

#[procpool::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = Manager::start().await?;
    let candidates = ["Ada", "Grace", "Edsger"].map(str::to_owned).to_vec();
    let ballot = BallotProxy::between(&manager, candidates).await?;

    let pool = ProcessPool::builder().workers(4).build().await?;
    for result in pool.starmap(vote, vec![(ballot.clone(), 100); 8]).chunk_size(1).await? {
        result?;
    }
    if let Err(error) = ballot.vote("Nobody").await? {
        println!("not counted: {error}");
    }
    ballot.close().await?;
    if let Err(error) = ballot.vote("Ada").await? {
        println!("not counted: {error}");
    }
    for (name, votes) in ballot.counted().await? {
        println!("{name}: {votes}");
    }
    pool.shutdown().await?;
    manager.shutdown().await?;
    Ok(())
}
