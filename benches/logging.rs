//! What a logged event costs the task that logs it.
//!
//! * `log_event`: an event with a message and three fields, on its way to the parent; against the same event
//!   formatted by `tracing-subscriber` into `io::sink`, in the same worker. The worker's thread is charged: its
//!   CPU time, for bursts that leave the parent time to read; what passes by the clock is reported beside it.
//! * `log_span`: a span entered, left and closed, the same way; a figure, with its floor.
//! * `log_disabled`: an event that nobody wants, in a worker; a figure.
//! * `log_delivered`: events that the parent hands to its subscriber in a second, when they come as fast as the
//!   worker can write them, and how many of them were lost.
//!
//! Parent and worker are on one core (`@same`), on two (`@cross`) or where the system puts them (`@free`).

#![cfg_attr(not(target_os = "linux"), no_main)]
#![cfg(target_os = "linux")]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::place;
use support::pool::{Pool, runtime};
use support::report::{Bound, Run, figure, median, ratio_at, worst_placements};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber, debug, info, info_span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Events of a burst: they fit into what the parent has not read yet.
const BURST: u32 = 500;

/// What a task's thread is charged and what passes meanwhile, in nanoseconds each time.
type Cost = (f64, f64);

fn thread_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn each(n: u32, mut f: impl FnMut(u32)) -> Cost {
    let (clock, charged) = (Instant::now(), thread_time());
    for i in 0..n {
        f(i);
    }
    let charged = thread_time() - charged;
    let nanos = |t: Duration| t.as_nanos() as f64 / f64::from(n);
    (nanos(charged), nanos(clock.elapsed()))
}

fn event(i: u32) {
    info!(count = i, ratio = 0.5, who = "somebody", "an event");
}

fn span(i: u32) {
    let _in = info_span!("span", count = i, who = "somebody").entered();
}

fn bursts(bursts: u32, f: impl Fn(u32) + Copy) -> Cost {
    let all: Vec<Cost> = (0..bursts)
        .map(|_| {
            let cost = each(BURST, f);
            // For the parent to read, as it would in between.
            std::thread::sleep(Duration::from_millis(5));
            cost
        })
        .collect();
    let middle = |of: fn(&Cost) -> f64| median(&all.iter().map(of).collect::<Vec<_>>());
    (middle(|c| c.0), middle(|c| c.1))
}

#[procpool::task]
fn events(n: u32) -> Cost {
    bursts(n, event)
}

#[procpool::task]
fn spans(n: u32) -> Cost {
    bursts(n, span)
}

#[procpool::task]
fn disabled(n: u32) -> Cost {
    each(n * BURST, |i| debug!(count = i, "nobody wants this"))
}

#[procpool::task]
fn flood(n: u32) -> Cost {
    each(n, event)
}

/// The same into a sink; with events for the spans, too.
#[procpool::task]
fn floor(n: u32, of_spans: bool) -> Cost {
    let sink = tracing_subscriber::fmt().with_writer(std::io::sink).with_ansi(false).finish();
    tracing::subscriber::with_default(sink, || {
        if of_spans { bursts(n, span) } else { bursts(n, event) }
    })
}

static ARRIVED: AtomicU64 = AtomicU64::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);

/// Counts what arrives.
struct Count;

struct LostField;

impl tracing::field::Visit for LostField {
    fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
        if field.name() == "lost" {
            LOST.fetch_add(value, Ordering::Relaxed);
        }
    }

    fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}
}

impl<S: Subscriber> Layer<S> for Count {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        ARRIVED.fetch_add(u64::from(event.metadata().target() == "logging"), Ordering::Relaxed);
        event.record(&mut LostField);
    }
}

fn main() {
    support::run_role_if_child();
    procpool::init();
    let Some(run) = Run::from_args() else { return };
    let counting = tracing_subscriber::registry().with(LevelFilter::INFO).with(Count);
    tracing::subscriber::set_global_default(counting).expect("no other subscriber");
    place::everywhere(|place| {
        if !run.wants_any(&["log_event", "log_span", "log_disabled", "log_delivered"]) {
            return;
        }
        let rt = runtime();
        let pool = Pool::new(&rt, 1, Some(place));
        let call = |call| rt.block_on(async { pool.pool.run(call).await }).expect("a call");
        let n = run.iters(40) as u32;
        let lost = LOST.load(Ordering::Relaxed);
        for (row, of_spans) in [("log_event", false), ("log_span", true)] {
            if !run.wants(row) {
                continue;
            }
            let (mut clock, mut floor_clock) = (Vec::new(), Vec::new());
            let mut ours = || {
                let (charged, passed) = call(if of_spans { spans(n) } else { events(n) });
                clock.push(passed);
                charged
            };
            let mut theirs = || {
                let (charged, passed) = call(floor(n, of_spans));
                floor_clock.push(passed);
                charged
            };
            let [ours, theirs] = run.alternate(9, [&mut ours, &mut theirs]);
            figure(&format!("{row}@{place}"), median(&ours), "ns");
            figure(&format!("floor_{row}@{place}"), median(&theirs), "ns");
            figure(&format!("clock_{row}@{place}"), median(&clock), "ns");
            figure(&format!("floor_clock_{row}@{place}"), median(&floor_clock), "ns");
            if !of_spans {
                ratio_at(row, place, &ours, &theirs, Bound::AtMost(2.0));
            }
        }
        assert_eq!(LOST.load(Ordering::Relaxed), lost, "what is lost is too cheap");
        if run.wants("log_disabled") {
            figure(&format!("log_disabled@{place}"), call(disabled(n)).0, "ns");
        }
        if run.wants("log_delivered") {
            let (before, lost) = (ARRIVED.load(Ordering::Relaxed), LOST.load(Ordering::Relaxed));
            let start = Instant::now();
            let n = run.iters(400_000) as u32;
            call(flood(n));
            let took = start.elapsed().as_secs_f64();
            drop(pool);
            let arrived = ARRIVED.load(Ordering::Relaxed) - before;
            figure(&format!("log_delivered@{place}"), arrived as f64 / took / 1e3, "k/s");
            let lost = LOST.load(Ordering::Relaxed) - lost;
            figure(&format!("log_lost@{place}"), lost as f64 / f64::from(n) * 100.0, "%");
        }
    });
    worst_placements();
}
