//! What a small message costs in memory: nothing, once a pipe is in use.

// Windows' pipes copy what they are given.
#![cfg(unix)]
#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use procpool::pipe;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Not there any more while the thread ends.
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

#[test]
fn small_messages_allocate_nothing_but_their_values() {
    let (mut a, mut b) = pipe::<(u64, [u64; 20]), u64>().unwrap();
    let value = (7, [u64::MAX; 20]);
    let mut rounds = |n: usize| {
        for _ in 0..n {
            a.blocking_send(value).unwrap();
            assert!(b.blocking_poll(None));
            assert_eq!(b.blocking_recv().unwrap(), value);
            b.try_send(1).unwrap();
            assert_eq!(a.try_recv().unwrap(), Some(1));
        }
    };
    rounds(10);
    assert_eq!(allocations(|| rounds(100)), 0);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut rounds = async |n: usize| {
            for _ in 0..n {
                a.send(value).await.unwrap();
                assert_eq!(b.recv().await.unwrap(), value);
            }
        };
        rounds(10).await;
        let before = COUNT.get();
        rounds(100).await;
        assert_eq!(COUNT.get() - before, 0);
    });

    let (mut sender, mut receiver) = procpool::one_way::<String>().unwrap();
    let text = "a text that is longer than what is kept inline".to_owned();
    let mut send = |text: String| {
        sender.blocking_send(text).unwrap();
        assert_eq!(receiver.blocking_recv().unwrap().len(), 46);
    };
    send(text.clone());
    assert_eq!(allocations(|| send(text)), 1, "the received text");
}
