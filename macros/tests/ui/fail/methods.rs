//! Methods, and what else can be in an `impl`.

fn main() {}

pub struct Counter(u32);

impl Counter {
    #[procpool::task]
    pub fn by_reference(&self) -> u32 {
        self.0
    }

    #[procpool::task]
    pub fn by_value(mut self, x: u32) -> u32 {
        self.0 += x;
        self.0
    }

    #[procpool::task]
    pub fn new(x: u32) -> Self {
        Self(x)
    }
}

pub trait Shape {
    #[procpool::task]
    fn area(side: u32) -> u32;
}

#[procpool::task]
impl Counter {}

pub struct Generic<T>(T);

#[procpool::task]
impl<T> procpool::Task for Generic<T> {
    type Output = T;

    fn run(self) -> T {
        self.0
    }
}

pub struct Borrows<'a>(&'a str);

#[procpool::task]
impl procpool::Task for Borrows<'_> {
    type Output = usize;

    fn run(self) -> usize {
        self.0.len()
    }
}

#[procpool::task]
impl procpool::Task for &Counter {
    type Output = u32;

    fn run(self) -> u32 {
        self.0
    }
}

pub struct Plain(u32);

#[procpool::task]
unsafe impl procpool::Task for Plain {
    type Output = u32;

    async fn run(self) -> u32 {
        self.0
    }
}
