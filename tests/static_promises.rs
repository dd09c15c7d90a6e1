//! What the types promise, checked by the compiler.

use std::rc::Rc;

use procpool::{
    Address, AddressError, Async, AsyncResult, Blocking, Builder, Call, Connection, Error,
    Histogram, ItemTooLong, Listener, Loan, Loaned, Obituary, PipeReceiver, PipeSender, PoolStats,
    ProcessPool, RecvError, Run, SendError, SendErrorKind, SharedBytes, SharedList, SharedMemory,
    SharedScope, WorkerInfo,
};

fn send<T: Send>() {}
fn sync<T: Sync>() {}
fn cloneable<T: Clone>() {}
fn lasting<T: 'static>() {}
fn error<T: std::error::Error + Send + Sync + 'static>() {}

fn future<T: Future + Send + Unpin>(_: &T) {}

#[procpool::task]
fn one(x: u32) -> u32 {
    x
}

/// Never run: it only has to compile.
#[allow(dead_code)]
async fn futures_can_be_sent(pool: ProcessPool) {
    future(&pool.run(one(1)));
    future(&pool.spawn(one(1)));
    future(&pool.map(one, 0..3));
    future(&pool.try_map(one, vec![1, 2]));
    // As tokio and the futures crate take them.
    drop(tokio::spawn(pool.run(one(1))));
    drop(tokio::spawn(pool.map(one, 0..3)));
    let _ = futures::future::join_all((0..3).map(|x| pool.run(one(x)))).await;
    fn stream<S: futures::Stream + Send + Unpin>(_: &S) {}
    stream(&pool.imap(one, 0..3));
    stream(&pool.imap_unordered(one, futures::stream::iter(0..3)));
}

/// Never run: it only has to compile.
#[allow(dead_code)]
fn waiting_for_a_pipe_can_be_sent(mut end: Connection<Vec<u8>, String>) {
    send_value(&end.send(Vec::new()));
    send_value(&end.recv());
    send_value(&end.recv_bytes());
    send_value(&end.poll(None));
    fn send_value<T: Send>(_: &T) {}
}

/// Never run: it only has to compile.
#[allow(dead_code)]
fn waiting_for_a_loan_can_be_sent(mut loan: Loan) {
    send_value(&loan.returned());
    send_value(&loan.returned_timeout(std::time::Duration::ZERO));
    fn send_value<T: Send>(_: &T) {}
}

#[test]
fn shared_memory_goes_anywhere() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<SharedMemory>();
    shared::<SharedBytes>();
    shared::<SharedList>();
    shared::<Loaned>();
    send::<Loan>();
    sync::<Loan>();
    send::<SharedScope>();
    sync::<SharedScope>();
    error::<ItemTooLong>();
}

#[test]
fn handles_and_errors_go_anywhere() {
    send::<ProcessPool>();
    sync::<ProcessPool>();
    cloneable::<ProcessPool>();
    lasting::<ProcessPool>();
    send::<Builder>();
    send::<Run<u32, Blocking>>();
    send::<Run<u32, Async>>();
    send::<AsyncResult<Vec<u8>>>();
    send::<Call<u32>>();
    sync::<Call<u32>>();
    error::<Error>();
    cloneable::<Error>();
    for size in [size_of::<Error>(), size_of::<Option<Error>>()] {
        assert_eq!(size, size_of::<usize>(), "an error is one word");
    }
    send::<(Connection<Rc<u8>, Rc<u8>>, PipeSender<Rc<u8>>, PipeReceiver<Rc<u8>>, Listener)>();
    sync::<(Connection<Rc<u8>, Rc<u8>>, PipeSender<Rc<u8>>, PipeReceiver<Rc<u8>>, Listener)>();
    error::<RecvError>();
    error::<SendErrorKind>();
    error::<SendError<u8>>();
    error::<AddressError>();
    cloneable::<Address>();
    send::<(PoolStats, WorkerInfo, Histogram, Obituary)>();
    sync::<(PoolStats, WorkerInfo, Histogram, Obituary)>();
}
