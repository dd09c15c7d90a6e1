//! Functions that can't be looked up by name in another process.

fn main() {}

#[procpool::task]
pub fn generic<T: Send, const N: usize>(_x: [T; N]) {}

#[procpool::task]
pub fn impl_trait(_x: impl Send, _list: Vec<impl Send>) {}

#[procpool::task]
pub fn named_lifetime<'a>(_x: &'a str) {}

#[procpool::task]
pub fn where_clause(_x: u32)
where
    u32: Copy,
{
}

#[procpool::task]
pub unsafe fn is_unsafe() {}

#[procpool::task]
pub extern "C" fn is_extern() {}

#[procpool::task]
pub const fn is_const() {}

unsafe extern "C" {
    #[procpool::task]
    pub fn foreign(x: u32, ...);
}

#[procpool::task]
pub struct NotAFunction;

#[procpool::task]
pub const NOT_A_FUNCTION: u32 = 1;

#[procpool::task]
pub mod not_a_function {}

#[procpool::task(nam = "typo")]
pub fn unknown_option() {}

#[procpool::task(name = "")]
pub fn empty_name() {}

#[procpool::task(name = "a", name = "b")]
pub fn name_twice() {}

#[procpool::task(name)]
pub fn no_value() {}
