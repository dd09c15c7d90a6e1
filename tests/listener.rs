//! Listeners and whoever connects to them.

mod common;
mod kit;

use std::io;
use std::time::Duration;

use common::os;
use procpool::{Address, AddressError, AddressFamily, Connection, Listener, Process};

procpool::test_hook!();

type Client = Connection<String, u32>;

/// One address of every family this system has, and the listener's own choice.
fn addresses(dir: &common::TempDir) -> Vec<String> {
    let unique = dir.0.file_name().unwrap().to_str().unwrap();
    let mut addresses = Vec::new();
    for family in Address::families() {
        addresses.push(match family {
            AddressFamily::Path => dir.0.join("socket").to_str().unwrap().to_owned(),
            AddressFamily::Abstract => format!("@{unique}"),
            AddressFamily::NamedPipe => format!(r"\\.\pipe\{unique}"),
            other => panic!("{other:?}"),
        });
    }
    addresses
}

#[procpool::task]
async fn call(address: Address) -> u32 {
    let mut end = Client::connect(&address).await.unwrap();
    end.send("from another process".to_owned()).await.unwrap();
    end.recv().await.unwrap()
}

#[procpool::task]
fn blocking_call(address: Address) -> u32 {
    let mut end = Client::blocking_connect(&address).unwrap();
    end.blocking_send("from another process".to_owned()).unwrap();
    end.blocking_recv().unwrap()
}

#[test]
fn a_process_connects_in_every_family_and_is_heard() {
    common::run(|| async {
        let dir = common::TempDir::new("families");
        let mut listeners = vec![Listener::new().unwrap()];
        listeners.extend(addresses(&dir).iter().map(|at| Listener::bind(at).unwrap()));
        for mut listener in listeners {
            assert!(listener.last_accepted().is_none());
            for n in 0..2 {
                let address = listener.address().clone();
                let mut process = match n {
                    0 => Process::spawn(call(address)).await.unwrap(),
                    _ => Process::spawn(blocking_call(address)).await.unwrap(),
                };
                let mut end = listener.accept::<u32, String>().await.unwrap();
                assert_eq!(end.recv().await.unwrap(), "from another process");
                let peer = listener.last_accepted().unwrap();
                assert_eq!(peer.pid(), Some(process.pid()), "{:?}", listener.address());
                assert!(peer.is_same_user());
                end.send(n).await.unwrap();
                assert_eq!(process.output().await.unwrap(), n);
                assert!(end.recv().await.unwrap_err().is_closed());
                process.join().await;
            }
        }
    });
}

#[test]
fn threads_connect_and_accept_without_a_runtime() {
    let mut listener = Listener::new().unwrap();
    let address = listener.address().to_string();
    let client = std::thread::spawn(move || {
        let mut end = Client::blocking_connect(address).unwrap();
        end.blocking_send("x".to_owned()).unwrap();
        end.blocking_recv().unwrap()
    });
    let mut end = listener.blocking_accept::<u32, String>().unwrap();
    assert_eq!(end.blocking_recv().unwrap(), "x");
    end.blocking_send(5).unwrap();
    assert_eq!(client.join().unwrap(), 5);
}

#[test]
fn a_client_that_wrote_and_left_before_it_was_accepted_is_heard() {
    common::run(|| async {
        let mut listener = Listener::new().unwrap();
        let mut end = Client::connect(listener.address()).await.unwrap();
        end.send("hello".to_owned()).await.unwrap();
        drop(end);
        let mut end = listener.accept::<u32, String>().await.unwrap();
        assert!(end.poll(common::HANG).await);
        assert_eq!(end.recv().await.unwrap(), "hello");
        assert!(end.recv().await.unwrap_err().is_closed());
    });
}

#[test]
fn poll_sees_what_was_just_sent() {
    common::run(|| async {
        let mut listener = Listener::new().unwrap();
        let mut client = Client::connect(listener.address()).await.unwrap();
        let mut end = listener.accept::<u32, String>().await.unwrap();
        end.send_bytes(b"hello").await.unwrap();
        assert!(client.poll(common::HANG).await);
        assert!(client.poll(Duration::ZERO).await);
        assert_eq!(client.recv_bytes().await.unwrap(), b"hello");
    });
}

#[test]
fn a_dropped_accept_has_accepted_nobody() {
    use futures::FutureExt;
    common::run(|| async {
        let mut listener = Listener::new().unwrap();
        assert!(listener.accept::<u32, String>().now_or_never().is_none());
        let mut client = Client::connect(listener.address()).await.unwrap();
        client.send("still here".to_owned()).await.unwrap();
        let mut end = listener.accept::<u32, String>().await.unwrap();
        assert_eq!(end.recv().await.unwrap(), "still here");
    });
}

#[test]
fn many_wait_to_be_accepted() {
    common::run(|| async {
        let mut listener = Listener::new().unwrap();
        let clients: Vec<_> = (0..50u32)
            .map(|n| {
                let address = listener.address().clone();
                tokio::spawn(async move {
                    let mut end = Client::connect(&address).await.unwrap();
                    end.send(n.to_string()).await.unwrap();
                    assert_eq!(end.recv().await.unwrap(), n);
                })
            })
            .collect();
        for _ in 0..50 {
            let mut end = listener.accept::<u32, String>().await.unwrap();
            let n = end.recv().await.unwrap().parse().unwrap();
            end.send(n).await.unwrap();
        }
        for client in clients {
            client.await.unwrap();
        }
    });
}

// On Windows somebody has to be accepted before the next one can connect.
#[cfg(unix)]
#[test]
fn a_listener_that_many_connect_to_lets_other_tasks_run() {
    use std::sync::atomic::{AtomicBool, Ordering};

    common::run(|| async {
        let has_run = std::sync::Arc::new(AtomicBool::new(false));
        let mut listener = Listener::new().unwrap();
        let set = has_run.clone();
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async move {
                // On this thread: it runs when this task gives up its turn.
                tokio::task::spawn_local(async move { set.store(true, Ordering::SeqCst) });
                let mut accepted = 0;
                while !has_run.load(Ordering::SeqCst) {
                    let _client = Client::blocking_connect(listener.address()).unwrap();
                    listener.accept::<u32, String>().await.unwrap();
                    accepted += 1;
                    assert!(accepted < 10_000, "no other task had a turn");
                }
            })
            .await;
    });
}

#[test]
fn a_second_listener_at_an_address_fails() {
    let dir = common::TempDir::new("second");
    for address in addresses(&dir) {
        if os::is_imitated() {
            // Wine lets anybody make a first instance.
            continue;
        }
        let first = Listener::bind(&address).unwrap();
        let error = Listener::bind(&address).unwrap_err();
        assert!(
            matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied),
            "{error:?}"
        );
        assert!(error.to_string().contains(&address), "{error}");
        drop(first);
        drop(Listener::bind(&address).unwrap());
    }
}

#[test]
fn a_dropped_listener_leaves_nothing_and_its_connections_live_on() {
    common::run(|| async {
        let dir = common::TempDir::new("leaves-nothing");
        for address in addresses(&dir) {
            let mut listener = Listener::bind(&address).unwrap();
            let mut client = Client::connect(&address).await.unwrap();
            let mut end = listener.accept::<u32, String>().await.unwrap();
            drop(listener);
            assert_eq!(std::fs::read_dir(&dir.0).unwrap().count(), 0);
            client.send("on".to_owned()).await.unwrap();
            assert_eq!(end.recv().await.unwrap(), "on");
            if cfg!(windows) {
                // While they live it seems to be busy.
                drop((client, end));
            }
            let error = Client::connect(&address).await.unwrap_err();
            assert!(
                matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused),
                "{error:?}"
            );
            assert!(error.to_string().contains(&address), "{error}");
        }
    });
}

#[test]
fn an_address_of_a_kind_that_is_not_here_is_refused_with_the_reason() {
    for (text, family) in [
        ("/tmp/x", AddressFamily::Path),
        ("@x", AddressFamily::Abstract),
        (r"\\.\pipe\x", AddressFamily::NamedPipe),
    ] {
        if Address::families().contains(&family) {
            continue;
        }
        for error in
            [Listener::bind(text).unwrap_err(), Client::blocking_connect(text).unwrap_err()]
        {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            let inner = error.get_ref().unwrap().downcast_ref::<AddressError>();
            assert!(matches!(inner, Some(AddressError::WrongFamily { .. })), "{error:?}");
            assert!(error.to_string().contains("does not have"), "{error}");
        }
    }
}

#[test]
fn addresses_of_our_own_are_never_the_same() {
    let (a, b) = (Listener::new().unwrap(), Listener::new().unwrap());
    assert_ne!(a.address(), b.address());
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    #[test]
    fn an_address_that_is_no_text_is_not_sent_as_another_one() {
        use std::os::unix::ffi::OsStrExt;
        let address = Address::new(std::ffi::OsStr::from_bytes(b"/tmp/\xff")).unwrap();
        let error = serde_json::to_string(&address).unwrap_err();
        assert!(error.to_string().contains("Unicode"), "{error}");
    }

    #[test]
    fn a_listener_of_its_own_is_in_a_private_directory_that_goes_with_it() {
        let listener = Listener::new().unwrap();
        let path = listener.address().to_string();
        let directory = Path::new(&path).parent().unwrap().to_owned();
        assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        drop(listener);
        assert!(!directory.exists());
    }

    #[test]
    fn a_file_that_took_the_place_is_left_alone() {
        let dir = common::TempDir::new("took-the-place");
        let path = dir.0.join("socket");
        let listener = Listener::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let other = Listener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());
        drop(other);
        assert!(!path.exists());
        std::fs::write(&path, "a file").unwrap();
        let error = Listener::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains("remove the file"), "{error}");
    }

    /// As root, a process of another user can be had.
    #[test]
    fn others_are_refused_unless_they_are_let_in() {
        #[procpool::task]
        fn call_as_nobody(address: Address) -> bool {
            // SAFETY: plain calls; this process has nothing else to do.
            unsafe {
                assert_eq!(libc::setresgid(65534, 65534, 65534), 0);
                assert_eq!(libc::setresuid(65534, 65534, 65534), 0);
            }
            let mut end = Client::blocking_connect(&address).unwrap();
            let _ = end.blocking_send("let me in".to_owned());
            end.blocking_recv().is_ok()
        }
        // SAFETY: a plain call.
        if !cfg!(target_os = "linux") || unsafe { libc::geteuid() } != 0 {
            return;
        }
        common::run(|| async {
            let name = |n: u32| format!("@procpool-others-{}-{n}", std::process::id());
            let mut listener = Listener::bind(name(1)).unwrap();
            let mut other =
                Process::spawn(call_as_nobody(listener.address().clone())).await.unwrap();
            let accepting = tokio::spawn(async move {
                let mut end = listener.accept::<u32, String>().await.unwrap();
                (end.recv().await.unwrap(), listener)
            });
            assert!(!other.output().await.unwrap(), "it was disconnected");
            let mut client = Client::connect(name(1)).await.unwrap();
            client.send("one of ours".to_owned()).await.unwrap();
            let (heard, listener) = accepting.await.unwrap();
            assert_eq!(heard, "one of ours", "the other one was never heard");
            assert!(listener.last_accepted().unwrap().is_same_user());
            other.join().await;

            let mut listener = Listener::bind_for_everybody(name(2)).unwrap();
            let mut other =
                Process::spawn(call_as_nobody(listener.address().clone())).await.unwrap();
            let mut end = listener.accept::<u32, String>().await.unwrap();
            assert_eq!(end.recv().await.unwrap(), "let me in");
            let peer = listener.last_accepted().unwrap();
            assert_eq!((peer.user(), peer.is_same_user()), (Some(65534), false));
            end.send(1).await.unwrap();
            assert!(other.output().await.unwrap());
            other.join().await;
        });
    }

    #[test]
    fn signals_do_not_interrupt_accepting() {
        extern "C" fn ignore(_: libc::c_int) {}
        // SAFETY: a handler that does nothing, installed without SA_RESTART.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = ignore as *const () as usize;
            assert_eq!(libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut()), 0);
        }
        let mut listener = Listener::new().unwrap();
        let address = listener.address().clone();
        let (tell, thread) = std::sync::mpsc::channel();
        let accepting = std::thread::spawn(move || {
            // SAFETY: a plain call.
            tell.send(unsafe { libc::pthread_self() } as usize).unwrap();
            listener.blocking_accept::<u32, String>().unwrap().blocking_recv().unwrap()
        });
        let thread = thread.recv().unwrap() as libc::pthread_t;
        for _ in 0..200 {
            // SAFETY: the thread has not been joined.
            unsafe { libc::pthread_kill(thread, libc::SIGUSR2) };
            std::thread::yield_now();
        }
        assert!(!accepting.is_finished());
        let mut client = Client::blocking_connect(&address).unwrap();
        client.blocking_send("through".to_owned()).unwrap();
        assert_eq!(accepting.join().unwrap(), "through");
    }
}
