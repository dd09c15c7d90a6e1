//! Managers that other programs use, over the network.

mod common;

use std::io::BufRead;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use procpool::manager::{
    AuthKey, ClientLimits, ConnectOptions, EventProxy, LockProxy, ManagerAddress, Rights,
    ServeOptions, Tls,
};
use procpool::{DictProxy, ListProxy, Manager, ManagerError, ManagerHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

procpool::test_hook!();

const ROLE: &str = "PROCPOOL_TEST_STRANGER";
const HERE: &str = "127.0.0.1:0";

fn key() -> AuthKey {
    AuthKey::new("a key that both of them know")
}

fn port_of(manager: &Manager) -> u16 {
    manager.address().port().unwrap()
}

/// What a program does that is told an address; nothing as a test.
#[test]
fn being_a_stranger() {
    let Ok(address) = std::env::var(ROLE) else { return };
    let manager = Manager::blocking_connect(address.as_str(), key()).unwrap();
    let scores: DictProxy<String, u32> = manager.blocking_find("scores").unwrap();
    let before = scores.blocking_get("Ann").unwrap().unwrap();
    scores.blocking_set(&"Ann".to_owned(), &(before + 1)).unwrap();
    scores.blocking_set(&"Stranger".to_owned(), &7).unwrap();
}

#[test]
fn another_program_edits_the_same_dict() {
    common::run(|| async {
        let manager = Manager::serve(HERE, key()).await.unwrap();
        let scores = manager.dict([("Ann".to_owned(), 1u32)]).await.unwrap();
        manager.publish("scores", &scores).await.unwrap();
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "being_a_stranger", "--nocapture"]);
        command.env(ROLE, manager.address().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = common::os::spawn(&mut command).unwrap();
        let status = tokio::task::spawn_blocking(move || {
            let out = std::io::BufReader::new(child.stdout.take().unwrap());
            out.lines().for_each(drop);
            child.wait().unwrap()
        });
        assert!(status.await.unwrap().success());
        assert_eq!(
            scores.items().await.unwrap(),
            [("Ann".to_owned(), 2), ("Stranger".to_owned(), 7)]
        );
        manager.shutdown().await.unwrap();
    });
}

async fn refused(at: &ManagerAddress, options: impl Into<ConnectOptions>) {
    let error = Manager::connect(at, options).await.unwrap_err();
    assert!(matches!(error, ManagerError::Authentication { .. }), "{error:?}");
}

#[test]
fn who_does_not_know_the_key_is_refused() {
    common::run(|| async {
        let options = ServeOptions::new().client("me", key(), Rights::all());
        let manager = Manager::serve(HERE, options).await.unwrap();
        let at = manager.address();
        refused(at, ConnectOptions::new("me", AuthKey::new("another key"))).await;
        refused(at, ConnectOptions::new("you", key())).await;
        refused(at, key()).await;
        refused(at, ConnectOptions::new("me", AuthKey::new(""))).await;
        refused(at, ConnectOptions::new("x".repeat(200), key())).await;
        let there = at.clone();
        let blocking = tokio::task::spawn_blocking(move || {
            Manager::blocking_connect(&there, ConnectOptions::new("you", key())).unwrap_err()
        });
        let error = blocking.await.unwrap();
        assert!(matches!(error, ManagerError::Authentication { .. }), "{error:?}");
        let there = Manager::connect(at, ConnectOptions::new("me", key())).await.unwrap();
        there.ping().await.unwrap();
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn options_that_let_in_nobody_or_anybody_are_refused() {
    common::run(|| async {
        let error = Manager::serve(HERE, ServeOptions::new()).await.unwrap_err();
        assert!(matches!(error, ManagerError::Start(_)), "{error:?}");
        let twice = ServeOptions::from(key()).client("", key(), Rights::all());
        let error = Manager::serve(HERE, twice).await.unwrap_err();
        assert!(matches!(error, ManagerError::Start(_)), "{error:?}");
        let error = Manager::serve(HERE, AuthKey::new("")).await.unwrap_err();
        assert!(matches!(error, ManagerError::Authentication { .. }), "{error:?}");
        let error = Manager::serve("::1:7", key()).await.unwrap_err();
        assert!(matches!(error, ManagerError::BadAddress { .. }), "{error:?}");
    });
}

#[test]
fn nothing_goes_over_the_network_in_the_clear() {
    common::run(|| async {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7"] {
            let error = Manager::serve(address, key()).await.unwrap_err();
            assert!(matches!(error, ManagerError::Insecure { .. }), "{error:?}");
            assert!(error.to_string().contains("feature `tls`"), "{error}");
        }
        let error = Manager::connect("192.0.2.1:7", key()).await.unwrap_err();
        assert!(matches!(error, ManagerError::Insecure { .. }), "{error:?}");
        if cfg!(not(feature = "tls")) {
            let options = ServeOptions::from(key()).tls(Tls::keyed());
            let error = Manager::serve("0.0.0.0:0", options).await.unwrap_err();
            assert!(matches!(error, ManagerError::Unsupported { .. }), "{error:?}");
            let options = ConnectOptions::from(key()).tls(Tls::keyed());
            let error = Manager::connect("192.0.2.1:7", options).await.unwrap_err();
            assert!(matches!(error, ManagerError::Unsupported { .. }), "{error:?}");
        }
    });
}

#[test]
fn a_client_may_do_what_its_rights_say() {
    common::run(|| async {
        let options = ServeOptions::new()
            .client("reader", key(), Rights::none().read_only())
            .client("one", key(), Rights::none().names(["prices"]))
            .client("maker", key(), Rights::all());
        let manager = Manager::serve(HERE, options).await.unwrap();
        let connect =
            |name: &str| Manager::connect(manager.address(), ConnectOptions::new(name, key()));
        let maker = connect("maker").await.unwrap();
        for name in ["prices", "secrets"] {
            maker.publish(name, &maker.list([1u32]).await.unwrap()).await.unwrap();
        }
        let denied = |error: ManagerError| {
            assert!(matches!(error, ManagerError::Denied { .. }), "{error:?}");
        };
        let reader = connect("reader").await.unwrap();
        let prices: ListProxy<u32> = reader.find("prices").await.unwrap();
        assert_eq!(prices.to_vec().await.unwrap(), [1]);
        denied(prices.push(&2).await.unwrap_err());
        denied(reader.list([1u32]).await.unwrap_err());
        let one = connect("one").await.unwrap();
        assert_eq!(one.names().await.unwrap(), ["prices"]);
        denied(one.find::<ListProxy<u32>>("secrets").await.unwrap_err());
        let prices: ListProxy<u32> = one.find("prices").await.unwrap();
        prices.push(&2).await.unwrap();
        assert_eq!(prices.len().await.unwrap(), 2);
        // Rights are those of the connection, though one process has them all.
        assert!(reader.list([1u32]).await.is_err() && maker.list([1u32]).await.is_ok());
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn a_client_has_no_more_than_it_may() {
    common::run(|| async {
        let limits = ClientLimits::new().bytes(10_000).objects(3).connections(2);
        let options = ServeOptions::new()
            .client("free", key(), Rights::all())
            .limits(limits)
            .client("poor", key(), Rights::all());
        let manager = Manager::serve(HERE, options).await.unwrap();
        let poor = ConnectOptions::new("poor", key());
        let limit = |error: ManagerError| {
            assert!(matches!(error, ManagerError::Limit { .. }), "{error:?}");
        };
        let there = Manager::connect(manager.address(), poor.clone()).await.unwrap();
        let list = there.list([vec![0u8; 5000]]).await.unwrap();
        limit(list.push(&vec![0; 5000]).await.unwrap_err());
        list.clear().await.unwrap();
        list.push(&vec![0; 5000]).await.unwrap();
        let _others = (there.event().await.unwrap(), there.lock().await.unwrap());
        limit(there.event().await.unwrap_err());
        // One of this process's own, and another program's; the third is one too many.
        let mut others = Vec::new();
        for _ in 0..2 {
            let relay = Relay::to(port_of(&manager)).await;
            others.push((Manager::connect(&relay.address, poor.clone()).await, relay));
        }
        let (second, third) = (&others[0].0, &others[1].0);
        second.as_ref().unwrap().ping().await.unwrap();
        limit(third.as_ref().unwrap_err().clone());
        let free = Manager::connect(manager.address(), ConnectOptions::new("free", key()));
        free.await.unwrap().list([vec![0u8; 50_000]]).await.unwrap();
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn a_port_can_be_had_again_at_once() {
    common::run(|| async {
        let mut at = HERE.to_owned();
        for round in 0..20u32 {
            let manager = Manager::serve(at.as_str(), key()).await.unwrap();
            at = manager.address().to_string();
            let there = Manager::connect(at.as_str(), key()).await.unwrap();
            let list = there.list([round]).await.unwrap();
            assert_eq!(list.to_vec().await.unwrap(), [round]);
            manager.shutdown().await.unwrap();
            assert!(matches!(list.len().await, Err(ManagerError::Died { .. })));
        }
    });
}

#[test]
fn another_manager_at_the_address_is_told_from_the_old_one() {
    common::run(|| async {
        let manager = Manager::serve(HERE, key()).await.unwrap();
        let at = manager.address().clone();
        let there = Manager::connect(&at, key()).await.unwrap();
        let list = there.list([1u32]).await.unwrap();
        let event = there.event().await.unwrap();
        let wait = tokio::spawn({
            let event = event.clone();
            async move { event.wait().await }
        });
        // What was asked before is under way once this is answered.
        there.ping().await.unwrap();
        manager.shutdown().await.unwrap();
        let lost = wait.await.unwrap().unwrap_err();
        assert!(matches!(lost, ManagerError::Died { .. }), "{lost:?}");
        let manager = Manager::serve(&at, key()).await.unwrap();
        manager.publish("list", &manager.list([2u32]).await.unwrap()).await.unwrap();
        for _ in 0..2 {
            assert_eq!(list.to_vec().await.unwrap_err(), ManagerError::Restarted);
            assert_eq!(there.names().await.unwrap_err(), ManagerError::Restarted);
        }
        let again = Manager::connect(&at, key()).await.unwrap();
        let found: ListProxy<u32> = again.find("list").await.unwrap();
        assert_eq!(found.to_vec().await.unwrap(), [2]);
        manager.shutdown().await.unwrap();
    });
}

/// Passes on what both ends say, until it is cut, and keeps what the client has said.
struct Relay {
    address: ManagerAddress,
    heard: Arc<Mutex<Vec<u8>>>,
    cut: tokio::sync::watch::Sender<u32>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(HERE).await.unwrap();
        let address = listener.local_addr().unwrap().into();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (cut, mut is_cut) = tokio::sync::watch::channel(0);
        let hear = heard.clone();
        let task = tokio::spawn(async move {
            let mut pairs = tokio::task::JoinSet::new();
            loop {
                let (client, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    _ = is_cut.changed() => {
                        pairs.shutdown().await;
                        continue;
                    }
                };
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let hear = hear.clone();
                pairs.spawn(async move {
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let up = async {
                        let mut buf = vec![0; 4096];
                        while let Ok(n @ 1..) = from_client.read(&mut buf).await {
                            hear.lock().unwrap().extend(&buf[..n]);
                            to_server.write_all(&buf[..n]).await.unwrap();
                        }
                    };
                    let down = tokio::io::copy(&mut from_server, &mut to_client);
                    tokio::select! { () = up => {}, _ = down => {} }
                });
            }
        });
        Relay { address, heard, cut, task }
    }

    fn cut(&self) {
        self.cut.send_modify(|n| *n += 1);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[test]
fn what_was_had_survives_an_interruption_and_locks_do_not() {
    common::run(|| async {
        let manager = Manager::serve(HERE, key()).await.unwrap();
        let relay = Relay::to(port_of(&manager)).await;
        let there = Manager::connect(&relay.address, key()).await.unwrap();
        let nameless = there.list([1u32]).await.unwrap();
        let event = there.event().await.unwrap();
        let locked = there.lock().await.unwrap();
        there.publish("lock", &locked).await.unwrap();
        let guard = locked.lock().await.unwrap();
        for round in 0..3u32 {
            let mut wait = std::pin::pin!(event.wait().into_future());
            assert!(futures::poll!(&mut wait).is_pending());
            nameless.push(&round).await.unwrap();
            relay.cut();
            let lost = wait.await.unwrap_err();
            assert!(matches!(lost, ManagerError::Died { .. }), "{lost:?}");
            assert_eq!(nameless.to_vec().await.unwrap().last(), Some(&round));
        }
        assert_eq!(nameless.to_vec().await.unwrap(), [1, 0, 1, 2]);
        let here: LockProxy = manager.find("lock").await.unwrap();
        drop(here.lock().await.unwrap());
        drop(guard);
        event.set().await.unwrap();
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn who_says_goodbye_leaves_nothing() {
    common::run(|| async {
        let manager = Manager::serve(HERE, key()).await.unwrap();
        let there = Manager::connect(manager.address(), key()).await.unwrap();
        let list = there.list([1u32]).await.unwrap();
        assert_eq!(manager.stats().await.unwrap().objects, 1);
        drop((there, list));
        while manager.stats().await.unwrap().objects > 0 {
            tokio::task::yield_now().await;
        }
        manager.shutdown().await.unwrap();
    });
}

/// All a client has said, said again by somebody else.
#[test]
fn what_was_overheard_is_of_no_use() {
    common::run(|| async {
        let manager = Manager::serve(HERE, key()).await.unwrap();
        let relay = Relay::to(port_of(&manager)).await;
        let there = Manager::connect(&relay.address, key()).await.unwrap();
        there.publish("list", &there.list([1u32]).await.unwrap()).await.unwrap();
        manager.unpublish("list").await.unwrap();
        let heard = relay.heard.lock().unwrap().clone();
        let mut replay = TcpStream::connect(("127.0.0.1", port_of(&manager))).await.unwrap();
        replay.write_all(&heard).await.unwrap();
        let mut said = Vec::new();
        // It may be reset, since there is more than the server has read.
        let _ = replay.read_to_end(&mut said).await;
        assert!(manager.names().await.unwrap().is_empty());
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn those_who_say_nothing_are_in_nobodys_way() {
    // Wine takes a tenth of a second for each of them.
    common::run_within(Duration::from_secs(240), || async {
        let options = ServeOptions::from(key()).handshake_timeout(Duration::from_secs(5));
        let manager = Manager::serve(HERE, options).await.unwrap();
        let port = port_of(&manager);
        let before = Manager::connect(manager.address(), key()).await.unwrap();
        let list = before.list([0u32]).await.unwrap();
        let mut silent = Vec::new();
        for n in 0..500u32 {
            let mut one = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            match n % 3 {
                0 => {}
                1 => one.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap(),
                // The beginning of a frame that never goes on.
                _ => one.write_all(&[0xB7, 1, 0, 0, 0]).await.unwrap(),
            }
            silent.push(one);
            if n % 50 == 0 {
                list.push(&n).await.unwrap();
            }
        }
        let relay = Relay::to(port).await;
        let after = Manager::connect(&relay.address, key()).await.unwrap();
        after.ping().await.unwrap();
        assert_eq!(list.len().await.unwrap(), 11);
        for mut one in silent {
            assert!(matches!(one.read(&mut [0; 1]).await, Ok(0) | Err(_)));
        }
        list.push(&1).await.unwrap();
        manager.shutdown().await.unwrap();
    });
}

#[test]
fn a_path_is_an_address_too() {
    if cfg!(windows) {
        return;
    }
    common::run(|| async {
        let dir = common::TempDir::new("manager-net");
        let at = dir.0.join("socket").to_string_lossy().into_owned();
        let options = ServeOptions::new().client("me", key(), Rights::none().create(true));
        let manager = Manager::serve(at.as_str(), options).await.unwrap();
        assert_eq!(manager.address().to_string(), at);
        refused(manager.address(), key()).await;
        let there = Manager::connect(at.as_str(), ConnectOptions::new("me", key())).await.unwrap();
        there.publish("event", &there.event().await.unwrap()).await.unwrap();
        let event: EventProxy = manager.find("event").await.unwrap();
        event.set().await.unwrap();
        manager.shutdown().await.unwrap();
        assert!(!std::path::Path::new(&at).exists());
        let error = Manager::connect(at.as_str(), key()).await.unwrap_err();
        assert!(matches!(error, ManagerError::Died { .. }), "{error:?}");
    });
}

#[procpool::task]
fn push(handle: ManagerHandle, list: ListProxy<u32>) {
    let found: ListProxy<u32> = handle.blocking_find("list").unwrap();
    found.blocking_push(&1).unwrap();
    list.blocking_push(&2).unwrap();
}

/// What was had of a manager elsewhere goes to this program's own processes, with the way there.
#[test]
fn proxies_of_a_client_travel_to_its_children() {
    common::run(|| async {
        let manager = Manager::serve(HERE, key()).await.unwrap();
        let there = Manager::connect(manager.address(), key()).await.unwrap();
        let list = there.list([0u32]).await.unwrap();
        there.publish("list", &list).await.unwrap();
        let mut child = procpool::Process::spawn(push(there.clone(), list.clone())).await.unwrap();
        child.output().await.unwrap();
        assert_eq!(list.to_vec().await.unwrap(), [0, 1, 2]);
        manager.shutdown().await.unwrap();
    });
}
