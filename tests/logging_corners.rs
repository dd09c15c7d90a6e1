//! What is logged in odd moments: before and after calls, by what dies, into what panics.

mod common;
mod kit;
#[path = "common/recorder.rs"]
mod recorder;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use common::os::Death;
use kit::{Gate, builder};
use procpool::{Process, ProcessPool, Stdout};
use recorder::Recorder;
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Instrument, Span, debug, info, info_span};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

procpool::test_hook!();

fn recorded<B: Future<Output = ()>>(body: impl FnOnce(Recorder) -> B) {
    let (recorder, dispatch) = Recorder::with(LevelFilter::INFO);
    tracing::dispatcher::with_default(&dispatch, || common::run(|| body(recorder)));
}

#[procpool::task]
fn fails_twice() -> u32 {
    let attempt = procpool::context().attempt();
    info!(attempt, "attempt");
    assert!(attempt > 2, "too early");
    attempt
}

#[test]
fn every_attempt_is_in_the_callers_span() {
    recorded(|recorder| async move {
        let pool = builder(1).build().await.unwrap();
        for _ in 0..10 {
            let run = pool.run(fails_twice()).retries(3).instrument(info_span!("request"));
            assert_eq!(run.await.unwrap(), 3);
        }
        pool.shutdown().await.unwrap();
        let events = recorder.events();
        assert_eq!(events.len(), 30);
        assert!(events.iter().all(|e| e.spans == ["request"]), "{events:#?}");
    });
}

#[procpool::task]
fn say(x: u64) -> u64 {
    info!(x, "said");
    x
}

#[test]
fn submitted_maps_are_in_the_span_of_their_submission() {
    recorded(|recorder| async move {
        let pool = builder(1).build().await.unwrap();
        let map = info_span!("submission").in_scope(|| pool.map_async(say, [1, 2]));
        let one = info_span!("submission").in_scope(|| pool.apply_async(say, 3));
        assert_eq!(map.await.unwrap(), [1, 2]);
        assert_eq!(one.await.unwrap(), 3);
        pool.shutdown().await.unwrap();
        let events = recorder.events();
        assert_eq!(events.len(), 3);
        assert!(events.iter().all(|e| e.spans == ["submission"]), "{events:#?}");
    });
}

#[test]
fn joining_needs_no_timers_and_no_tokio() {
    recorded(|recorder| async move {
        let pools = [builder(1).build().await.unwrap(), builder(1).build().await.unwrap()];
        for pool in &pools {
            pool.run(say(1)).await.unwrap();
            pool.close();
        }
        let [first, second] = pools;
        let bare = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(first.join()).unwrap();
            drop(first);
        };
        tokio::task::spawn_blocking(bare).await.unwrap();
        let foreign = move || {
            futures::executor::block_on(second.join()).unwrap();
            drop(second);
        };
        tokio::task::spawn_blocking(foreign).await.unwrap();
        assert_eq!(recorder.messages(), ["said"; 2], "all is there when it returns");
    });
}

#[procpool::task]
fn stay_in_span(gate: &str) {
    let _in = info_span!("of_another").entered();
    info!("in it");
    while !std::fs::exists(format!("{gate}/open")).unwrap() {
        std::thread::yield_now();
    }
}

#[procpool::task]
fn print_line() {
    use std::io::Write;
    // Past libtest, which takes `println!` of a test.
    let mut out = std::io::stdout();
    writeln!(out, "a line").unwrap();
}

#[test]
fn a_printed_line_is_in_nobody_elses_span() {
    recorded(|recorder| async move {
        let gate = Gate::new("log-line-span");
        let mut other = Process::spawn(stay_in_span(&gate.path())).await.unwrap();
        common::eventually("the other is in its span", || {
            recorder.messages().iter().any(|m| m == "in it")
        })
        .await;
        let pool = builder(1).stdout(Stdout::Events).build().await.unwrap();
        pool.run(print_line()).await.unwrap();
        pool.shutdown().await.unwrap();
        gate.open();
        other.output().await.unwrap();
        other.join().await;
        let events = recorder.events();
        let line = events.iter().find(|e| e.message() == "a line").unwrap();
        assert!(line.spans.is_empty(), "{line:?}");
    });
}

static ROOT: OnceLock<Span> = OnceLock::new();

#[procpool::task]
fn open_root() {
    ROOT.set(info_span!("root")).unwrap();
}

#[procpool::task]
fn use_root() {
    let root = ROOT.get().unwrap();
    let mine = info_span!("mine");
    mine.in_scope(|| info!("in mine"));
    root.in_scope(|| info!("in root"));
    drop(mine);
    root.in_scope(|| info!("in root"));
    info!(parent: root, "by root");
}

#[test]
fn a_span_of_the_initializers_lives_as_long_as_it_is_held() {
    recorded(|recorder| async move {
        let pool = builder(1).initializer(open_root, ()).build().await.unwrap();
        pool.run(use_root()).await.unwrap();
        pool.shutdown().await.unwrap();
        let seen: Vec<_> = recorder
            .events()
            .iter()
            .map(|e| format!("{} {}", e.message(), e.spans.join(":")))
            .collect();
        assert_eq!(seen, ["in mine mine", "in root root", "in root root", "by root root"]);
    });
}

struct LogsAtItsEnd;

impl Drop for LogsAtItsEnd {
    fn drop(&mut self) {
        info!("last of the thread");
    }
}

thread_local!(static AT_END: LogsAtItsEnd = const { LogsAtItsEnd });

#[procpool::task]
fn log_while_a_thread_ends() {
    let thread = std::thread::spawn(|| {
        AT_END.with(|_| ());
        info!("first of the thread");
    });
    thread.join().unwrap();
}

#[test]
fn a_thread_that_ends_may_log() {
    recorded(|recorder| async move {
        let pool = builder(1).build().await.unwrap();
        pool.run(log_while_a_thread_ends()).await.unwrap();
        pool.shutdown().await.unwrap();
        assert_eq!(recorder.messages(), ["first of the thread", "last of the thread"]);
    });
}

struct LogsWhenDropped;

impl Drop for LogsWhenDropped {
    fn drop(&mut self) {
        info!("cleaned up");
    }
}

#[procpool::task]
async fn waits_with_clean_up() {
    let _clean_up = LogsWhenDropped;
    info!("begun");
    std::future::pending::<()>().await;
}

#[test]
fn the_clean_up_of_a_cancelled_call_is_part_of_it() {
    recorded(|recorder| async move {
        let pool = builder(1).build().await.unwrap();
        let run = pool.spawn(waits_with_clean_up());
        common::eventually("it has begun", || !recorder.events().is_empty()).await;
        run.abort();
        assert!(run.await.unwrap_err().is_cancelled());
        pool.shutdown().await.unwrap();
        let events = recorder.events();
        assert_eq!(recorder.messages(), ["begun", "cleaned up"]);
        assert_eq!(events[0].text("task.call"), events[1].text("task.call"));
        assert_eq!(events[1].text("task.name"), "logging_corners::waits_with_clean_up");
    });
}

/// Panics where a span of this name is left.
struct PanicsAtExit;

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for PanicsAtExit {
    fn on_exit(&self, id: &tracing::Id, ctx: Context<'_, S>) {
        assert_ne!(ctx.span(id).unwrap().name(), "doomed", "a subscriber's bug");
    }
}

#[procpool::task]
fn die_in_a_span() {
    let _in = info_span!("doomed").entered();
    info!("about to die");
    Death::Kill.strike();
}

#[test]
fn a_subscriber_that_panics_at_the_end_of_a_child_misses_nothing_else() {
    let recorder = Recorder::default();
    let layered = tracing_subscriber::registry()
        .with(LevelFilter::INFO)
        .with(recorder.clone())
        .with(PanicsAtExit);
    tracing::dispatcher::with_default(&Dispatch::new(layered), || {
        common::run(|| async {
            let pool = builder(1).build().await.unwrap();
            for _ in 0..3 {
                pool.run(die_in_a_span()).await.unwrap_err();
                pool.run(say(1)).await.unwrap();
            }
            pool.shutdown().await.unwrap();
            let said = recorder.messages().iter().filter(|m| *m == "said").count();
            assert_eq!(said, 3);
        });
    });
}

#[procpool::task]
fn with_many_targets(n: u64) {
    for i in 0..n {
        log::info!(target: &format!("target-{i}"), "hello {i}");
        if i % 300 == 0 {
            std::thread::sleep(Duration::from_millis(8));
        }
    }
}

#[test]
fn one_childs_callsites_leave_room_for_anothers() {
    recorded(|recorder| async move {
        let many = builder(1).build().await.unwrap();
        many.run(with_many_targets(3000)).await.unwrap();
        many.shutdown().await.unwrap();
        let other = builder(1).build().await.unwrap();
        other.run(say(7)).await.unwrap();
        other.shutdown().await.unwrap();
        let events = recorder.events();
        let said = events.iter().find(|e| e.message() == "said").unwrap();
        assert_eq!((said.target.as_str(), said.text("x")), ("logging_corners", "7"));
        // Those that are too many still say what and where.
        let shared = events.iter().rfind(|e| e.message().starts_with("hello")).unwrap();
        assert_eq!(shared.target, "procpool");
        let number = shared.message().strip_prefix("hello ").unwrap();
        assert_eq!(shared.text("log.target"), format!("target-{number}"));
        assert_eq!(shared.text("log.file"), file!());
    });
}

#[procpool::task]
fn say_much() {
    debug!("much");
    info!("little");
}

#[test]
fn a_filter_by_the_callers_span_lets_its_calls_through() {
    let (recorder, dispatch) = Recorder::with(EnvFilter::new("error,[chosen]=debug"));
    tracing::dispatcher::with_default(&dispatch, || {
        common::run(|| async {
            let pool = builder(1).build().await.unwrap();
            pool.run(say_much()).instrument(info_span!("chosen")).await.unwrap();
            pool.run(say_much()).instrument(info_span!("other")).await.unwrap();
            pool.shutdown().await.unwrap();
            assert_eq!(recorder.messages(), ["much", "little"]);
        });
    });
}

/// Asks the pool whenever something is logged: under a lock of the pool's that would wait
/// for ever.
struct AsksThePool(Arc<Mutex<Option<ProcessPool>>>);

impl<S: tracing::Subscriber> Layer<S> for AsksThePool {
    fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
        let pool = self.0.lock().unwrap().clone();
        if let Some(pool) = pool {
            let _ = (pool.stats(), pool.workers());
        }
    }
}

#[procpool::task]
fn die() {
    Death::Kill.strike();
}

#[test]
fn a_subscriber_may_ask_the_pool() {
    let pool = Arc::new(Mutex::new(None));
    let layered =
        tracing_subscriber::registry().with(LevelFilter::TRACE).with(AsksThePool(pool.clone()));
    tracing::dispatcher::with_default(&Dispatch::new(layered), || {
        common::run(|| async {
            let made = builder(2).build().await.unwrap();
            *pool.lock().unwrap() = Some(made.clone());
            for x in 0..100 {
                if x % 20 == 0 {
                    made.run(die()).await.unwrap_err();
                }
                assert_eq!(made.run(say(x)).await.unwrap(), x);
            }
            made.shutdown().await.unwrap();
            // It would keep itself alive: it has its listener, and that has it.
            *pool.lock().unwrap() = None;
        });
    });
}

struct PanicsAtEverything;

impl<S: tracing::Subscriber> Layer<S> for PanicsAtEverything {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        panic!("a subscriber's bug, at {}", event.metadata().name());
    }
}

#[test]
fn a_subscriber_that_panics_costs_no_call() {
    let layered = tracing_subscriber::registry().with(LevelFilter::TRACE).with(PanicsAtEverything);
    tracing::dispatcher::with_default(&Dispatch::new(layered), || {
        common::run(|| async {
            let pool = builder(2).build().await.unwrap();
            for x in 0..100 {
                if x % 20 == 0 {
                    assert!(pool.run(die()).await.unwrap_err().is_worker_died());
                }
                assert_eq!(pool.run(say(x)).await.unwrap(), x);
            }
            pool.shutdown().await.unwrap();
        });
    });
}

/// Waits at every event until it is told to go on.
struct Blocks(Arc<AtomicBool>);

impl<S: tracing::Subscriber> Layer<S> for Blocks {
    fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
        while !self.0.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[procpool::task]
fn spin() {
    loop {
        std::hint::spin_loop();
    }
}

#[test]
fn a_subscriber_that_blocks_holds_up_no_deadline() {
    let open = Arc::new(AtomicBool::new(false));
    let layered =
        tracing_subscriber::registry().with(LevelFilter::TRACE).with(Blocks(open.clone()));
    tracing::dispatcher::with_default(&Dispatch::new(layered), || {
        common::run(|| async {
            let pool = builder(2).build().await.unwrap();
            assert!(pool.run(die()).await.unwrap_err().is_worker_died());
            let error = pool.run(spin()).timeout(Duration::from_millis(50)).await.unwrap_err();
            assert!(error.is_timeout(), "{error:?}");
            let mut process = Process::spawn(say(3)).await.unwrap();
            assert_eq!(process.output().await.unwrap(), 3);
            open.store(true, Ordering::SeqCst);
            process.join().await;
            pool.shutdown().await.unwrap();
        });
    });
}

#[procpool::task]
async fn own_context() -> (u64, String) {
    tokio::task::yield_now().await;
    let context = procpool::context();
    (context.call_id(), context.worker_name().to_owned())
}

#[test]
fn an_async_task_that_is_run_here_has_a_context() {
    common::run(|| async { assert_eq!(own_context().run_here().await, (0, "here".to_owned())) });
}

#[inline(never)]
fn from_one_place() {
    info!("from one place");
}

#[procpool::task]
fn log_on_a_thread() {
    std::thread::spawn(from_one_place).join().unwrap();
}

#[procpool::task]
fn log_again() {
    from_one_place();
}

#[test]
fn what_another_thread_came_to_during_the_initializer_is_heard_later() {
    recorded(|recorder| async move {
        let pool = builder(1).initializer(log_on_a_thread, ()).build().await.unwrap();
        pool.run(log_again()).await.unwrap();
        pool.shutdown().await.unwrap();
        assert!(recorder.messages().contains(&"from one place".to_owned()));
    });
}

/// Panics at the end of every span.
struct PanicsAtClose;

impl<S: tracing::Subscriber> Layer<S> for PanicsAtClose {
    fn on_close(&self, _: tracing::Id, _: Context<'_, S>) {
        panic!("a subscriber's bug");
    }
}

#[test]
fn a_span_whose_end_panics_costs_no_call_and_no_join() {
    let layered = tracing_subscriber::registry().with(LevelFilter::WARN).with(PanicsAtClose);
    tracing::dispatcher::with_default(&Dispatch::new(layered), || {
        common::run(|| async {
            let pool = builder(1).build().await.unwrap();
            for x in 0..5 {
                let span = tracing::warn_span!("request");
                let call = span.in_scope(|| pool.spawn(say(x)));
                let started = span.in_scope(|| Process::builder(say(x)).daemon(true));
                let process = started.start().instrument(span.clone()).await.unwrap();
                // The last one is the call's or the process's own.
                std::mem::forget(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    drop(span)
                })));
                assert_eq!(call.await.unwrap(), x);
                process.join().await;
                assert_eq!(process.exit_code(), Some(0));
            }
            pool.shutdown().await.unwrap();
        });
    });
}
