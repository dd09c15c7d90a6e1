//! Panics turned into data: message, location, backtrace.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::fault::PanicReport;

thread_local! {
    static LAST: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Makes panics in this process remember where they happened. The previous
/// hook still runs, so the message also reaches standard error.
pub(crate) fn install_hook() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::force_capture().to_string();
        LAST.with_borrow_mut(|last| *last = Some((location, backtrace)));
        previous(info);
    }));
}

/// Runs `f`; a panic inside becomes a report.
#[inline]
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, PanicReport> {
    // Whatever `f` touched is dropped or replaced by the caller on failure.
    catch_unwind(AssertUnwindSafe(f)).map_err(report)
}

#[cold]
fn report(payload: Box<dyn Any + Send>) -> PanicReport {
    let message = message(&*payload);
    // A payload's own destructor may panic: it must not take the worker along.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    let (location, backtrace) = LAST.take().unzip();
    PanicReport { message, location, backtrace }
}

/// A panic's words.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic whose payload is not text".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_payloads_are_kept_and_others_named() {
        assert_eq!(catch(|| 5), Ok(5));
        assert_eq!(catch(|| std::panic::panic_any("a")).unwrap_err().message, "a");
        let text = format!("{}-{}", 1, 2);
        assert_eq!(catch(|| std::panic::panic_any(text)).unwrap_err().message, "1-2");
        assert!(catch(|| std::panic::panic_any(7)).unwrap_err().message.contains("not text"));
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_survived() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        assert!(catch(|| std::panic::panic_any(Bomb)).is_err());
    }
}
