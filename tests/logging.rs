//! What workers and processes log arrives in this process's subscriber.

mod common;
mod kit;
#[path = "common/recorder.rs"]
mod recorder;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::os::Death;
use kit::{Gate, builder};
use procpool::{Process, ProcessPool, Stderr, Stdout};
use recorder::{Recorder, Seen};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Instrument, Level, debug, error, info, info_span, trace, warn};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{EnvFilter, reload};

procpool::test_hook!();

/// A test body with a subscriber of its own that records what `filter` lets through.
fn recorded<F, B>(filter: F, body: impl FnOnce(Recorder) -> B)
where
    F: Layer<tracing_subscriber::Registry> + Send + Sync,
    B: Future<Output = ()>,
{
    let (recorder, dispatch) = Recorder::with(filter);
    under(&dispatch, || body(recorder));
}

fn under<B: Future<Output = ()>>(dispatch: &Dispatch, body: impl FnOnce() -> B) {
    tracing::dispatcher::with_default(dispatch, || common::run(body));
}

async fn named(name: &str, workers: usize) -> ProcessPool {
    builder(workers).name(name).build().await.unwrap()
}

/// The line of its event, and the call.
#[procpool::task]
fn all_kinds(text: &str) -> (u32, u64) {
    let error = std::io::Error::other("a cause");
    let line = line!() + 1;
    warn!(
        yes = true,
        small = -3_i64,
        large = 3_u64,
        huge = u128::MAX,
        ratio = 0.5,
        text,
        shown = %"shown",
        debugged = ?Some("thing"),
        error = &error as &(dyn std::error::Error + 'static),
        "all {} of them",
        "kinds"
    );
    (line, procpool::context().call_id())
}

#[test]
fn an_event_arrives_as_it_was_logged() {
    recorded(LevelFilter::TRACE, |recorder| async move {
        let pool = named("loggers", 1).await;
        let pid = pool.workers()[0].pid.unwrap();
        let (line, call) = pool.run(all_kinds("some text")).await.unwrap();
        pool.shutdown().await.unwrap();
        let events = recorder.events();
        let [event] = &events[..] else { panic!("{events:#?}") };
        assert_eq!((event.level, &*event.target), (Level::WARN, "logging"));
        assert_eq!(event.file.as_deref(), Some(file!()));
        assert_eq!(event.line, Some(line));
        let mut expected = vec![
            ("message", "debug", "all kinds of them"),
            ("yes", "bool", "true"),
            ("small", "i64", "-3"),
            ("large", "u64", "3"),
            ("huge", "u128", "340282366920938463463374607431768211455"),
            ("ratio", "f64", "0.5"),
            ("text", "str", "some text"),
            ("shown", "debug", "shown"),
            ("debugged", "debug", "Some(\"thing\")"),
            ("error", "debug", "a cause"),
            ("process.name", "str", "loggers-1"),
            ("task.name", "str", "logging::all_kinds"),
        ];
        let (pid, call) = (pid.to_string(), call.to_string());
        expected.extend([("process.pid", "u64", &*pid), ("task.call", "u64", &call)]);
        for (field, how, text) in &expected {
            assert_eq!(event.fields[field], (*how, (*text).to_owned()), "{field}");
        }
        assert_eq!(event.fields.len(), expected.len(), "{event:#?}");
    });
}

#[procpool::task]
fn in_spans(x: u64) {
    let outer = info_span!("work", x, later = tracing::field::Empty);
    let other = info_span!(parent: None, "apart");
    outer.follows_from(&other);
    drop(other);
    outer.in_scope(|| {
        info!("in work");
        info_span!("deeper").in_scope(|| info!("in deeper"));
        tracing::Span::current().record("later", "said");
        info!(parent: None, "in nothing");
    });
    info!("after work");
}

#[test]
fn spans_of_the_caller_go_on_in_the_worker() {
    recorded(LevelFilter::TRACE, |recorder| async move {
        let pool = named("spans", 1).await;
        pool.run(in_spans(1)).instrument(info_span!("request")).await.unwrap();
        pool.shutdown().await.unwrap();
        let seen: Vec<_> =
            recorder.events().iter().map(|e| format!("{} {:?}", e.message(), e.spans)).collect();
        let expected = [
            r#"in work ["request", "work"]"#,
            r#"in deeper ["request", "work", "deeper"]"#,
            r#"in nothing []"#,
            r#"after work ["request"]"#,
        ];
        assert_eq!(seen, expected);
        let spans = recorder.spans();
        let expected = [
            "new request:work",
            "new apart",
            "follows work apart",
            "close apart",
            "enter work",
            "new request:work:deeper",
            "enter deeper",
            "exit deeper",
            "close deeper",
            r#"record work {"later": ("str", "said")}"#,
            "exit work",
            "close work",
        ];
        assert_eq!(spans, expected, "{spans:#?}");
    });
}

#[procpool::task]
async fn in_span_async(x: u64) -> u64 {
    async move {
        for step in 0..3 {
            tokio::task::yield_now().await;
            info!(x, step, "step");
        }
        x
    }
    .instrument(info_span!("steps", x))
    .await
}

#[test]
fn calls_that_run_at_one_time_are_told_apart() {
    recorded(LevelFilter::TRACE, |recorder| async move {
        let pool = named("async", 1).await;
        let calls = (0..8).map(|x| {
            let pool = &pool;
            let span = if x % 2 == 0 { info_span!("even") } else { info_span!("odd") };
            async move { pool.run(in_span_async(x)).await.unwrap() }.instrument(span)
        });
        let results = futures::future::join_all(calls).await;
        assert_eq!(results, (0..8).collect::<Vec<_>>());
        pool.shutdown().await.unwrap();
        let events = recorder.events();
        assert_eq!(events.len(), 24);
        let mut calls = HashSet::new();
        for event in &events {
            let even = event.text("x").parse::<u64>().unwrap() % 2 == 0;
            assert_eq!(event.spans, [if even { "even" } else { "odd" }, "steps"], "{event:?}");
            calls.insert((event.text("x").to_owned(), event.text("task.call").to_owned()));
        }
        assert_eq!(calls.len(), 8, "each call has one number");
    });
}

#[test]
fn a_process_logs_too_and_so_do_its_children() {
    recorded(LevelFilter::INFO, |recorder| async move {
        let process = Process::builder(family(2)).name("parent").start();
        let process = process.instrument(info_span!("request")).await.unwrap();
        process.join().await;
        let events = recorder.events();
        // Without the number that other tests of this program have a part in.
        let name = |e: &Seen| match e.text("process.name").split_once(':') {
            Some((_, rest)) => format!("child {rest}"),
            None => e.text("process.name").to_owned(),
        };
        let said = |e: &Seen| format!("{}: {}", name(e), e.message());
        let all: Vec<_> = events.iter().map(said).collect();
        for expected in [
            "parent: process calls its task",
            "parent: generation 2",
            "child 1: generation 1",
            "child 1:1: generation 0",
            "child 1:1: process exits",
            "child 1: process exits",
            "parent: process exits",
        ] {
            assert!(all.iter().any(|said| said == expected), "{expected} is not in {all:#?}");
        }
        let exit = events.iter().find(|e| e.message() == "process exits").unwrap();
        assert_eq!(exit.target, "procpool");
        assert_eq!(exit.text("code"), "0");
        let pids: HashSet<_> = events.iter().map(|e| e.text("process.pid")).collect();
        assert_eq!(pids.len(), 3);
        let own = events.iter().find(|e| e.message() == "generation 2").unwrap();
        assert_eq!(own.spans, ["request"]);
        let theirs = events.iter().find(|e| e.message() == "generation 0").unwrap();
        assert_eq!(theirs.target, "logging");
        assert_eq!(name(theirs), "child 1:1", "whose it is stays");
        assert_eq!(theirs.text("process.via"), "parent", "and who says so is told");
        assert!(!own.fields.contains_key("process.via"));
    });
}

#[procpool::task]
async fn family(generations: u64) {
    info!("generation {generations}");
    if let Some(next) = generations.checked_sub(1) {
        let call = next_generation(next);
        Process::spawn(call).await.unwrap().join().await;
    }
}

/// Inside a task its own name is the plain function.
fn next_generation(n: u64) -> procpool::Call<(), procpool::Async> {
    family(n)
}

#[procpool::task]
fn at_every_level() -> [bool; 5] {
    error!("error");
    warn!("warn");
    info!("info");
    debug!("debug");
    trace!("trace");
    [
        tracing::enabled!(Level::ERROR),
        tracing::enabled!(Level::WARN),
        tracing::enabled!(Level::INFO),
        tracing::enabled!(Level::DEBUG),
        tracing::enabled!(Level::TRACE),
    ]
}

#[test]
fn workers_follow_the_parents_level() {
    for (filter, count) in [(LevelFilter::WARN, 2), (LevelFilter::TRACE, 5)] {
        recorded(filter, |recorder| async move {
            let pool = named("levels", 1).await;
            let enabled = pool.run(at_every_level()).await.unwrap();
            pool.shutdown().await.unwrap();
            let all = ["error", "warn", "info", "debug", "trace"];
            assert_eq!(recorder.messages(), all[..count]);
            // What is not wanted is not even put into words there. (Another test's
            // subscriber in this process may want more.)
            assert!(enabled[..count].iter().all(|on| *on), "{enabled:?}");
        });
    }
}

/// Logs until it is told to stop.
#[procpool::task]
fn chatter(gate: &str) {
    while !std::fs::exists(format!("{gate}/open")).unwrap() {
        debug!("chatter");
        std::thread::yield_now();
    }
}

#[test]
fn a_change_of_the_level_reaches_a_task_that_runs() {
    let (filter, handle) = reload::Layer::new(LevelFilter::WARN);
    recorded(filter, |recorder| async move {
        let gate = Gate::new("log-level");
        let mut process = Process::spawn(chatter(&gate.path())).await.unwrap();
        for _ in 0..3 {
            let before = recorder.events().len();
            handle.reload(LevelFilter::DEBUG).unwrap();
            common::eventually("it is heard", || recorder.events().len() > before).await;
            handle.reload(LevelFilter::WARN).unwrap();
        }
        gate.open();
        process.output().await.unwrap();
        process.join().await;
    });
}

#[procpool::task]
fn noise_until_unwanted() -> u64 {
    let mut n = 0;
    while tracing::enabled!(target: "noise", Level::DEBUG) {
        n += 1;
        debug!(target: "noise", "nobody wants this");
        std::thread::yield_now();
    }
    debug!(target: "wanted", "this is wanted");
    n
}

#[test]
fn a_filter_by_target_is_followed_in_the_worker() {
    let filter = EnvFilter::new("error,wanted=debug");
    let (recorder, dispatch) = Recorder::with(filter);
    under(&dispatch, || async move {
        let pool = named("targets", 1).await;
        // It ends only if the worker learns that nobody wants the noise.
        pool.run(noise_until_unwanted()).await.unwrap();
        pool.shutdown().await.unwrap();
        assert_eq!(recorder.messages(), ["this is wanted"]);
    });
}

#[procpool::task]
fn with_the_log_crate() -> u32 {
    info_span!("around").in_scope(|| log::warn!(target: "elsewhere", "from {}", "log"));
    log::trace!("nobody asked");
    line!() - 2
}

#[test]
fn records_of_the_log_crate_come_along() {
    recorded(LevelFilter::INFO, |recorder| async move {
        let pool = named("records", 1).await;
        let line = pool.run(with_the_log_crate()).await.unwrap();
        pool.shutdown().await.unwrap();
        let events = recorder.events();
        let [event] = &events[..] else { panic!("{events:#?}") };
        assert_eq!((event.level, &*event.target), (Level::WARN, "elsewhere"));
        assert_eq!(event.message(), "from log");
        assert_eq!((event.file.as_deref(), event.line), (Some(file!()), Some(line)));
        assert_eq!(event.spans, ["around"]);
        assert_eq!(event.text("task.name"), "logging::with_the_log_crate");
    });
}

#[procpool::task]
fn log_and_die(events: u64, death: Death) {
    let _in = info_span!("last").entered();
    for n in 0..events {
        info!(n, "last words");
    }
    death.strike();
}

#[test]
fn what_was_logged_before_a_death_arrives() {
    recorded(LevelFilter::INFO, |recorder| async move {
        let pool = named("dying", 1).await;
        for (round, death) in [Death::Kill, Death::Abort, Death::Segv].into_iter().enumerate() {
            let error = pool.run(log_and_die(200, death)).await.unwrap_err();
            assert!(error.is_worker_died(), "{error:?}");
            let expected = (round + 1) * 200;
            common::eventually("all is there", || recorder.events().len() == expected).await;
        }
        pool.shutdown().await.unwrap();
        let events = recorder.events();
        for (n, event) in events.iter().enumerate() {
            assert_eq!(event.text("n"), (n % 200).to_string());
            assert_eq!(event.text("process.name"), format!("dying-{}", n / 200 + 1));
        }
        // The dead did not leave their spans; that is done for them.
        let last = recorder.spans();
        assert_eq!(last.iter().filter(|s| *s == "exit last").count(), 3);
        assert_eq!(last.iter().filter(|s| *s == "close last").count(), 3);
    });
}

#[procpool::task]
fn flood(events: u64) {
    for n in 0..events {
        info!(n, "drop in the flood");
    }
}

/// Holds up whoever logs, until it is opened.
struct Dam(Arc<AtomicBool>, Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Dam {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        // Not the pool's own, which it logs on threads that must not wait.
        if event.metadata().target() == "logging" {
            self.1.fetch_add(1, Ordering::SeqCst);
            while !self.0.load(Ordering::SeqCst) {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }
}

#[test]
fn a_flood_is_bounded_counted_and_holds_up_nobody() {
    let (open, waiting) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let recorder = Recorder::default();
    let dam = Dam(open.clone(), waiting.clone());
    let layered =
        tracing_subscriber::registry().with(LevelFilter::INFO).with(dam).with(recorder.clone());
    under(&Dispatch::new(layered), || async move {
        let pool = named("flood", 2).await;
        // It ends, and other calls do, while not one event is let through.
        pool.run(flood(50_000)).await.unwrap();
        common::eventually("somebody waits", || waiting.load(Ordering::SeqCst) == 1).await;
        assert_eq!(pool.run(kit::square(3)).await.unwrap(), 9);
        open.store(true, Ordering::SeqCst);
        pool.shutdown().await.unwrap();
        let events = recorder.events();
        let (lost, arrived): (Vec<_>, Vec<_>) =
            events.iter().partition(|e| e.fields.contains_key("lost"));
        let numbers: Vec<u64> = arrived.iter().map(|e| e.text("n").parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "in order, with gaps");
        let told: u64 = lost.iter().map(|e| e.text("lost").parse::<u64>().unwrap()).sum();
        assert_eq!(numbers.len() as u64 + told, 50_000, "nothing is lost untold");
        assert!(told > 0);
        assert_eq!(lost[0].level, Level::WARN);
        assert!(lost[0].text("process.name").starts_with("flood-"));
    });
}

#[procpool::task]
fn on_a_thread() {
    std::thread::spawn(|| info!("from a thread")).join().unwrap();
}

#[test]
fn threads_of_a_task_log_outside_of_calls() {
    recorded(LevelFilter::INFO, |recorder| async move {
        let pool = named("threads", 1).await;
        pool.run(on_a_thread()).await.unwrap();
        pool.shutdown().await.unwrap();
        let events = recorder.events();
        assert_eq!(events[0].message(), "from a thread");
        assert_eq!(events[0].text("process.name"), "threads-1");
        assert!(!events[0].fields.contains_key("task.call"));
    });
}

#[procpool::task]
fn items(x: u64) -> u64 {
    info!(x, "item");
    x
}

#[test]
fn every_item_of_a_map_logs_into_the_maps_span() {
    recorded(LevelFilter::INFO, |recorder| async move {
        let pool = named("maps", 2).await;
        pool.map(items, 0..500).instrument(info_span!("mapped")).await.unwrap();
        pool.shutdown().await.unwrap();
        let events = recorder.events();
        let mut seen: Vec<u64> = events.iter().map(|e| e.text("x").parse().unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
        assert!(events.iter().all(|e| e.spans == ["mapped"]));
    });
}

#[procpool::task]
fn long_text(len: usize) {
    let text = "ä".repeat(len);
    info!(text, after = 1, "long");
}

#[test]
fn a_long_value_is_cut() {
    recorded(LevelFilter::INFO, |recorder| async move {
        let pool = named("long", 1).await;
        pool.run(long_text(1 << 20)).await.unwrap();
        pool.shutdown().await.unwrap();
        let events = recorder.events();
        let text = events[0].text("text");
        assert!(text.ends_with("ää…"), "{}", &text[text.len() - 20..]);
        assert!((1000..10_000).contains(&text.len()), "{}", text.len());
        assert_eq!(events[0].text("after"), "1");
    });
}

#[procpool::task]
fn start_logging() {
    info!("from the initializer");
}

#[test]
fn the_initializer_logs_too() {
    recorded(LevelFilter::INFO, |recorder| async move {
        let pool = builder(2).initializer(start_logging, ()).build().await.unwrap();
        pool.shutdown().await.unwrap();
        assert_eq!(recorder.messages(), ["from the initializer"; 2]);
    });
}

#[procpool::task]
fn set_own_subscriber() {
    tracing_subscriber::fmt().with_writer(std::io::sink).init();
}

#[procpool::task]
fn level_here() -> String {
    info!("not for the parent");
    LevelFilter::current().to_string()
}

#[test]
fn a_worker_that_sets_a_subscriber_of_its_own_keeps_it() {
    recorded(LevelFilter::TRACE, |recorder| async move {
        let pool = builder(1).initializer(set_own_subscriber, ()).build().await.unwrap();
        assert_eq!(pool.run(level_here()).await.unwrap(), "info");
        pool.shutdown().await.unwrap();
        assert_eq!(recorder.messages(), [""; 0]);
    });
}

struct Panics;

impl<S: tracing::Subscriber> Layer<S> for Panics {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        assert_ne!(event.metadata().level(), &Level::WARN, "a subscriber's bug");
    }
}

#[test]
fn a_subscriber_that_panics_misses_what_it_panicked_at() {
    let recorder = Recorder::default();
    let layered =
        tracing_subscriber::registry().with(LevelFilter::INFO).with(recorder.clone()).with(Panics);
    under(&Dispatch::new(layered), || async move {
        let pool = named("panics", 1).await;
        pool.run(at_every_level()).await.unwrap();
        pool.run(at_every_level()).await.unwrap();
        pool.shutdown().await.unwrap();
        let messages = recorder.messages();
        let good = messages.iter().filter(|m| *m == "info").count();
        assert_eq!(good, 2, "{messages:?}");
    });
}

#[test]
fn whoever_has_a_subscriber_is_told_that_it_needs_no_other() {
    #[procpool::task]
    fn log_to_stderr_in_a_child() -> String {
        procpool::log_to_stderr(Level::INFO).unwrap_err().to_string()
    }
    common::run(|| async {
        let pool = named("children", 1).await;
        let error = pool.run(log_to_stderr_in_a_child()).await.unwrap();
        assert!(error.contains("log_to_stderr") && error.contains("subscriber"), "{error}");
        pool.shutdown().await.unwrap();
    });
}

#[procpool::task]
fn print(x: u64, death: Option<Death>) {
    use std::io::Write;
    // Past libtest, which takes `println!` of a test.
    let mut out = std::io::stdout();
    writeln!(out, "out {x}\nand more").unwrap();
    eprint!("err {x}\r\nwithout end");
    if let Some(death) = death {
        death.strike();
    }
}

fn lines(recorder: &Recorder, target: &str) -> Vec<Seen> {
    let of_ours = |e: &Seen| e.target == target && !e.message().starts_with("running ");
    let lines = recorder.events().into_iter().filter(of_ours);
    lines.filter(|e| !e.message().is_empty()).collect()
}

#[test]
fn printed_lines_can_be_events() {
    recorded(LevelFilter::INFO, |recorder| async move {
        let pool = builder(1).name("print").stdout(Stdout::Events).stderr(Stderr::Events);
        let pool = pool.build().await.unwrap();
        pool.run(print(1, None)).await.unwrap();
        let error = pool.run(print(2, Some(Death::Kill))).await.unwrap_err();
        let obituary = error.obituary().unwrap();
        let tail = String::from_utf8_lossy(&obituary.stderr_tail);
        assert!(tail.ends_with("err 2\r\nwithout end"), "kept as well: {tail:?}");
        pool.shutdown().await.unwrap();
        let out = lines(&recorder, "procpool::stdout");
        let messages: Vec<_> = out.iter().map(Seen::message).collect();
        assert_eq!(messages, ["out 1", "and more", "out 2", "and more"]);
        assert!(out.iter().all(|e| e.level == Level::INFO && e.text("process.name") == "print-1"));
        let err = lines(&recorder, "procpool::stderr");
        let messages: Vec<_> = err.iter().map(Seen::message).collect();
        assert_eq!(messages, ["err 1", "without enderr 2", "without end"]);
        assert!(err.iter().all(|e| e.level == Level::WARN && !e.text("process.pid").is_empty()));
    });
}

#[test]
fn what_a_process_prints_can_be_events() {
    recorded(LevelFilter::INFO, |recorder| async move {
        let process = Process::builder(print(7, None)).stdout(Stdout::Events).name("printer");
        let process = process.stderr(Stderr::Null).start().await.unwrap();
        process.join().await;
        let out = lines(&recorder, "procpool::stdout");
        let messages: Vec<_> = out.iter().map(Seen::message).collect();
        assert_eq!(messages, ["out 7", "and more"]);
        assert!(out.iter().all(|e| e.text("process.name") == "printer"));
        assert!(lines(&recorder, "procpool::stderr").is_empty());
    });
}
