//! Takes away the names of shared memory that children leave behind.

use std::sync::Mutex;

use crate::sys::{self, lock};

/// Files that are looked at on the thread of supervision. How many there are is up to every program of this user.
const AT_ONCE: usize = 64;

/// Whether a thread looks at more; and whether it is to begin anew when it is done.
static SWEEPING: Mutex<(bool, bool)> = Mutex::new((false, false));

/// After the end of a child: what it had named, and nobody else has.
pub(super) fn sweep() {
    if sys::sweep_names(AT_ONCE) {
        return;
    }
    let mut sweeping = lock(&SWEEPING);
    if sweeping.0 {
        sweeping.1 = true;
        return;
    }
    let thread = std::thread::Builder::new().name("procpool-sweep".into()).spawn(sweep_all);
    // Else the next one does it.
    sweeping.0 = thread.is_ok();
}

fn sweep_all() {
    loop {
        sys::sweep_names(usize::MAX);
        let mut sweeping = lock(&SWEEPING);
        if !std::mem::take(&mut sweeping.1) {
            sweeping.0 = false;
            return;
        }
    }
}
