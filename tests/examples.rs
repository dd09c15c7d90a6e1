//! Every example runs, says what it promises, exits with 0 and leaves nothing.
//!
//! The examples are those that cargo built next to this test. `cargo test` builds
//! them too; `cargo test --test examples` does not, and needs `cargo build
//! --examples` before it.

mod common;

use std::process::{Command, Output, Stdio};
use std::time::Instant;

use common::os::{self, Death};

procpool::test_hook!();

/// Runs it to its end. The audit around it sees what it leaves.
fn run(mut command: Command) -> Output {
    os::adopt_orphans();
    let audit = common::Audit::begin();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = os::spawn(&mut command).expect("the example starts");
    let pid = child.id();
    // Kills a hanging example, so that reading its output comes to an end.
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if is_done.recv_timeout(common::HANG) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            os::kill(pid);
        }
    });
    let begun = Instant::now();
    let mut text = Vec::new();
    let mut errors = Vec::new();
    std::thread::scope(|scope| {
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        scope.spawn(|| std::io::copy(&mut { err }, &mut errors).unwrap());
        std::io::copy(&mut { out }, &mut text).unwrap();
    });
    let status = child.wait().unwrap();
    drop(child);
    drop(done);
    watch.join().unwrap();
    assert!(begun.elapsed() < common::HANG, "the example hangs");
    audit.end();
    Output { status, stdout: text, stderr: errors }
}

/// Runs an example and compares its output with `expected`, in which `{}` stands
/// for whatever differs from run to run.
fn prints(name: &str, expected: &str) {
    prints_given(name, &[], expected);
}

fn prints_given(name: &str, args: &[&str], expected: &str) {
    let mut command = Command::new(common::example(name));
    command.args(args);
    let output = run(command);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{text}\n{errors}", output.status);
    let (mut lines, mut expected_lines) = (text.lines(), expected.trim().lines());
    loop {
        match (lines.next(), expected_lines.next()) {
            (None, None) => break,
            (Some(line), Some(pattern)) if fits(line, pattern) => {}
            (line, pattern) => {
                panic!("{name}:\n  printed  {line:?}\n  expected {pattern:?}\nin\n{text}\n{errors}")
            }
        }
    }
    assert_eq!(errors, "", "{name} wrote to standard error");
}

/// Whether `line` is `pattern` with something in place of every `{}`.
fn fits(line: &str, pattern: &str) -> bool {
    match pattern.split_once("{}") {
        None => line == pattern,
        Some((before, after)) => line.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().skip(1).any(|(i, _)| fits(&rest[i..], after))
                || (after.is_empty() && !rest.is_empty())
        }),
    }
}

#[test]
fn patterns() {
    assert!(fits("pid 12: done", "pid {}: done"));
    assert!(fits("took 3 s", "took {}"));
    assert!(fits("a 1 b 2", "a {} b {}"));
    assert!(!fits("took ", "took {}"));
    assert!(!fits("pid 12: lost", "pid {}: done"));
}

#[test]
fn quickstart() {
    prints(
        "quickstart",
        "
2 workers ready after {}
map(square, 1..=5) = [1, 4, 9, 16, 25]
apply(square, 7) = 49
run(square(8)) = 64
the sum of 1000000 squares = 333332833333500000
that took {}, {} M calls a second
all workers are gone
",
    );
}

#[test]
fn pool_map() {
    prints(
        "pool_map",
        "
4 workers
squares: [1, 4, 9, 16, 25]
n + 3:   [4, 5, 6, 7, 8]
round 1: [1, 4, 9, 16, 25]
round 2: [1, 4, 9, 16, 25]
round 3: [1, 4, 9, 16, 25]
round 4: [1, 4, 9, 16, 25]
round 5: [1, 4, 9, 16, 25]
after close: task pool_map::square: the pool is closed
accepted before close: 144
workers after join: 0
",
    );
}

#[test]
fn many_jobs() {
    prints(
        "many_jobs",
        "
submitted: 9
joined: 0 workers are left
job 1: ready true
job 2: ready true
job 3: ready true
job 4: ready true
job 5: ready true
job 6: ready true
job 7: ready true
job 8: ready true
job 9: ready true
workers that had a job: worker-1 worker-2 worker-3 worker-4 worker-5 worker-6 worker-7 worker-8
",
    );
}

#[test]
fn cpu_count() {
    let usable = std::thread::available_parallelism().unwrap();
    let machine = procpool::cpu_count();
    let expected = |usable| {
        format!(
            "CPUs of this machine: {machine}\n\
             CPUs this process may use: {usable}\n\
             workers of a default pool: {usable}"
        )
    };
    prints("cpu_count", &expected(usable.get()));

    // A child inherits the affinity of the thread that starts it. (Not so on Windows,
    // and there the standard library does not look at the process's either.)
    #[cfg(unix)]
    {
        let all = rustix::thread::sched_getaffinity(None).unwrap();
        let first = (0..).find(|cpu| all.is_set(*cpu)).unwrap();
        let mut one = rustix::thread::CpuSet::new();
        one.set(first);
        rustix::thread::sched_setaffinity(None, &one).unwrap();
        prints("cpu_count", &expected(1));
        rustix::thread::sched_setaffinity(None, &all).unwrap();
    }
}

#[test]
fn cancel_and_timeout() {
    prints(
        "cancel_and_timeout",
        "
a queued call, dropped
  given up while it waited: true
  it ever ran: false
a blocking loop, stopped by a timeout
  task cancel_and_timeout::loop_for_ever: timed out after 100ms and was stopped
  the next call: 49
  the worker was replaced: true
a running blocking loop, aborted
  task cancel_and_timeout::loop_for_ever: cancelled
  the next call: 64
  the worker was replaced: true
an async task, dropped in its worker
  it runs; now its future is dropped here
  and there: its destructors have run
  the next call: 81
  the worker lives on: true
a limit on CPU time
  a task that waits three times as long is left alone
  task cancel_and_timeout::loop_for_ever: used more than 100ms of CPU time and was stopped
  stopped for its CPU time: true
a cooperative task
  task cancel_and_timeout::loop_until_cancelled: cancelled
  the next call: 100
  the task had put things in order: true
  the worker lives on: true
",
    );
}

#[test]
fn crash_isolation() {
    // How a system says it.
    let overflow = if cfg!(windows) {
        "killed by a stack overflow (0xC00000FD)"
    } else {
        "killed by SIGABRT after a stack overflow"
    };
    let causes = if cfg!(windows) {
        [Death::Segv.name(), Death::Abort.name(), overflow]
    } else {
        ["signal 11", "signal 6", "signal 6"]
    };
    let text = "
Segfault
  error: task crash_isolation::die: its worker (pid {}) was SEGV
  cause: SEGV_CAUSE
  its standard error began: about to die: Segfault
  a stack overflow: false
  it had used {} of CPU time and at most {} KiB of memory
  safe to retry: false
  the others: [1, 4, 9, 16, 25, 36, 49, 64]
Abort
  error: task crash_isolation::die: its worker (pid {}) was ABORT
  cause: ABORT_CAUSE
  its standard error began: about to die: Abort
  a stack overflow: false
  it had used {} of CPU time and at most {} KiB of memory
  safe to retry: false
  the others: [1, 4, 9, 16, 25, 36, 49, 64]
Exit
  error: task crash_isolation::die: its worker (pid {}) was lost: it exited with code 0
  cause: exit code 0
  its standard error began: about to die: Exit
  a stack overflow: false
  it had used {} of CPU time and at most {} KiB of memory
  safe to retry: false
  the others: [1, 4, 9, 16, 25, 36, 49, 64]
StackOverflow
  error: task crash_isolation::die: its worker (pid {}) was OVERFLOW
  cause: OVERFLOW_CAUSE
  its standard error began: about to die: StackOverflow
  a stack overflow: true
  it had used {} of CPU time and at most {} KiB of memory
  safe to retry: false
  the others: [1, 4, 9, 16, 25, 36, 49, 64]
Panic
  error: task crash_isolation::die: panicked at examples{}crash_isolation.rs:{}: no way out
  cause: no process ended
  safe to retry: false
  the others: [1, 4, 9, 16, 25, 36, 49, 64]
calls done: 40, failed: 5
workers lost in a call: 4
and still: [1, 4, 9, 16, 25]
";
    let [segv, abort, overflow_cause] = causes;
    let text = text
        .replace("SEGV_CAUSE", segv)
        .replace("ABORT_CAUSE", abort)
        .replace("OVERFLOW_CAUSE", overflow_cause)
        .replace("SEGV", Death::Segv.name())
        .replace("ABORT", Death::Abort.name())
        .replace("OVERFLOW", overflow);
    prints("crash_isolation", &text);
}

#[test]
fn streaming() {
    prints(
        "streaming",
        "
imap over the lines of a file
  lines read before the first poll: 0
  1000 lines in order, 3997 words
  lines read ahead: never more than 8: true
an endless input
  [1, 4, 9, 16, 25]
try_imap over an input that may fail
  2
  1
  the input failed: stream did not contain valid UTF-8
  3
imap_unordered
  while 0 still waits: [1, 2, 3]
  and then: 0
",
    );
}

#[test]
fn pipe() {
    prints(
        "pipe",
        r#"
Hello from child
[42, null, "hello"]
after its end: the other end of the pipe is closed
words before END: ["first", "second", "third"]
1 squared is 1
2 squared is 4
3 squared is 9
4 squared is 16
answered: 4
"#,
    );
}

#[test]
fn process() {
    prints(
        "process",
        "
child: 0
child: 1
child: 2
child: 3
child: 4
parent: goes on after join
child: I am Process-2
its pid is another: true
its parent's is ours: true
ended within 50 ms: false
alive after that: true
alive after terminate and join: false
exit code: Some(-15)
",
    );
}

#[test]
fn process_names() {
    prints(
        "process_names",
        r#"
this is MainProcess
started my_service
started worker 1
started Process-3
active: ["Process-4", "Process-5"]
active after join: 0
"#,
    );
}

#[test]
fn daemon() {
    prints(
        "daemon",
        "
ended within 100 ms: false
alive: true, daemon: true
main: done
ordinary: exiting, after the end of main
",
    );
}

#[test]
fn exit_codes() {
    prints(
        "exit_codes",
        r#"
output of value: 42
panics: "there is no one at home"
ok: 0
value: 0
code: 3
exits: 1
panics: 1
terminated: -15
"#,
    );
}

#[test]
fn actor() {
    prints(
        "actor",
        r#"
deposited: 120
withdrawn: Ok(70)
withdrawn: Err("there are only 70")
after ten at once: 80
crashed: true
begun anew: 100
"#,
    );
}

#[test]
fn endless_reader() {
    prints(
        "endless_reader",
        "
reader: got A
reader: got B
reader: got C
writer ended by itself: Some(0)
reader is alive: true
reader was ended: true
",
    );
}

#[test]
fn queue() {
    prints(
        "queue",
        "
reader: [1, 2, 3]
mixed: (42, None, \"hello\")
square: 1
square: 4
square: 9
square: 16
worker: doing something for Dan
worker: doing something for Frankie
the queue is closed
worker ended: Some(0)
",
    );
}

#[test]
fn bounded_queue() {
    prints(
        "bounded_queue",
        "
at first: 0 of 5
filled: 5 of 5, full: true
poller: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
never more than 5
at the end: 0 of 5
producer: the queue is full: 6 came back
",
    );
}

#[test]
fn task_queue() {
    prints(
        "task_queue",
        "
all tasks are done: 10 results
0 * 0 = 0
1 * 1 = 1
2 * 2 = 4
3 * 3 = 9
4 * 4 = 16
5 * 5 = 25
6 * 6 = 36
7 * 7 = 49
8 * 8 = 64
9 * 9 = 81
consumers ended: true
",
    );
}

#[test]
fn priority_queue() {
    prints(
        "priority_queue",
        "
most urgent of 5: one
left: 0
done by the workers: five four three two
",
    );
}

#[test]
fn values() {
    prints(
        "values",
        "
the sum is 10 at first
child: the squares are [1, 4, 9, 16], their sum 30
parent: [1, 4, 9, 16], sum 30
ten processes add one: 10
four add 10,000 each: 40000
after 4 moves the point is at (6, 2)
",
    );
}

#[test]
fn manager() {
    prints(
        "manager",
        "
Sam 10
Adam 9
Kevin 9
Jeff 8
[\"1\", \"2\", \"3\", \"New item\"]
[(1, 1), (2, 4), (3, 9), (0, 14)]
",
    );
}

#[test]
fn lock() {
    let mut expected = "hello world {}\n".repeat(10);
    for n in 1..=5 {
        expected += &format!("holder {n}: has it\nit was alone: true\n");
    }
    expected += "held by another process: true\nits holder has died: true\n";
    prints("lock", &expected);
}

#[test]
fn semaphore() {
    prints(
        "semaphore",
        "
worker {}: at work
worker {}: at work
worker {}: at work
worker {}: at work
worker {}: at work
most at a time: 2
permits at the end: 2
",
    );
}

#[test]
fn shared_counter() {
    prints(
        "shared_counter",
        "
not counted: nobody is named Nobody
not counted: the ballot is closed
Ada: 272
Edsger: 264
Grace: 264
",
    );
}

#[test]
fn shared_memory() {
    prints(
        "shared_memory",
        "
turned round by name: hello
changed: [Str(\"TEXT\"), Int(42), Float(0.5), None]
refused: item 0 of a shared list has room for 8 bytes, not for 20
opened after its scope: false
round 1: [10, 10, 10, 10]
round 2: [20, 20, 20, 20]
round 3: [30, 30, 30, 30]
",
    );
}

#[test]
fn event() {
    prints(
        "event",
        "
waiter: is_set false
waiter with a limit: set in time false, is_set false
setter: is_set false
waiter: is_set true
main: is_set true
",
    );
}

#[test]
fn shared_table() {
    prints_given(
        "shared_table",
        &["16"],
        "
a table of 16 MiB
worker 0: {}
worker 1: {}
worker 2: {}
worker 3: {}
",
    );
}

#[test]
fn logging() {
    let output = run(Command::new(common::example("logging")));
    assert!(output.status.success(), "{output:?}");
    // What libtest and others print goes elsewhere: this is standard error.
    let text = String::from_utf8_lossy(&output.stderr);
    let expected = "\
[INFO/MainProcess] starting a process
[INFO/Process-1] process calls its task task=\"logging::worker\"
[INFO/Process-1] doing some work n=1
[INFO/Process-1] process exits code=0
[INFO/squares-1] doing some work n=2
[INFO/squares-1] doing some work n=3
[WARN/squares-1] that is a lot
";
    assert_eq!(text, expected);
}

#[test]
fn process_type() {
    prints(
        "process_type",
        "
Process-1: Hello Ann!
Process-2: Hello Bob! Hello Bob!
Process-3: Hello Cid! Hello Cid! Hello Cid!
Process-4: Hello Dee! Hello Dee! Hello Dee! Hello Dee!
Process-5: Hello Eve! Hello Eve! Hello Eve! Hello Eve! Hello Eve!
",
    );
}

#[test]
fn isolation() {
    prints(
        "isolation",
        "
in the child:  [1, 4, 9, 16]
in the parent: []
",
    );
}

#[test]
fn remote_dict() {
    prints(
        "remote_dict",
        "
Sam is set to 10
Adam: 9
Sam: 10
a reader is told: the manager does not allow this process to change objects
with the wrong key: authentication failed: the manager: it does not know the key
here: Some(10)
",
    );
}
