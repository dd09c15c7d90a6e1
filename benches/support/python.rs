//! Peer: `multiprocessing.Pool.map` of CPython.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::place::Place;

/// Maps the identity over a range each time a line comes in, and prints the items a second.
const SCRIPT: &str = r#"
import multiprocessing, os, sys, time

def ident(x):
    return x

workers, items = int(sys.argv[1]), int(sys.argv[2])
cpus = [int(cpu) for cpu in sys.argv[3].split(",")]
pool = multiprocessing.get_context("fork").Pool(workers, os.sched_setaffinity, (0, cpus))
for line in sys.stdin:
    start = time.perf_counter()
    out = pool.map(ident, range(items))
    took = time.perf_counter() - start
    assert len(out) == items
    print(items / took, flush=True)
pool.terminate()
"#;

/// A Python process with a pool of its own.
pub struct PythonMap {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl PythonMap {
    /// None when there is no Python that can do it.
    pub fn start(place: &Place, workers: usize, items: usize) -> Option<PythonMap> {
        let cpus: Vec<String> = place.worker.iter().map(usize::to_string).collect();
        let mut child = Command::new("python3")
            .args(["-c", SCRIPT])
            .args([workers.to_string(), items.to_string(), cpus.join(",")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut python = PythonMap { answers: BufReader::new(child.stdout.take()?), child };
        python.run().is_some().then_some(python)
    }

    /// Items a second of one map.
    pub fn run(&mut self) -> Option<f64> {
        self.child.stdin.as_mut()?.write_all(b"map\n").ok()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).ok()?;
        answer.trim().parse().ok()
    }
}

impl Drop for PythonMap {
    fn drop(&mut self) {
        // Waiting closes its standard input first, which ends it.
        let _ = self.child.wait();
    }
}
