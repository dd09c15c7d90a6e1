//! What a proxy does not have, and what its type has to be.

use procpool::Manager;
use serde::{Deserialize, Serialize};

fn main() {}

#[derive(Serialize, Deserialize)]
pub struct Counter(u32);

#[procpool::shared]
impl Counter {
    pub fn get(&self) -> u32 {
        self.0
    }

    #[shared(skip)]
    pub fn skipped(&self) -> u32 {
        self.0
    }
}

impl Counter {
    pub fn elsewhere(&self) -> u32 {
        self.0
    }
}

pub async fn calls(counter: CounterProxy) {
    let _ = counter.get().await;
    let _ = counter.skipped().await;
    let _ = counter.elsewhere().await;
}

pub struct Plain(u32);

#[procpool::shared]
impl Plain {
    pub fn get(&self) -> u32 {
        self.0
    }
}

pub async fn by_value(manager: Manager) {
    let _ = manager.create(Plain(0)).await;
    let _ = manager.create(0u32).await;
}

pub struct NotSent(std::rc::Rc<u32>);

#[procpool::shared]
impl NotSent {
    pub fn get(&self) -> u32 {
        *self.0
    }
}

pub struct NoForm;

pub struct Arguments(u32);

#[procpool::shared]
impl Arguments {
    pub fn take(&self, _none: NoForm) -> u32 {
        self.0
    }

    pub fn give(&self) -> NoForm {
        NoForm
    }

    pub async fn hold(&self) {
        let held = std::rc::Rc::new(1);
        std::future::ready(()).await;
        drop(held);
    }
}
