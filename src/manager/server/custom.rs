//! An object of a type of the program's own.

use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::RwLock;

use super::object::{Outcome, Reply, Served, parse, reply};
use super::session::Session;
use super::user::Threads;
use super::value::Hold;
use crate::manager::core::NOT_KEPT;
use crate::manager::fault::Fault;
use crate::manager::op::{BY_VALUE, OwnInit, OwnOp, Parts};
use crate::manager::shared::{Body, Done, Running, Shared};
use crate::task::{self, Cost, OwnedArgs, catch};
use crate::wire::DecodeLimits;

/// Methods that only look run side by side, one that changes it runs alone.
struct Custom<T> {
    value: Arc<RwLock<Kept<T>>>,
    /// Of its methods.
    costs: Box<[Cost]>,
    _hold: Hold,
}

/// That of one of them.
struct CostOf<T>(Arc<Custom<T>>, usize);

impl<T> AsRef<Cost> for CostOf<T> {
    fn as_ref(&self) -> &Cost {
        &self.0.costs[self.1]
    }
}

/// The user's value. Whoever lets go of it last may be a connection, which does not end by a panic in its `drop`.
struct Kept<T>(Option<T>);

const THERE: &str = "it is taken only when it is dropped";

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().unwrap_or_else(|| unreachable!("{THERE}"))
    }
}

impl<T> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().unwrap_or_else(|| unreachable!("{THERE}"))
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        let _ = catch(|| drop(value));
    }
}

/// A new object of a type.
pub(in crate::manager) fn make<T: Shared>(
    init: &OwnInit<'_>,
    hold: Hold,
) -> Result<Arc<dyn Served>, Fault> {
    let args = arguments(&init.args);
    let made = if init.maker == BY_VALUE {
        T::by_value(args).ok_or_else(|| {
            let what = format!("a `{}` has no encoded form: use a constructor", T::NAME);
            Fault::Unsupported(what)
        })?
    } else {
        let maker = T::MAKERS.iter().find(|maker| maker.id == init.maker);
        let maker = maker.ok_or_else(|| unknown::<T>("constructor"))?;
        (maker.body)(args)
    };
    let value = made.map_err(failed)?;
    let costs = T::METHODS.iter().map(|_| Cost::unknown()).collect();
    Ok(Arc::new(Custom { value: Arc::new(RwLock::new(Kept(Some(value)))), costs, _hold: hold }))
}

fn arguments(parts: &Parts<'_>) -> OwnedArgs {
    OwnedArgs::new(parts.received(), DecodeLimits::default())
}

/// The manager's program is another than the one that asks.
fn unknown<T: Shared>(what: &str) -> Fault {
    Fault::Unsupported(format!("`{}` has no such {what} in the manager's program", T::NAME))
}

pub(super) fn failed(fault: task::Fault) -> Fault {
    match fault {
        task::Fault::Panicked(panic) => Fault::Panicked(panic.message),
        task::Fault::ResultEncode { type_name, reason } => {
            Fault::Encode(format!("the result, a {type_name}: {reason}"))
        }
        other => Fault::Failed(format!("an argument cannot be decoded: {}", other.words())),
    }
}

fn say(done: Done) -> Reply {
    let payload = done.map_err(failed)?.0;
    reply(&Parts::of(&payload).ok_or_else(|| Fault::Encode(NOT_KEPT.to_owned()))?)
}

/// Runs a method that does not wait.
fn run(body: impl FnOnce() -> Done) -> Reply {
    say(catch(body).unwrap_or_else(|panic| Err(task::Fault::Panicked(panic))))
}

/// Runs one that does.
async fn wait(mut running: Running<'_>) -> Reply {
    let done = poll_fn(|cx| {
        catch(|| running.as_mut().poll(cx))
            .unwrap_or_else(|panic| Poll::Ready(Err(task::Fault::Panicked(panic))))
    });
    say(done.await)
}

/// A turn at an object: they come in the order in which they were asked for.
enum Turn<G> {
    Here(G),
    Later(Pin<Box<dyn Future<Output = G> + Send>>),
}

impl<G: Send + 'static> Turn<G> {
    fn of(turn: impl Future<Output = G> + Send + 'static) -> Self {
        let mut turn = Box::pin(turn);
        // Polled, it has its place in the line.
        match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(guard) => Turn::Here(guard),
            Poll::Pending => Turn::Later(turn),
        }
    }

    async fn come(self) -> G {
        match self {
            Turn::Here(guard) => guard,
            Turn::Later(turn) => turn.await,
        }
    }
}

impl<T: Shared> Custom<T> {
    fn run(self: Arc<Self>, session: &Session, op: &OwnOp<'_>) -> Result<Outcome, Fault> {
        let at = T::METHODS.iter().position(|method| method.id == op.method);
        let at = at.ok_or_else(|| unknown::<T>("method"))?;
        let method = &T::METHODS[at];
        if matches!(method.body, Body::Writes(_) | Body::WritesAsync(_)) {
            session.check_write()?;
        }
        // Counted as long as it waits: a client may have many that do.
        let held = session.account.hold(op.args.len() as u64)?;
        let (value, args) = (self.value.clone(), arguments(&op.args));
        let threads = session.store.threads.clone();
        let cost = CostOf(self, at);
        Ok(match method.body {
            Body::Reads(body) => {
                take_turn(Turn::of(value.read_owned()), threads, cost, move |value| {
                    let _held = held;
                    run(|| body(&value, args))
                })
            }
            Body::Writes(body) => {
                take_turn(Turn::of(value.write_owned()), threads, cost, move |mut value| {
                    let _held = held;
                    run(|| body(&mut value, args))
                })
            }
            Body::ReadsAsync(body) => {
                let turn = Turn::of(value.read_owned());
                Outcome::later(async move {
                    let _held = held;
                    let value = turn.come().await;
                    wait(body(&value, args)).await
                })
            }
            Body::WritesAsync(body) => {
                let turn = Turn::of(value.write_owned());
                Outcome::later(async move {
                    let _held = held;
                    let mut value = turn.come().await;
                    wait(body(&mut value, args)).await
                })
            }
        })
    }
}

/// Runs a method that does not wait when its turn has come; at once, if that is now and it is quick.
fn take_turn<T: Shared, G: Send + 'static>(
    turn: Turn<G>,
    threads: Threads,
    cost: CostOf<T>,
    body: impl FnOnce(G) -> Reply + Send + 'static,
) -> Outcome {
    match turn {
        Turn::Here(guard) if cost.as_ref().is_quick() => cost.as_ref().of(|| body(guard)).into(),
        turn => Outcome::later(async move {
            let guard = turn.come().await;
            threads.run(cost, move || body(guard)).await
        }),
    }
}

impl<T: Shared> Served for Custom<T> {
    fn call(self: Arc<Self>, session: &Arc<Session>, op: &[u8]) -> Outcome {
        parse(op).and_then(|op| self.run(session, &op)).unwrap_or_else(|fault| Err(fault).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::ArgsEncoder;
    use crate::wire::Payload;

    struct Plain(u8);

    #[procpool::shared]
    impl Plain {
        fn of(n: u8) -> Self {
            Plain(n)
        }

        fn get(&self) -> u8 {
            self.0
        }
    }

    fn made(maker: u64, payload: &Payload) -> Result<(), Fault> {
        let args = Parts::of(payload).unwrap();
        make::<Plain>(&OwnInit { name: Plain::NAME, maker, args }, Hold::none()).map(|_| ())
    }

    /// As a program of another version, or a hostile one, would ask.
    #[test]
    fn what_does_not_fit_the_type_is_refused() {
        let mut args = ArgsEncoder::default();
        args.owned("n", 7u8);
        let seven = args.finish().unwrap();
        let of = Plain::MAKERS[0].id;
        made(of, &seven).unwrap();
        let unsupported = |made| match made {
            Err(Fault::Unsupported(what)) => what,
            other => panic!("{other:?}"),
        };
        assert!(unsupported(made(BY_VALUE, &seven)).contains("use a constructor"));
        assert!(unsupported(made(of + 1, &seven)).contains("no such constructor"));
        match made(of, &Payload::empty()) {
            Err(Fault::Failed(what)) => assert!(what.contains("`n: u8`"), "{what}"),
            other => panic!("{other:?}"),
        }
    }
}
