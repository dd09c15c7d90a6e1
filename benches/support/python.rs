//! Peers: `Pool.map`, `Queue`, `Pipe` and locks of CPython's `multiprocessing`.

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

/// Prints how many seconds each thing took that a line asks for, so many times.
const QUEUE_SCRIPT: &str = r#"
import multiprocessing, os, sys, time

context = multiprocessing.get_context("fork")
cpus = [int(cpu) for cpu in sys.argv[1].split(",")]

def reply(there, back):
    os.sched_setaffinity(0, cpus)
    for x in iter(there.get, None):
        back.put(x)

def produce(queue, n):
    os.sched_setaffinity(0, cpus)
    for x in range(n):
        queue.put(x)

def consume(queue, n):
    os.sched_setaffinity(0, cpus)
    for x in range(n):
        assert queue.get() == x

there, back = context.Queue(), context.Queue()
context.Process(target=reply, args=(there, back), daemon=True).start()
for line in sys.stdin:
    what, n = line.split()
    n = int(n)
    start = time.perf_counter()
    if what == "rtt":
        for x in range(n):
            there.put(x)
            assert back.get() == x
    else:
        queue = context.Queue()
        ends = [context.Process(target=f, args=(queue, n)) for f in (consume, produce)]
        for end in ends:
            end.start()
        for end in ends:
            end.join()
    print(time.perf_counter() - start, flush=True)
there.put(None)
"#;

/// The same of a manager's dict, by one client.
const MANAGER_SCRIPT: &str = r#"
import multiprocessing, os, sys, time

context = multiprocessing.get_context("fork")
cpus = [int(cpu) for cpu in sys.argv[1].split(",")]

def place():
    os.sched_setaffinity(0, cpus)

from multiprocessing.managers import SyncManager
manager = SyncManager(ctx=context)
manager.start(place)
d = manager.dict({i: i for i in range(1000)})
for line in sys.stdin:
    what, n = line.split()
    n = int(n)
    start = time.perf_counter()
    if what == "get":
        for x in range(n):
            assert d[x % 1000] == x % 1000
    else:
        for x in range(n):
            d[x % 1000] = x % 1000
    print(time.perf_counter() - start, flush=True)
manager.shutdown()
"#;

/// A Python process with a manager of its own.
pub struct PythonManager(PythonQueue);

impl PythonManager {
    /// None when there is no Python that can do it.
    pub fn start(place: &Place) -> Option<PythonManager> {
        PythonQueue::script(MANAGER_SCRIPT, "get", place).map(PythonManager)
    }

    /// Seconds of `what`, `n` times.
    pub fn run(&mut self, what: &str, n: usize) -> Option<f64> {
        self.0.run(what, n)
    }
}

/// A Python process with queues of its own.
pub struct PythonQueue {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl PythonQueue {
    /// None when there is no Python that can do it.
    pub fn start(place: &Place) -> Option<PythonQueue> {
        Self::script(QUEUE_SCRIPT, "rtt", place)
    }

    fn script(script: &str, first: &str, place: &Place) -> Option<PythonQueue> {
        let cpus: Vec<String> = place.worker.iter().map(usize::to_string).collect();
        let mut child = Command::new("python3")
            .args(["-c", script, &cpus.join(",")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut python = PythonQueue { answers: BufReader::new(child.stdout.take()?), child };
        python.run(first, 1).is_some().then_some(python)
    }

    /// Seconds of `what`, `n` times.
    pub fn run(&mut self, what: &str, n: usize) -> Option<f64> {
        writeln!(self.child.stdin.as_mut()?, "{what} {n}").ok()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).ok()?;
        answer.trim().parse().ok()
    }
}

impl Drop for PythonQueue {
    fn drop(&mut self) {
        // Waiting closes its standard input first, which ends it.
        let _ = self.child.wait();
    }
}

/// Plays so many rounds with a process of its own each time a line comes in, and prints the seconds it took.
const PIPE: &str = r#"
import multiprocessing, os, sys, time

rounds = int(sys.argv[1])
here, there = ([int(cpu) for cpu in arg.split(",")] for arg in sys.argv[2:])
context = multiprocessing.get_context("fork")
ours, theirs = context.Pipe()

def pong():
    os.sched_setaffinity(0, there)
    ours.close()
    try:
        while True:
            theirs.send(theirs.recv())
    except EOFError:
        pass

process = context.Process(target=pong)
process.start()
theirs.close()
os.sched_setaffinity(0, here)
ping = (2**64 - 1, 7)
for line in sys.stdin:
    start = time.perf_counter()
    for _ in range(rounds):
        ours.send(ping)
        ours.recv()
    print(time.perf_counter() - start, flush=True)
ours.close()
process.join()
"#;

/// A Python process that uses a pipe with a process of its own.
pub struct PythonPipe {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl PythonPipe {
    /// None when there is no Python that can do it.
    pub fn start(place: &Place, rounds: usize) -> Option<PythonPipe> {
        let list = |cpus: &[usize]| cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let mut child = Command::new("python3")
            .args(["-c", PIPE])
            .args([rounds.to_string(), list(&place.parent), list(&place.worker)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut python = PythonPipe { answers: BufReader::new(child.stdout.take()?), child };
        python.run().is_some().then_some(python)
    }

    /// Seconds for all rounds.
    pub fn run(&mut self) -> Option<f64> {
        self.child.stdin.as_mut()?.write_all(b"go\n").ok()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).ok()?;
        answer.trim().parse().ok()
    }
}

impl Drop for PythonPipe {
    fn drop(&mut self) {
        // Waiting closes its standard input first, which ends it.
        let _ = self.child.wait();
    }
}

/// Prints a number for each line, which says what to do and how often: seconds, or pairs a second and the longest wait.
const SYNC: &str = r#"
import multiprocessing, os, sys, time

context = multiprocessing.get_context("fork")
there = [int(cpu) for cpu in sys.argv[1].split(",")]
clock = time.perf_counter

def lock(n):
    lock = context.Lock()
    start = clock()
    for _ in range(n):
        lock.acquire()
        lock.release()
    return clock() - start

def value(n):
    v = context.Value("Q", 0)
    start = clock()
    for _ in range(n):
        with v.get_lock():
            v.value += 1
    return clock() - start

def answer(started, work, *args):
    os.sched_setaffinity(0, there)
    started.release()
    work(*args)

def against(work, args, here):
    """Seconds that `here` takes while another process does `work`."""
    started = context.Semaphore(0)
    other = context.Process(target=answer, args=(started, work, *args), daemon=True)
    other.start()
    started.acquire()
    start = clock()
    here()
    took = clock() - start
    other.join()
    return took

def event(n):
    a, b = context.Event(), context.Event()
    def there():
        for _ in range(n):
            a.wait()
            a.clear()
            b.set()
    def here():
        for _ in range(n):
            a.set()
            b.wait()
            b.clear()
    return against(there, (), here)

def semaphore(n):
    a, b = context.Semaphore(0), context.Semaphore(0)
    def there():
        for _ in range(n):
            a.acquire()
            b.release()
    def here():
        for _ in range(n):
            a.release()
            b.acquire()
    return against(there, (), here)

def contended(millis):
    lock, counts = context.Lock(), context.Array("Q", 2, lock=False)
    def take(me):
        end = clock() + millis / 1e3
        n = 0
        while clock() < end:
            for _ in range(64):
                lock.acquire()
                n += 1
                lock.release()
        counts[me] = n
    against(take, (1,), lambda: take(0))
    return sum(counts) / millis * 1e3

def longest_wait(millis):
    lock, longest = context.Lock(), context.Array("d", 2, lock=False)
    def take(me):
        before = clock()
        end = before + millis / 1e3
        most = 0.0
        while before < end:
            lock.acquire()
            now = clock()
            most = max(most, now - before)
            lock.release()
            before = clock()
        longest[me] = most
    against(take, (1,), lambda: take(0))
    return max(longest)

for line in sys.stdin:
    what, n = line.split()
    print(globals()[what](int(n)), flush=True)
"#;

/// A Python process that uses locks with a process of its own.
pub struct PythonSync {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl PythonSync {
    /// None when there is no Python that can do it.
    pub fn start(place: &Place) -> Option<PythonSync> {
        let cpus: Vec<String> = place.worker.iter().map(usize::to_string).collect();
        let mut child = Command::new("python3")
            .args(["-c", SYNC, &cpus.join(",")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut python = PythonSync { answers: BufReader::new(child.stdout.take()?), child };
        python.run("semaphore", 1).is_some().then_some(python)
    }

    /// What `what` gives, done `n` times.
    pub fn run(&mut self, what: &str, n: usize) -> Option<f64> {
        writeln!(self.child.stdin.as_mut()?, "{what} {n}").ok()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).ok()?;
        answer.trim().parse().ok()
    }
}

impl Drop for PythonSync {
    fn drop(&mut self) {
        // Waiting closes its standard input first, which ends it.
        let _ = self.child.wait();
    }
}
