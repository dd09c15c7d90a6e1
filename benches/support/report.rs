//! Arguments, slices, medians, and the lines printed.

use std::fmt;
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use criterion::Criterion;

use crate::support::place::Place;

/// What the command line and the environment ask for.
pub struct Run {
    filter: Option<String>,
    quick: bool,
}

impl Run {
    /// None when the program was not started by `cargo bench` (`cargo test --benches` starts it too, and lists its tests).
    pub fn from_args() -> Option<Run> {
        let args: Vec<String> = std::env::args().skip(1).collect();
        if !args.iter().any(|a| a == "--bench") {
            eprintln!("not measuring: start it with cargo bench, or pass --bench");
            return None;
        }
        Some(Run {
            filter: args.into_iter().find(|a| !a.starts_with('-')),
            quick: std::env::var("BENCH_QUICK").is_ok_and(|v| v == "1"),
        })
    }

    /// True when the row called `name` is to be run.
    pub fn wants(&self, name: &str) -> bool {
        self.filter.as_deref().is_none_or(|f| name.contains(f))
    }

    /// True when one of `rows`, which are measured together, is to be run.
    pub fn wants_any(&self, rows: &[&str]) -> bool {
        rows.iter().any(|row| self.wants(row))
    }

    /// `n`, or a tenth of it in a quick run.
    pub fn iters(&self, n: usize) -> usize {
        if self.quick { (n / 10).max(1) } else { n }
    }

    /// Measures every side in `slices` alternating slices, after one to warm up.
    pub fn alternate<const N: usize>(
        &self,
        slices: usize,
        mut sides: [&mut dyn FnMut() -> f64; N],
    ) -> [Vec<f64>; N] {
        let slices = if self.quick { slices.min(3) } else { slices };
        let mut taken = [const { Vec::new() }; N];
        for side in &mut sides {
            side();
        }
        for slice in 0..slices {
            for k in 0..N {
                let k = if slice % 2 == 0 { k } else { N - 1 - k };
                taken[k].push(sides[k]());
            }
        }
        taken
    }

    /// Criterion, kept short: the bounds are judged by the alternating slices.
    pub fn criterion(&self) -> Criterion {
        Criterion::default()
            .sample_size(10)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
            .with_filter(self.filter.as_deref().unwrap_or_default())
    }
}

/// What a row may measure.
#[derive(Clone, Copy)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn worse(self, a: f64, b: f64) -> f64 {
        match self {
            Bound::AtMost(_) => a.max(b),
            Bound::AtLeast(_) => a.min(b),
        }
    }

    fn holds(self, measured: f64) -> bool {
        match self {
            Bound::AtMost(k) => measured <= k,
            Bound::AtLeast(k) => measured >= k,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::AtMost(k) => write!(f, "<={k}"),
            Bound::AtLeast(k) => write!(f, ">={k}"),
        }
    }
}

/// Prints `figure NAME VALUE UNIT`.
pub fn figure(name: &str, value: f64, unit: &str) {
    line(format_args!("figure {name} {} {unit}", digits(value)));
}

/// Prints `ratio NAME MEASURED BOUND ok|short`, or that the comparison is missing.
pub fn ratio(name: &str, measured: Option<f64>, bound: Bound) {
    let Some(measured) = measured else {
        return line(format_args!("ratio {name} missing {bound} missing"));
    };
    let verdict = if bound.holds(measured) { "ok" } else { "short" };
    line(format_args!("ratio {name} {} {bound} {verdict}", digits(measured)));
}

/// Prints the ratio of `ours` to `floor` at `place`: bounded where both ends are pinned, else a figure
/// (`ROW_x@free`).
pub fn ratio_at(row: &str, place: &Place, ours: &[f64], floor: &[f64], bound: Bound) {
    let measured = median_ratio(ours, floor);
    if place.pinned() {
        ratio(&format!("{row}@{place}"), Some(measured), bound);
        let mut worst = WORST.lock().expect("one thread reports");
        match worst.iter_mut().find(|(name, ..)| name == row) {
            Some((_, value, _)) => *value = bound.worse(*value, measured),
            None => worst.push((row.to_owned(), measured, bound)),
        }
    } else {
        figure(&format!("{row}_x@{place}"), measured, "x");
    }
}

/// The worst of a row's placements so far, under the row's own name.
static WORST: Mutex<Vec<(String, f64, Bound)>> = Mutex::new(Vec::new());

/// Prints the line of each row that was measured at several placements: its worst.
pub fn worst_placements() {
    for (row, measured, bound) in WORST.lock().expect("one thread reports").drain(..) {
        ratio(&row, Some(measured), bound);
    }
}

/// The median of the slices.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The median of the slices' own ratios.
pub fn median_ratio(ours: &[f64], floor: &[f64]) -> f64 {
    let ratios: Vec<f64> = ours.iter().zip(floor).map(|(a, b)| a / b).collect();
    median(&ratios)
}

/// The largest of the slices.
pub fn max(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn digits(value: f64) -> String {
    let places = match value.abs() {
        v if v >= 1000.0 => 0,
        v if v >= 10.0 => 1,
        _ => 3,
    };
    format!("{value:.places$}")
}

fn line(text: fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
