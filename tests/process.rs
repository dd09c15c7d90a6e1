//! Processes of their own: life, identity, exit codes, ends, children.

mod common;
mod kit;

use std::collections::HashSet;
use std::time::Duration;

use common::os::{self, Death};
use futures::{StreamExt, TryStreamExt};
use kit::Gate;
use procpool::{
    Async, AsyncTask, Call, ErrorKind, ExitCode, ExitReason, Process, ProcessHandle, Stderr,
    active_children, current_process, parent_process,
};
use serde::{Deserialize, Serialize};

procpool::test_hook!();

const SHORT: Duration = Duration::from_millis(30);

/// What a process knows of itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Who {
    name: String,
    pid: u32,
    daemon: bool,
    parent: Option<(String, u32, bool)>,
}

fn who() -> Who {
    let me = current_process();
    let parent = parent_process().map(|p| (p.name().to_owned(), p.pid(), p.is_alive()));
    Who { name: me.name().to_owned(), pid: me.pid(), daemon: me.is_daemon(), parent }
}

#[procpool::task]
fn report(x: u64, text: String) -> (u64, String, Who) {
    (x, text, who())
}

#[procpool::task]
fn wait_at(gate: String) -> u64 {
    kit::stay(&gate, "in");
    7
}

#[procpool::task]
async fn asleep() {
    std::future::pending().await
}

#[procpool::task]
fn nothing() {}

fn listed(process: &ProcessHandle) -> bool {
    active_children().contains(process)
}

#[test]
fn the_life_of_a_process() {
    common::run(|| async {
        let gate = Gate::new("life");
        let mut process = Process::spawn(wait_at(gate.path())).await.unwrap();
        assert!(process.is_alive() && listed(&process));
        assert_eq!((process.exit_code(), process.exit_reason()), (None, None));
        assert!(!process.is_daemon());
        assert_ne!(process.pid(), std::process::id());
        assert!(!process.join_timeout(SHORT).await, "it waits for the gate");
        assert!(!process.join_timeout(Duration::ZERO).await);
        gate.open();
        assert_eq!(process.output().await.unwrap(), 7);
        process.join().await;
        process.join().await;
        assert!(process.join_timeout(Duration::ZERO).await, "any number of times");
        assert!(!process.is_alive() && !listed(&process));
        assert_eq!(process.exit_code(), Some(0));
        assert_eq!(process.exit_reason(), Some(ExitReason::Exited(0)));
        // Of no use any more, and harmless.
        process.terminate();
        process.kill();
        let again = process.output().await.unwrap_err();
        assert!(matches!(again.kind(), ErrorKind::InvalidOption { .. }), "{again:?}");
    });
}

#[test]
fn arguments_and_identity_arrive() {
    common::run(|| async {
        let start = Process::builder(report(5, "text".into())).name("the name");
        let mut process = start.start().await.unwrap();
        let (x, text, who) = process.output().await.unwrap();
        assert_eq!((x, text.as_str()), (5, "text"));
        let parent = ("MainProcess".to_owned(), std::process::id(), true);
        assert_eq!(
            who,
            Who {
                name: "the name".into(),
                pid: process.pid(),
                daemon: false,
                parent: Some(parent)
            }
        );
        assert_eq!(process.name(), "the name");
        process.join().await;
    });
    assert!(parent_process().is_none());
    assert_eq!(current_process().name(), "MainProcess");
    assert_eq!(current_process().pid(), std::process::id());
    assert!(!current_process().is_daemon());
}

#[test]
fn default_names_count_and_nest() {
    #[procpool::task]
    async fn parent_of_named() -> Vec<String> {
        let mut names = vec![current_process().name().to_owned()];
        for _ in 0..2 {
            let mut child = Process::spawn(report(0, String::new())).await.unwrap();
            let who = child.output().await.unwrap().2;
            assert_eq!(child.name(), who.name);
            names.push(child.name().to_owned());
        }
        names
    }
    common::run(|| async {
        let mut first = Process::spawn(parent_of_named()).await.unwrap();
        let named = Process::builder(nothing()).name("my_service").start().await.unwrap();
        let mut third = Process::spawn(parent_of_named()).await.unwrap();
        let number = |name: &str| name.strip_prefix("Process-").unwrap().parse::<u32>().unwrap();
        // A process that was given a name is counted, too.
        assert_eq!(number(third.name()), number(first.name()) + 2);
        for process in [&mut first, &mut third] {
            let name = process.name().to_owned();
            let expected = [name.clone(), format!("{name}:1"), format!("{name}:2")];
            assert_eq!(process.output().await.unwrap(), expected);
            process.join().await;
        }
        named.join().await;
    });
}

#[test]
fn a_daemons_children_are_daemons_unless_told_otherwise() {
    #[procpool::task]
    async fn parent_of_flagged() -> [bool; 3] {
        let mut flags = [current_process().is_daemon(), false, true];
        let mut child = Process::spawn(report(0, String::new())).await.unwrap();
        flags[1] = child.output().await.unwrap().2.daemon;
        let other = Process::builder(report(0, String::new())).daemon(false);
        flags[2] = other.start().await.unwrap().output().await.unwrap().2.daemon;
        flags
    }
    common::run(|| async {
        let mut ordinary = Process::spawn(parent_of_flagged()).await.unwrap();
        assert_eq!(ordinary.output().await.unwrap(), [false, false, false]);
        ordinary.join().await;
        let mut daemon = Process::builder(parent_of_flagged()).daemon(true).start().await.unwrap();
        assert_eq!(daemon.output().await.unwrap(), [true, true, false]);
        daemon.join().await;
    });
}

#[test]
fn processes_start_processes() {
    #[procpool::task]
    async fn descend(log: String, path: Vec<u32>) {
        kit::note(&log, format!("{path:?}"));
        if path.len() < 2 {
            for i in 0..2 {
                let next = [path.clone(), vec![i]].concat();
                let child = Process::spawn(call(log.clone(), next)).await.unwrap();
                child.join().await;
                assert_eq!(child.exit_code(), Some(0));
            }
        }
    }
    // Inside a task its own name is the plain function.
    fn call(log: String, path: Vec<u32>) -> Call<(), Async> {
        descend(log, path)
    }
    common::run(|| async {
        let log = Gate::new("recursion");
        let process = Process::spawn(descend(log.path(), vec![])).await.unwrap();
        process.join().await;
        assert_eq!(process.exit_code(), Some(0));
        let expected = ["[]", "[0]", "[0, 0]", "[0, 1]", "[1]", "[1, 0]", "[1, 1]"];
        assert_eq!(log.log(), expected);
    });
}

#[procpool::task]
fn leave(how: u8) -> ExitCode {
    match how {
        0 => ExitCode::SUCCESS,
        1 => ExitCode(8),
        2 => std::process::exit(3),
        3 => std::process::exit(0),
        _ => panic!("complete message {how}"),
    }
}

#[procpool::task]
fn fails() -> Result<u64, String> {
    Err("a value like any other".to_owned())
}

#[test]
fn exit_codes_are_as_documented() {
    common::run(|| async {
        for (how, code) in [(0, 0), (1, 8), (2, 3), (3, 0), (4, 1)] {
            let start = Process::builder(leave(how)).stderr(Stderr::Capture).start();
            let mut process = start.await.unwrap();
            let output = process.output().await;
            process.join().await;
            assert_eq!(process.exit_code(), Some(code), "{how}");
            match how {
                0 | 1 => assert_eq!(output.unwrap(), ExitCode(code)),
                4 => {
                    let error = output.unwrap_err();
                    assert_eq!(error.panic_message(), Some("complete message 4"));
                    let tail = process.obituary().unwrap().stderr_tail;
                    let text = String::from_utf8_lossy(&tail);
                    assert!(text.contains("complete message 4"), "{text}");
                    assert!(text.contains("stack backtrace"), "{text}");
                    assert!(text.contains("process::leave"), "{text}");
                }
                _ => assert_eq!(output.unwrap_err().exit_reason(), Some(ExitReason::Exited(code))),
            }
        }
        let mut process = Process::spawn(fails()).await.unwrap();
        assert_eq!(process.output().await.unwrap().unwrap_err(), "a value like any other");
        process.join().await;
        assert_eq!(process.exit_code(), Some(0));
    });
}

#[procpool::task]
fn die(death: Death) {
    death.strike()
}

#[test]
fn every_death_is_told_as_it_was() {
    common::run(|| async {
        for death in os::DEATHS {
            let start = Process::builder(die(*death)).stderr(Stderr::Capture).start();
            let mut process = start.await.unwrap();
            let error = process.output().await.unwrap_err();
            assert!(death.is_cause_of(&error), "{death:?}: {error:?}");
            process.join().await;
            assert_eq!(process.exit_code(), Some(death.code()), "{death:?}");
        }
    });
}

#[test]
fn terminate_and_kill_end_it() {
    common::run(|| async {
        let terminated = Process::spawn(asleep()).await.unwrap();
        terminated.terminate();
        terminated.join().await;
        assert_eq!(terminated.exit_code(), Some(-15));
        let mut killed = Process::spawn(asleep()).await.unwrap();
        killed.kill();
        let error = killed.output().await.unwrap_err();
        assert!(error.is_killed() && error.is_worker_died(), "{error:?}");
        assert!([Some(-9), Some(-15)].contains(&killed.exit_code()), "{killed:?}");
        assert!(!killed.is_alive());
    });
}

#[cfg(unix)]
#[test]
fn interrupt_is_ctrl_c_for_one_process() {
    #[procpool::task]
    async fn listens(gate: String) -> String {
        let interrupted = tokio::signal::ctrl_c();
        kit::note(&gate, "listens");
        interrupted.await.unwrap();
        "interrupted".to_owned()
    }
    common::run(|| async {
        let deaf = Process::spawn(asleep()).await.unwrap();
        deaf.interrupt().unwrap();
        deaf.join().await;
        assert_eq!(deaf.exit_code(), Some(-2));
        let gate = Gate::new("interrupt");
        let mut polite = Process::spawn(listens(gate.path())).await.unwrap();
        gate.arrived(1).await;
        // Its handler is there once the future was polled, a moment after the note.
        while polite.is_alive() {
            polite.interrupt().unwrap();
            if polite.join_timeout(SHORT).await {
                break;
            }
        }
        match polite.exit_code() {
            Some(0) => assert_eq!(polite.output().await.unwrap(), "interrupted"),
            code => assert_eq!(code, Some(-2), "the handler came too late"),
        }
    });
}

#[test]
fn a_sentinel_is_ready_at_the_end_and_not_before() {
    common::run(|| async {
        let gate = Gate::new("sentinel");
        let process = Process::spawn(wait_at(gate.path())).await.unwrap();
        let mut sentinel = process.sentinel().unwrap();
        assert!(tokio::time::timeout(SHORT, &mut sentinel).await.is_err());
        assert!(!os::is_ready(&sentinel, Duration::ZERO));
        gate.open();
        sentinel.await;
        assert!(!process.is_alive());
        // One that is asked for afterwards tells the same.
        let late = process.sentinel().unwrap();
        assert!(os::is_ready(&late, common::HANG));
        late.await;
    });
}

#[test]
fn dropping_a_daemons_handle_ends_it_and_anothers_does_not() {
    common::run(|| async {
        let gate = Gate::new("dropped");
        let daemon = Process::builder(asleep()).daemon(true).start().await.unwrap();
        let kept = daemon.handle();
        drop(daemon);
        kept.join().await;
        assert!(kept.exit_reason().unwrap().is_killed());
        let ordinary = Process::spawn(wait_at(gate.path())).await.unwrap();
        let kept = ordinary.handle();
        drop(ordinary);
        assert!(!kept.join_timeout(SHORT).await);
        assert!(listed(&kept));
        gate.open();
        kept.join().await;
        assert_eq!(kept.exit_code(), Some(0));
    });
}

/// A process whose task is done: its own children are waited for, or ended.
#[test]
fn ordinary_children_are_waited_for_and_daemons_ended() {
    #[procpool::task]
    async fn parent_of_both(gate: String) -> (u32, u32) {
        let daemon = Process::builder(asleep()).daemon(true).start().await.unwrap();
        let ordinary = Process::spawn(wait_at(gate)).await.unwrap();
        let pids = (daemon.pid(), ordinary.pid());
        // Dropping the daemon's handle is not to be what ends it.
        std::mem::forget(daemon);
        pids
    }
    common::run(|| async {
        let gate = Gate::new("waited-for");
        let mut process = Process::spawn(parent_of_both(gate.path())).await.unwrap();
        let (daemon, ordinary) = process.output().await.unwrap();
        gate.arrived(1).await;
        common::eventually("the daemon is ended", || !os::is_alive(daemon)).await;
        assert!(process.is_alive() && os::is_alive(ordinary));
        gate.open();
        process.join().await;
        assert_eq!(process.exit_code(), Some(0));
        assert!(!os::is_alive(ordinary));
    });
}

#[test]
fn a_killed_process_takes_its_children_along() {
    #[procpool::task]
    async fn parent_of_one(gate: String) {
        let child = Process::spawn(wait_at(gate.clone())).await.unwrap();
        kit::note(&gate, child.pid());
        child.join().await;
    }
    common::run(|| async {
        let gate = Gate::new("taken-along");
        let process = Process::spawn(parent_of_one(gate.path())).await.unwrap();
        gate.arrived(2).await;
        let pid = gate.log().iter().find_map(|line| line.parse().ok()).unwrap();
        process.kill();
        process.join().await;
        common::eventually("its child is gone, too", || !os::is_alive(pid)).await;
    });
}

#[test]
fn hooks_run_at_the_end_last_one_first() {
    #[procpool::task]
    fn hooked(log: String, how: u8) {
        for i in 0..3 {
            let log = log.clone();
            procpool::on_exit(move || kit::note(&log, i));
        }
        procpool::on_exit(|| panic!("holds up nothing"));
        match how {
            0 => {}
            1 => panic!("at the end of the task"),
            2 => std::process::exit(5),
            _ => Death::Kill.strike(),
        }
    }
    common::run(|| async {
        for how in 0..4 {
            let log = Gate::new("hooks");
            let start = Process::builder(hooked(log.path(), how)).stderr(Stderr::Capture).start();
            let process = start.await.unwrap();
            process.join().await;
            let runs = if how == 2 { cfg!(unix) } else { how != 3 };
            let expected: &[&str] = if runs { &["2", "1", "0"] } else { &[] };
            assert_eq!(log.log(), expected, "{how}");
            if how == 2 {
                assert_eq!(process.exit_code(), Some(5));
            }
        }
    });
}

#[test]
fn a_hook_that_hangs_is_not_waited_for_for_ever() {
    #[procpool::task]
    fn hangs() -> ExitCode {
        procpool::on_exit(|| {
            loop {
                std::thread::park();
            }
        });
        ExitCode(9)
    }
    common::run(|| async {
        let process = Process::builder(hangs()).stderr(Stderr::Capture).start().await.unwrap();
        process.join().await;
        assert_eq!(process.exit_code(), Some(9));
        let tail = process.obituary().unwrap().stderr_tail;
        assert!(String::from_utf8_lossy(&tail).contains("on_exit"));
    });
}

#[test]
fn surroundings_are_as_asked_for() {
    #[procpool::task]
    fn look() -> (std::path::PathBuf, Option<String>, Option<String>, usize) {
        use std::io::Read;
        let mut input = Vec::new();
        let read = std::io::stdin().read_to_end(&mut input).unwrap();
        let var = |name| std::env::var(name).ok();
        (std::env::current_dir().unwrap(), var("PROCESS_TEST"), var("PROCESS_GONE"), read)
    }
    common::run(|| async {
        let dir = common::TempDir::new("process-dir");
        let place = std::fs::canonicalize(&dir.0).unwrap();
        let mut process = Process::builder(look())
            .current_dir(&place)
            .env("PROCESS_TEST", "set")
            .env("PROCESS_GONE", "set")
            .env_remove("PROCESS_GONE")
            .start()
            .await
            .unwrap();
        let (directory, set, gone, input) = process.output().await.unwrap();
        assert_eq!(std::fs::canonicalize(directory).unwrap(), place);
        assert_eq!((set.as_deref(), gone, input), (Some("set"), None, 0));
        process.join().await;
    });
}

#[test]
fn the_executable_may_be_another_file_of_the_same_build() {
    common::run(|| async {
        let dir = common::TempDir::new("process-program");
        let copy = dir.0.join(format!("copy{}", std::env::consts::EXE_SUFFIX));
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        let process = Process::builder(nothing()).executable(&copy).start().await.unwrap();
        process.join().await;
        assert_eq!(process.exit_code(), Some(0));
        let missing = Process::builder(nothing()).executable(dir.0.join("missing"));
        let error = missing.start().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Spawn { .. }), "{error:?}");
    });
}

/// A file that is open for writing cannot be started.
#[cfg(target_os = "linux")]
#[test]
fn an_executable_that_stays_busy_is_said_to_be() {
    common::run(|| async {
        let dir = common::TempDir::new("process-busy");
        let copy = dir.0.join("copy");
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        let writer = std::fs::OpenOptions::new().append(true).open(&copy).unwrap();
        let error = Process::builder(nothing()).executable(&copy).start().await.unwrap_err();
        assert!(error.to_string().contains("busy"), "{error}");
        drop(writer);
        let process = Process::builder(nothing()).executable(&copy).start().await.unwrap();
        process.join().await;
        assert_eq!(process.exit_code(), Some(0));
    });
}

#[test]
fn bad_input_is_refused_before_anything_is_started() {
    struct Refuses;
    impl serde::Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    impl<'de> serde::Deserialize<'de> for Refuses {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Refuses)
        }
    }
    #[procpool::task]
    fn takes(_value: Refuses) {}
    #[procpool::task]
    fn gives() -> Refuses {
        Refuses
    }
    common::run(|| async {
        let error = Process::spawn(takes(Refuses)).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ArgEncode { .. }), "{error:?}");
        let error = Process::builder(nothing()).env("a=b", "").start().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidOption { .. }), "{error:?}");
        assert!(active_children().is_empty());
        let start = Process::builder(gives()).stderr(Stderr::Capture).start();
        let mut process = start.await.unwrap();
        let error = process.output().await.err().unwrap();
        assert!(matches!(error.kind(), ErrorKind::ResultEncode { .. }), "{error:?}");
        process.join().await;
        assert_eq!(process.exit_code(), Some(1));
    });
}

#[test]
fn a_start_nobody_waits_for_leaves_nothing() {
    common::run(|| async {
        for micros in [0, 500, 2_000, 5_000, 20_000] {
            let start = Process::spawn(asleep());
            let _ = tokio::time::timeout(Duration::from_micros(micros), start).await;
            for child in active_children() {
                child.kill();
                child.join().await;
            }
        }
    });
}

/// Something else than this program: it never says hello.
#[cfg(unix)]
#[test]
fn a_program_that_says_no_hello_is_given_up() {
    common::run(|| async {
        let start = Process::builder(nothing()).executable("/bin/cat").stderr(Stderr::Null).start();
        let error = start.await.unwrap_err();
        // It does not know the arguments it is started with, or waits for its input.
        let late = matches!(error.kind(), ErrorKind::TimedOut { phase, .. } if *phase == procpool::TimeoutPhase::Starting);
        assert!(late || matches!(error.kind(), ErrorKind::Start { .. }), "{error:?}");
        assert!(active_children().is_empty());
    });
}

/// A process with state of its own, which waits.
#[derive(Serialize, Deserialize)]
struct Counter {
    from: u32,
    steps: u32,
}

#[procpool::task]
impl AsyncTask for Counter {
    type Output = (String, Vec<u32>);

    async fn run(mut self) -> (String, Vec<u32>) {
        let mut all = Vec::new();
        for _ in 0..self.steps {
            tokio::task::yield_now().await;
            self.from += 1;
            all.push(self.from);
        }
        (current_process().name().to_owned(), all)
    }
}

#[test]
fn a_type_may_be_an_async_process() {
    common::run(|| async {
        let counter = Process::builder(Counter { from: 10, steps: 3 }).name("counter");
        let mut counter = counter.start().await.unwrap();
        assert_eq!(counter.output().await.unwrap(), ("counter".to_owned(), vec![11, 12, 13]));
        let pool = kit::pool(1).await;
        let calls = (0..4).map(|from| pool.run(Counter { from, steps: 1 }));
        for (from, result) in futures::future::join_all(calls).await.into_iter().enumerate() {
            assert_eq!(result.unwrap().1, [from as u32 + 1]);
        }
        pool.shutdown().await.unwrap();
    });
}

#[test]
fn two_hundred_at_once_are_all_joined() {
    common::run_within(3 * common::HANG, || async {
        // Wine has not enough of something for so many.
        let n = if os::is_imitated() { 50 } else { 200 };
        let starts = (0..n as u64).map(|i| Process::spawn(report(i, String::new())));
        // All run at once in the end; they are started a few at a time, since each has
        // only so long to say hello.
        let mut all: Vec<_> =
            futures::stream::iter(starts).buffered(32).try_collect().await.unwrap();
        let pids: HashSet<u32> = all.iter().map(|p| p.pid()).collect();
        assert_eq!(pids.len(), n);
        for (i, process) in all.iter_mut().enumerate() {
            assert_eq!(process.output().await.unwrap().0, i as u64);
            process.join().await;
            assert_eq!(process.exit_code(), Some(0));
        }
        assert!(active_children().is_empty());
    });
}

#[test]
fn large_values_travel_both_ways() {
    #[procpool::task]
    fn reversed(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.reverse();
        bytes
    }
    common::run(|| async {
        let bytes: Vec<u8> = (0..20_000_000_u32).map(|i| i as u8).collect();
        let mut process = Process::spawn(reversed(bytes.clone())).await.unwrap();
        let mut back = process.output().await.unwrap();
        back.reverse();
        assert!(back == bytes);
        process.join().await;
    });
}

/// The runtime goes, the process does not; its value is not lost.
#[test]
fn a_process_outlives_the_runtime_of_its_start() {
    #[procpool::task]
    fn large(gate: String) -> Vec<u8> {
        kit::stay(&gate, "in");
        vec![5; 3_000_000]
    }
    common::run(|| async {
        let gate = Gate::new("outlives");
        let path = gate.path();
        let started = std::thread::spawn(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(Process::spawn(large(path))).unwrap()
        });
        let mut process = tokio::task::spawn_blocking(|| started.join().unwrap()).await.unwrap();
        gate.arrived(1).await;
        assert!(!process.join_timeout(SHORT).await);
        gate.open();
        assert_eq!(process.output().await.unwrap(), vec![5; 3_000_000]);
        process.join().await;
        assert_eq!(process.exit_code(), Some(0));
    });
}

#[test]
fn debug_says_what_python_says() {
    common::run(|| async {
        let gate = Gate::new("debug");
        let start = Process::builder(wait_at(gate.path())).name("shown").daemon(true).start();
        let process = start.await.unwrap();
        let text = format!("{process:?}");
        for part in ["shown", &process.pid().to_string(), "started", "daemon: true"] {
            assert!(text.contains(part), "{text}");
        }
        process.kill();
        process.join().await;
        let text = format!("{process:?}");
        assert!(text.contains("killed") || text.contains("terminated"), "{text}");
    });
}

#[cfg(unix)]
#[test]
fn descriptors_without_close_on_exec_are_not_inherited() {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    #[procpool::task]
    fn open_here() -> Vec<String> {
        os::open_files().into_iter().map(|(_, to)| to).collect()
    }
    common::run(|| async {
        let dir = common::TempDir::new("inherited");
        let path = dir.0.join("left-open");
        let file = std::fs::File::create(&path).unwrap();
        // SAFETY: plain calls; the copy is owned once.
        let _left_open = unsafe { OwnedFd::from_raw_fd(libc::dup(file.as_raw_fd())) };
        let mut process = Process::spawn(open_here()).await.unwrap();
        let open = process.output().await.unwrap();
        assert!(!open.contains(&path.to_string_lossy().into_owned()), "{open:?}");
        process.join().await;
    });
}

const ROLE: &str = "PROCPOOL_PROCESS_ROLE";

/// The program under test: this one, started again by the tests below.
#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (how, gate) = role.split_once(':').unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if how == "last words" {
        runtime.block_on(async {
            let process = Process::spawn(speaks()).await.unwrap();
            process.join().await;
            std::process::exit(0);
        });
    }
    runtime.block_on(async {
        for i in 0..4 {
            let gate = gate.to_owned();
            let process = match how {
                "idle" => Process::spawn(idle_for_ever(gate)).await.unwrap(),
                "stopped" => Process::spawn(stops(gate)).await.unwrap(),
                _ => Process::builder(spins(gate)).daemon(i % 2 == 0).start().await.unwrap(),
            };
            std::mem::forget(process);
        }
        std::future::pending::<()>().await;
    });
}

#[procpool::task]
async fn idle_for_ever(gate: String) {
    kit::note(&gate, std::process::id());
    std::future::pending().await
}

#[procpool::task]
fn spins(gate: String) {
    kit::note(&gate, std::process::id());
    loop {
        std::hint::spin_loop();
    }
}

#[procpool::task]
fn stops(gate: String) {
    kit::note(&gate, std::process::id());
    os::stop_myself();
}

#[test]
fn a_killed_program_takes_its_processes_along() {
    common::run_within(3 * common::HANG, || async {
        let mut late = 0;
        let rounds = if os::is_imitated() { 3 } else { 34 };
        for round in 0..rounds {
            for how in ["idle", "busy", "stopped"] {
                let gate = Gate::new(&format!("killed-{how}-{round}"));
                let mut command = os::this_program("role");
                command.env(ROLE, format!("{how}:{}", gate.path()));
                command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
                let mut program = os::spawn(&mut command).unwrap();
                gate.arrived(4).await;
                program.kill().unwrap();
                program.wait().unwrap();
                let killed = std::time::Instant::now();
                let pids: Vec<u32> = gate.log().iter().map(|line| line.parse().unwrap()).collect();
                common::eventually("its processes are gone", || {
                    pids.iter().all(|pid| !os::is_alive(*pid))
                })
                .await;
                late += u32::from(killed.elapsed() > Duration::from_secs(1));
            }
        }
        // A stall of the whole machine is not a survivor.
        assert!(late <= 1, "{late} times it took longer than a second");
    });
}

/// Its arguments are still on their way when nobody drives the connection any more.
#[test]
fn large_arguments_arrive_though_the_runtime_goes() {
    #[procpool::task]
    fn count(bytes: Vec<u8>) -> usize {
        bytes.len()
    }
    common::run(|| async {
        let started = std::thread::spawn(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(Process::spawn(count(vec![1; 20_000_000]))).unwrap()
        });
        let mut process = tokio::task::spawn_blocking(|| started.join().unwrap()).await.unwrap();
        assert_eq!(process.output().await.unwrap(), 20_000_000);
        process.join().await;
        assert_eq!(process.exit_code(), Some(0));
    });
}

#[test]
fn an_exit_code_inside_is_not_the_processes() {
    #[procpool::task]
    fn inner() -> ExitCode {
        ExitCode(2)
    }
    #[procpool::task]
    fn outer() -> i32 {
        inner().run_here().0
    }
    common::run(|| async {
        let mut process = Process::spawn(outer()).await.unwrap();
        assert_eq!(process.output().await.unwrap(), 2);
        process.join().await;
        assert_eq!(process.exit_code(), Some(0));
    });
}

#[test]
fn waiting_for_the_parent_does_not_keep_a_process_from_ending() {
    #[procpool::task]
    async fn either() -> bool {
        let parent = parent_process().unwrap();
        tokio::select! {
            () = parent.join() => false,
            () = tokio::time::sleep(SHORT) => true,
        }
    }
    common::run(|| async {
        let mut process = Process::spawn(either()).await.unwrap();
        assert!(process.output().await.unwrap());
        process.join().await;
        assert_eq!(process.exit_code(), Some(0));
    });
}

#[procpool::task]
fn speaks() {
    for i in 0..1000 {
        eprintln!("word {i}");
    }
}

#[test]
fn the_last_words_of_a_process_are_shown_before_the_program_ends() {
    let audit = common::Audit::begin();
    for _ in 0..10 {
        let mut command = os::this_program("role");
        let output = command.env(ROLE, "last words:").output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        // Windows' `exit` waits for nobody.
        if cfg!(unix) {
            assert_eq!(text.matches("word ").count(), 1000, "{text}");
        }
        assert!(output.status.success());
    }
    audit.end();
}
