//! Integers that several processes change at once.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
};

use bytemuck::Pod;

use crate::sys::Atomic;

/// An integer of eight bits to 64; sealed.
pub trait Integer: Pod + Operations {}

/// What can be done to one in one step.
pub trait Operations: Sized {
    /// What it is in shared memory.
    #[allow(private_bounds, reason = "nobody outside can implement it")]
    type Shared: Atomic;

    fn fetch_add(shared: &Self::Shared, n: Self) -> Self;
    fn fetch_sub(shared: &Self::Shared, n: Self) -> Self;
    fn swap(shared: &Self::Shared, value: Self) -> Self;
    fn compare_exchange(shared: &Self::Shared, current: Self, new: Self) -> Result<Self, Self>;
}

macro_rules! integers {
    ($($integer:ty: $atomic:ty,)*) => {$(
        impl Integer for $integer {}

        impl Operations for $integer {
            type Shared = $atomic;

            fn fetch_add(shared: &$atomic, n: Self) -> Self {
                shared.fetch_add(n, SeqCst)
            }

            fn fetch_sub(shared: &$atomic, n: Self) -> Self {
                shared.fetch_sub(n, SeqCst)
            }

            fn swap(shared: &$atomic, value: Self) -> Self {
                shared.swap(value, SeqCst)
            }

            fn compare_exchange(shared: &$atomic, current: Self, new: Self) -> Result<Self, Self> {
                shared.compare_exchange(current, new, SeqCst, SeqCst)
            }
        }
    )*};
}

integers! {
    u8: AtomicU8,
    u16: AtomicU16,
    u32: AtomicU32,
    u64: AtomicU64,
    i8: AtomicI8,
    i16: AtomicI16,
    i32: AtomicI32,
    i64: AtomicI64,
}
