//! Floor for starting workers: bare processes, from start to their first byte.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::support::role::{self, Role};

pub const CURRENT_THREAD: &str = "first-byte-current-thread";
pub const MULTI_THREAD: &str = "first-byte-multi-thread";

/// The runtime a child builds before its first byte.
#[derive(Clone, Copy)]
pub enum Flavour {
    CurrentThread,
    MultiThread,
}

/// Child: builds its runtime, says so with one byte, and stays.
pub fn first_byte(socket: &mut UnixStream, flavour: Flavour) {
    let mut builder = match flavour {
        Flavour::CurrentThread => Builder::new_current_thread(),
        Flavour::MultiThread => Builder::new_multi_thread(),
    };
    let _runtime = builder.enable_all().build().expect("runtime");
    socket.write_all(&[1]).expect("the parent reads");
    role::wait_for_end(socket);
}

/// Time from the start of `n` concurrent children to the last one's first byte, driven from `rt`.
pub fn all_up(rt: &Runtime, n: usize, flavour: Flavour) -> Duration {
    let role = match flavour {
        Flavour::CurrentThread => CURRENT_THREAD,
        Flavour::MultiThread => MULTI_THREAD,
    };
    rt.block_on(async {
        let driver = tokio::spawn(async move {
            let start = Instant::now();
            let mut starting: JoinSet<Role> = (0..n).map(|_| one_up(role)).collect();
            let mut up = Vec::with_capacity(n);
            while let Some(child) = starting.join_next().await {
                up.push(child.expect("a child came up"));
            }
            (start.elapsed(), up)
        });
        // The children end here, outside the time taken.
        driver.await.expect("children came up").0
    })
}

async fn one_up(role: &'static str) -> Role {
    let child = Role::start(role, None);
    let socket = child.socket.try_clone().expect("descriptor");
    socket.set_nonblocking(true).expect("a socket");
    let mut socket = tokio::net::UnixStream::from_std(socket).expect("a reactor");
    socket.read_u8().await.expect("a first byte");
    child
}
