//! Open files passed to other processes and back.

mod common;
mod kit;

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Seek, Write, pipe};
use std::sync::atomic::{AtomicU32, Ordering};

use kit::{Gate, builder, hold, pool};
use procpool::{ErrorKind, PassFd, Process, ProcessPool, Queue};
use serde::{Deserialize, Serialize};

procpool::test_hook!();

#[derive(Debug, Serialize, Deserialize)]
struct Job {
    name: String,
    output: Option<PassFd<File>>,
    more: Vec<PassFd<PipeWriter>>,
}

#[procpool::task]
fn fill(job: Job) -> usize {
    write!(job.output.unwrap().into_inner().unwrap(), "for {}", job.name).unwrap();
    job.more.into_iter().enumerate().for_each(|(i, pipe)| {
        write!(pipe.into_inner().unwrap(), "{i}").unwrap();
    });
    7
}

#[procpool::task]
async fn fill_later(job: Job) -> usize {
    tokio::task::yield_now().await;
    write!(job.output.unwrap().into_inner().unwrap(), "for {}", job.name).unwrap();
    8
}

#[procpool::task]
fn open(text: String) -> (u8, PassFd<PipeReader>) {
    let (reader, mut writer) = pipe().unwrap();
    write!(writer, "{text}").unwrap();
    (1, PassFd::new(reader))
}

/// An open file, in a directory that is removed when the test ends.
fn file() -> File {
    static DIRS: AtomicU32 = AtomicU32::new(0);
    thread_local! {
        // Tests run at the same time in one process.
        static DIR: (common::TempDir, std::cell::Cell<u32>) = {
            let dir = DIRS.fetch_add(1, Ordering::Relaxed);
            (common::TempDir::new(&format!("pass-fd-{dir}")), std::cell::Cell::new(0))
        };
    }
    DIR.with(|(dir, n)| {
        n.set(n.get() + 1);
        let path = dir.0.join(n.get().to_string());
        File::options().read(true).write(true).create_new(true).open(path).unwrap()
    })
}

fn content(mut file: File) -> String {
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

fn all(mut pipe: PipeReader) -> String {
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    text
}

fn job(file: &File, name: &str) -> Job {
    let output = Some(PassFd::new(file.try_clone().unwrap()));
    Job { name: name.into(), output, more: Vec::new() }
}

#[test]
fn a_file_inside_a_value_is_usable_in_the_worker() {
    common::run(|| async {
        let pool = pool(1).await;
        let out = file();
        assert_eq!(pool.apply(fill, job(&out, "call")).await.unwrap(), 7);
        assert_eq!(content(out), "for call");
        let out = file();
        assert_eq!(pool.apply(fill_later, job(&out, "async")).await.unwrap(), 8);
        assert_eq!(content(out), "for async");
        let files: Vec<File> = (0..9).map(|_| file()).collect();
        let jobs = files.iter().enumerate().map(|(i, f)| job(f, &i.to_string()));
        assert_eq!(pool.map(fill, jobs.collect::<Vec<_>>()).await.unwrap(), [7; 9]);
        for (i, file) in files.into_iter().enumerate() {
            assert_eq!(content(file), format!("for {i}"));
        }
        pool.shutdown().await.unwrap();
    });
}

/// The sender's own end is closed when the worker has it: else nobody would ever
/// see the end of the stream.
#[test]
fn the_other_end_sees_the_worker_close_it() {
    common::run(|| async {
        let pool = pool(1).await;
        let (ends, more): (Vec<_>, Vec<_>) = (0..20)
            .map(|_| pipe().unwrap())
            .map(|(reader, writer)| (reader, PassFd::new(writer)))
            .unzip();
        let out = file();
        let job = Job { more, ..job(&out, "x") };
        assert_eq!(pool.apply(fill, job).await.unwrap(), 7);
        for (i, end) in ends.into_iter().enumerate() {
            assert_eq!(all(end), i.to_string());
        }
        let gate = Gate::new("pass-fd-close");
        let (reader, writer) = pipe().unwrap();
        let call = pool.spawn(close_and_stay(PassFd::new(writer), gate.path()));
        // While the call runs.
        tokio::task::spawn_blocking(|| assert_eq!(all(reader), "")).await.unwrap();
        gate.open();
        call.get().await.unwrap();
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn close_and_stay(pipe: PassFd<PipeWriter>, gate: String) {
    drop(pipe);
    kit::stay(&gate, "closed");
}

#[test]
fn results_bring_handles_too() {
    common::run(|| async {
        let pool = pool(2).await;
        let (one, reader) = pool.apply(open, "hello".into()).await.unwrap();
        assert_eq!((one, all(reader.into_inner().unwrap()).as_str()), (1, "hello"));
        let texts: Vec<String> = (0..300).map(|i| format!("text {i}")).collect();
        let results = pool.map(open, texts.clone()).chunk_size(16).await.unwrap();
        for ((_, reader), text) in results.into_iter().zip(texts) {
            assert_eq!(all(reader.into_inner().unwrap()), text);
        }
        let mut child = Process::spawn(open("from a process".into())).await.unwrap();
        let (_, reader) = child.output().await.unwrap();
        assert_eq!(all(reader.into_inner().unwrap()), "from a process");
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn keep(file: PassFd<File>) {
    let _ = KEPT.set(file.into_inner().unwrap());
}

static KEPT: std::sync::OnceLock<File> = std::sync::OnceLock::new();

#[procpool::task]
fn write_kept(text: String) {
    write!(&mut KEPT.get().unwrap(), "{text}").unwrap();
}

#[test]
fn every_worker_gets_what_the_initializer_was_given() {
    common::run(|| async {
        let out = file();
        let passed = PassFd::new(out.try_clone().unwrap());
        let pool = ProcessPool::builder()
            .workers(2)
            .max_tasks_per_worker(1)
            .initializer(keep, passed)
            .build()
            .await
            .unwrap();
        for i in 0..4 {
            pool.apply(write_kept, format!("{i}")).await.unwrap();
        }
        assert_eq!(content(out), "0123");
        pool.shutdown().await.unwrap();
    });
}

/// Calls that were taken back or never begun must not leave their handles in the way of those
/// that follow.
#[test]
fn cancelled_calls_leave_no_handles_behind() {
    common::run(|| async {
        let pool = builder(1).build().await.unwrap();
        for round in 0..20 {
            let gate = Gate::new("pass-fd-cancel");
            let held = pool.spawn(hold(gate.path(), 1));
            gate.arrived(1).await;
            let (out, unwanted) = (file(), file());
            let cancelled = pool.spawn(fill(job(&unwanted, "nobody")));
            let call = pool.spawn(fill(job(&out, "somebody")));
            cancelled.abort();
            gate.open();
            held.get().await.unwrap();
            assert_eq!(call.get().await.unwrap(), 7, "round {round}");
            assert_eq!(content(out), "for somebody");
            assert_eq!(content(unwanted), "");
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn hundreds_on_their_way_at_once_all_arrive() {
    common::run(|| async {
        let pool = builder(1).build().await.unwrap();
        let out = file();
        let calls: Vec<_> = (0..300).map(|_| pool.spawn(fill_later(job(&out, ".")))).collect();
        for call in calls {
            assert_eq!(call.get().await.unwrap(), 8);
        }
        assert_eq!(content(out), "for .".repeat(300));
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn elsewhere_it_is_refused_in_words() {
    let error = serde_json::to_string(&PassFd::new(file())).unwrap_err().to_string();
    assert!(error.contains("arguments and results of calls"), "{error}");
    let error = serde_json::from_str::<PassFd<File>>("0").unwrap_err().to_string();
    assert!(error.contains("arguments and results of calls"), "{error}");
}

#[test]
fn too_many_are_refused_before_anything_is_sent() {
    common::run(|| async {
        let pool = pool(1).await;
        let out = file();
        let (_reader, writer) = pipe().unwrap();
        let writer = PassFd::new(writer);
        let more = vec![writer.clone(); 129];
        let error = pool.apply(fill, Job { more, ..job(&out, "x") }).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ArgEncode { .. }), "{error}");
        assert!(error.to_string().contains("at most 128"), "{error}");
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn here_it_stays_what_it_is() {
    let out = file();
    assert_eq!(fill(job(&out, "here")).run_here(), 7);
    assert_eq!(content(out), "for here");
}

#[procpool::task]
fn two(a: Vec<PassFd<PipeWriter>>, b: Vec<PassFd<PipeWriter>>) -> usize {
    a.len() + b.len()
}

#[test]
fn arguments_are_counted_together() {
    common::run(|| async {
        let pool = pool(1).await;
        let (_reader, writer) = pipe().unwrap();
        let some = |n| vec![PassFd::new(writer.try_clone().unwrap()); n];
        assert_eq!(pool.run(two(some(64), some(64))).await.unwrap(), 128);
        let error = pool.run(two(some(100), some(100))).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ArgEncode { .. }), "{error}");
        assert_eq!(pool.run(two(some(1), some(1))).await.unwrap(), 2);
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn write_all_of(queue: Queue<Vec<PassFd<PipeWriter>>>) -> usize {
    let mut written = 0;
    while let Ok(writers) = queue.blocking_get() {
        for writer in writers {
            write!(writer.into_inner().unwrap(), "x").unwrap();
            written += 1;
        }
    }
    written
}

/// More than the way for handles holds at once: what is left follows when there is room.
#[test]
fn items_bring_more_handles_than_fit_at_once() {
    common::run(|| async {
        let pool = pool(1).await;
        let queue = Queue::unbounded().unwrap();
        let (mut reader, writer) = pipe().unwrap();
        for _ in 0..6 {
            let writers = (0..100).map(|_| PassFd::new(writer.try_clone().unwrap())).collect();
            queue.put(writers).await.unwrap();
        }
        drop(writer);
        let call = pool.spawn(write_all_of(queue.clone()));
        queue.close();
        assert_eq!(call.get().await.unwrap(), 600);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text.len(), 600);
        pool.shutdown().await.unwrap();
    });
}
