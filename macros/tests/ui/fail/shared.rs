//! What `#[procpool::shared]` refuses.

fn main() {}

pub struct Counter(u32);

pub struct Methods(u32);

#[procpool::shared]
impl Methods {
    fn by_value(self) -> u32 {
        self.0
    }

    fn boxed(self: Box<Self>) -> u32 {
        self.0
    }

    fn named<'a>(&'a self, text: &'a str) -> usize {
        text.len()
    }

    fn generic<T: Into<u32>>(&mut self, x: T) {
        self.0 = x.into();
    }

    fn anonymous(&mut self, x: impl Into<u32>) {
        self.0 = x.into();
    }

    unsafe fn careless(&self) {}

    extern "C" fn foreign(&self) {}

    const fn constant(&self) -> u32 {
        self.0
    }

    fn free(x: u32) -> u32 {
        x
    }

    async fn later() -> Self {
        Methods(0)
    }
}

pub struct Words;

#[procpool::shared]
impl Words {
    #[shared(jump)]
    fn other(&self) {}
}

pub struct Types(String);

#[procpool::shared]
impl Types {
    fn change(&self, x: &mut u32) {
        *x += 1;
    }

    fn pointer(&self, x: *const u8) {
        let _ = x;
    }

    fn lend(&self) -> &str {
        &self.0
    }

    fn some(&self) -> impl Iterator<Item = u32> {
        0..1
    }
}

pub struct Generic<T>(T);

#[procpool::shared]
impl<T> Generic<T> {
    fn get(&self) -> u32 {
        0
    }
}

#[procpool::shared]
impl Generic<u32> {
    fn one(&self) -> u32 {
        self.0
    }
}

#[procpool::shared]
impl Default for Counter {
    fn default() -> Self {
        Counter(0)
    }
}

pub trait Shape {}

#[procpool::shared]
impl dyn Shape {
    fn get(&self) {}
}

pub struct Empty;

#[procpool::shared]
impl Empty {
    const NOTHING: u32 = 0;

    #[shared(skip)]
    fn skipped(&self) {}
}

#[procpool::shared(unknown = 1)]
impl Counter {
    fn get(&self) -> u32 {
        self.0
    }
}

#[procpool::shared]
fn function() {}

#[procpool::shared]
struct Item;

fn _both_are_still_there() -> Item {
    function();
    Item
}
