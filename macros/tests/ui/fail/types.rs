//! Parameters and results that can't travel.

use std::borrow::Cow;

fn main() {}

#[procpool::task]
pub fn static_reference(_x: &'static str, _list: Vec<&'static [u8]>) {}

#[procpool::task]
pub fn mutable_reference(_x: &mut Vec<u8>, _y: Option<&mut u32>) {}

#[procpool::task]
pub fn trait_object(_x: &dyn Send) {}

#[procpool::task]
pub fn pointers(_x: *const u8, _f: fn(u32) -> u32) {}

#[procpool::task]
pub fn conditional(#[cfg(all())] _x: u32) {}

#[procpool::task]
pub fn returns_a_reference(x: &str) -> &str {
    x
}

#[procpool::task]
pub async fn returns_a_static_reference() -> Result<u32, &'static str> {
    Err("no")
}

#[procpool::task]
pub fn returns_a_borrow(x: &str) -> Cow<'_, str> {
    x.into()
}

#[procpool::task]
pub fn returns_impl_trait() -> impl Send {
    1
}

#[procpool::task]
pub fn returns_never() -> ! {
    loop {}
}
