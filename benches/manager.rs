//! What a manager costs.
//!
//! * `manager_get`, `manager_set`: a key of a dict in a manager's process, one request at a time; against the round trip of
//!   a few bytes between two blocking processes over a bare socket pair (`@same`), a task's and a blocking process's
//!   (`@cross`), and CPython's manager.
//! * `manager_get_64`: the same with 64 requests under way, of one client; against one client of CPython's manager.
//! * `manager_set_2x64`: two clients, each in a process of its own, with 64 under way; against CPython's one client.
//! * `manager_start`: until the first request is answered; against a bare process until its first byte, which builds a
//!   runtime of as many threads.
//! * `manager_tls` (feature `tls`): connecting over the loopback with TLS 1.3 and a key, until the first answer, and how many such
//!   connections are held at a time, each of a client of its own.
//! * `manager_silent`: 500 connections that say nothing: what they do to a client's round trip, and to memory.

#![cfg_attr(not(target_os = "linux"), no_main)]
#![cfg(target_os = "linux")]

mod support;

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use futures::future::join_all;
use procpool::{DictProxy, Manager};
use support::place::{self, Place};
use support::pool::{Pool, crowd, pin_to, runtime, runtime_threads};
use support::proc;
use support::python::PythonManager;
use support::report::{Bound, Run, figure, median, median_ratio, ratio};
use support::role::Role;
use support::socket::{PONG, PingPong, tokio_ping_pong};
use support::spawn::{Flavour, all_up};
use tokio::runtime::Runtime;

type Dict = DictProxy<u64, u64>;

/// Requests under way.
const UNDER_WAY: u64 = 64;
const KEYS: u64 = 1000;

fn main() {
    support::run_role_if_child();
    procpool::init();
    let Some(run) = Run::from_args() else { return };
    runtime_threads(2);
    place::everywhere(|place| {
        one_at_a_time(&run, place);
        under_way(&run, place);
    });
    place::same_and_free(|place| start(&run, place));
    silent(&run);
    #[cfg(feature = "tls")]
    tls(&run);
}

/// A manager whose process is where workers are.
fn manager(rt: &Runtime, place: &Place) -> Manager {
    let builder = Manager::builder().worker_threads(place.worker.len());
    let start = builder.initializer(pin_to(place.worker.clone())).start();
    rt.block_on(start).expect("a manager")
}

fn dict(rt: &Runtime, manager: &Manager) -> Dict {
    rt.block_on(async { manager.dict((0..KEYS).map(|k| (k, k))).await }).expect("a dict")
}

async fn gets(dict: Dict, n: u64) {
    for i in 0..n {
        assert_eq!(dict.get(&(i % KEYS)).await, Ok(Some(i % KEYS)));
    }
}

async fn sets(dict: Dict, n: u64) {
    for i in 0..n {
        dict.set(&(i % KEYS), &(i % KEYS)).await.expect("a manager");
    }
}

/// Seconds of what one task does with the dict.
fn timed<F>(rt: &Runtime, dict: &Dict, work: impl Fn(Dict) -> F) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    crowd(rt, 1, || work(dict.clone()))
}

fn one_at_a_time(run: &Run, place: &Place) {
    let row = format!("manager_get@{place}");
    if !run.wants(&row) {
        return;
    }
    let n = run.iters(5_000);
    let rt = runtime();
    let mut ping_pong = PingPong::new(place);
    let mut pong = Role::start(PONG, Some(&place.worker));
    let mut python = PythonManager::start(place);
    let manager = manager(&rt, place);
    let dict = dict(&rt, &manager);
    let each = |seconds: f64| seconds * 1e6 / n as f64;
    let few = n / 10;
    let [socket, tokio, cpython, get, set, blocking] = run.alternate(
        9,
        [
            &mut || each(ping_pong.run(n)),
            &mut || each(tokio_ping_pong(&rt, &mut pong, n)),
            &mut || {
                let seconds = python.as_mut().and_then(|p| p.run("get", few));
                seconds.map_or(f64::NAN, |seconds| seconds * 1e6 / few as f64)
            },
            &mut || each(timed(&rt, &dict, |dict| gets(dict, n as u64))),
            &mut || each(timed(&rt, &dict, |dict| sets(dict, n as u64))),
            &mut || {
                let start = Instant::now();
                (0..n as u64).for_each(|i| assert!(dict.blocking_get(&(i % KEYS)).is_ok()));
                each(start.elapsed().as_secs_f64())
            },
        ],
    );
    figure(&format!("floor_socket_rtt@{place}"), median(&socket), "us");
    figure(&format!("floor_tokio_rtt@{place}"), median(&tokio), "us");
    figure(&format!("cpython_manager_get@{place}"), median(&cpython), "us");
    figure(&row, median(&get), "us");
    figure(&format!("manager_set@{place}"), median(&set), "us");
    figure(&format!("manager_blocking_get@{place}"), median(&blocking), "us");
    if place.pinned() {
        let floor = &socket;
        ratio(&row, Some(median_ratio(&get, floor)), Bound::AtMost(1.6));
        ratio(&format!("manager_set@{place}"), Some(median_ratio(&set, floor)), Bound::AtMost(1.6));
    }
    if place.is_same() {
        let measured = python.is_some().then(|| median_ratio(&cpython, &get));
        ratio("manager_get_vs_cpython@same", measured, Bound::AtLeast(1.0));
    }
    rt.block_on(manager.shutdown()).expect("its end");
}

#[procpool::task]
async fn set_under_way(dict: Dict, n: u64) {
    sets_under_way(dict, n).await;
}

async fn sets_under_way(dict: Dict, n: u64) {
    for round in 0..n / UNDER_WAY {
        let keys = (0..UNDER_WAY).map(|i| (round * UNDER_WAY + i) % KEYS);
        let all = join_all(keys.map(|key| dict.set(&key, &key))).await;
        all.into_iter().for_each(|set| set.expect("a manager"));
    }
}

async fn gets_under_way(dict: Dict, n: u64) {
    for round in 0..n / UNDER_WAY {
        let keys = (0..UNDER_WAY).map(|i| (round * UNDER_WAY + i) % KEYS);
        let all = join_all(keys.map(|key| dict.get(&key))).await;
        assert!(all.into_iter().all(|got| matches!(got, Ok(Some(_)))));
    }
}

fn under_way(run: &Run, place: &Place) {
    let row = format!("manager_get_64@{place}");
    if !run.wants(&row) && !run.wants(&format!("manager_set_2x64@{place}")) {
        return;
    }
    let n = run.iters(100_000) as u64 / UNDER_WAY * UNDER_WAY;
    let rt = runtime();
    let mut python = PythonManager::start(place);
    let manager = manager(&rt, place);
    let dict = dict(&rt, &manager);
    let pool = Pool::new(&rt, 2, Some(place));
    let few = (n / 50) as usize;
    let mut cpython = |what: &str| {
        let seconds = python.as_mut().and_then(|p| p.run(what, few));
        seconds.map_or(f64::NAN, |seconds| few as f64 / seconds)
    };
    let (mut get_here, mut set_there) = (Vec::new(), Vec::new());
    let (mut python_get, mut python_set) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        python_get.push(cpython("get"));
        get_here.push(n as f64 / timed(&rt, &dict, |dict| gets_under_way(dict, n)));
        python_set.push(cpython("set"));
        let start = Instant::now();
        rt.block_on(async {
            let tasks = [(); 2].map(|()| pool.pool.spawn(set_under_way(dict.clone(), n)));
            for task in tasks {
                task.get().await.expect("a client");
            }
        });
        set_there.push(2.0 * n as f64 / start.elapsed().as_secs_f64());
    }
    let k = |rates: &[f64]| median(rates) / 1e3;
    figure(&format!("cpython_manager_gets@{place}"), k(&python_get), "k/s");
    figure(&format!("cpython_manager_sets@{place}"), k(&python_set), "k/s");
    figure(&row, k(&get_here), "k/s");
    figure(&format!("manager_set_2x64@{place}"), k(&set_there), "k/s");
    let known = python.is_some();
    let measured = known.then(|| median_ratio(&get_here, &python_get));
    ratio(&format!("manager_get_64_vs_cpython@{place}"), measured, Bound::AtLeast(10.0));
    let measured = known.then(|| median_ratio(&set_there, &python_set));
    ratio(&format!("manager_set_2x64_vs_cpython@{place}"), measured, Bound::AtLeast(20.0));
    drop(pool);
    rt.block_on(manager.shutdown()).expect("its end");
}

fn start(run: &Run, place: &Place) {
    let row = format!("manager_start@{place}");
    if !run.wants(&row) {
        return;
    }
    let rt = runtime();
    let mut managers = Vec::new();
    let [current, multi, ours] = run.alternate(
        15,
        [
            &mut || all_up(&rt, 1, Flavour::CurrentThread).as_secs_f64() * 1e3,
            &mut || all_up(&rt, 1, Flavour::MultiThread).as_secs_f64() * 1e3,
            &mut || {
                let start = Instant::now();
                managers.push(rt.block_on(async {
                    let manager = Manager::start().await.expect("a manager");
                    manager.ping().await.expect("a manager");
                    manager
                }));
                start.elapsed().as_secs_f64() * 1e3
            },
        ],
    );
    figure(&format!("floor_spawn_current_thread@{place}"), median(&current), "ms");
    figure(&format!("floor_spawn_multi_thread@{place}"), median(&multi), "ms");
    figure(&row, median(&ours), "ms");
    ratio(&row, Some(median_ratio(&ours, &multi)), Bound::AtMost(1.5));
    for manager in managers {
        rt.block_on(manager.shutdown()).expect("its end");
    }
}

/// How long is waited for those who say nothing to be let go of.
const PATIENCE: Duration = Duration::from_secs(20);

fn silent(run: &Run) {
    if !run.wants("manager_silent") {
        return;
    }
    let rt = runtime();
    let manager = rt.block_on(Manager::start()).expect("a manager");
    let dict = dict(&rt, &manager);
    let n = run.iters(20_000);
    let each = |seconds: f64| seconds * 1e6 / n as f64;
    let pid = manager.process().expect("its process").pid();
    let memory = || proc::mib(format!("/proc/{pid}/status"), "VmRSS:").unwrap_or(f64::NAN);
    let alone = each(timed(&rt, &dict, |dict| gets(dict, n as u64)));
    let before = memory();
    let address = manager.address().to_string();
    let silent: Vec<UnixStream> =
        (0..500).map(|_| UnixStream::connect(&address).expect("room")).collect();
    let crowded = each(timed(&rt, &dict, |dict| gets(dict, n as u64)));
    let after = memory();
    let start = Instant::now();
    let mut gone = 0;
    for one in &silent {
        one.set_read_timeout(Some(PATIENCE)).expect("a socket");
        gone += usize::from(matches!(std::io::Read::read(&mut &*one, &mut [0; 8]), Ok(0)));
    }
    figure("manager_silent_alone", alone, "us");
    figure("manager_silent_crowded", crowded, "us");
    figure("manager_silent_memory", after - before, "MiB");
    figure("manager_silent_gone_after", start.elapsed().as_secs_f64(), "s");
    ratio("manager_silent", Some(crowded / alone), Bound::AtMost(1.5));
    ratio("manager_silent_gone", Some(gone as f64), Bound::AtLeast(500.0));
    rt.block_on(manager.shutdown()).expect("its end");
}

#[cfg(feature = "tls")]
fn tls(run: &Run) {
    use procpool::manager::{AuthKey, ConnectOptions, Rights, ServeOptions, Tls};

    if !run.wants("manager_tls") {
        return;
    }
    let rt = runtime();
    let n = run.iters(1000);
    proc::more_descriptors();
    rt.block_on(async {
        let keys: Vec<_> = (0..n).map(|i| (format!("client {i}"), AuthKey::random())).collect();
        let options =
            keys.iter().fold(ServeOptions::new().tls(Tls::keyed()), |options, (name, key)| {
                options.client(name.as_str(), key.clone(), Rights::all())
            });
        let manager = Manager::serve("127.0.0.1:0", options).await.expect("a manager");
        let mut held = Vec::new();
        let mut seconds = Vec::new();
        for (name, key) in keys {
            let start = Instant::now();
            let options = ConnectOptions::new(name, key).tls(Tls::keyed());
            let client = Manager::connect(manager.address(), options).await.expect("a manager");
            client.ping().await.expect("a manager");
            seconds.push(start.elapsed().as_secs_f64() * 1e3);
            held.push(client);
        }
        let mut alive = 0;
        for client in &held {
            alive += usize::from(client.ping().await.is_ok());
        }
        figure("manager_tls_connect", median(&seconds), "ms");
        figure("manager_tls_held", alive as f64, "connections");
        drop(held);
        manager.shutdown().await.expect("its end");
    });
}
