//! Places in a worker where this crate's own tests have it killed.
//!
//! Only the crate's unit tests contain them: there the worker is the unit test
//! binary itself. Everywhere else a hit is nothing.

/// Names the place and the hit at which a worker is to die: `place:n:file`. The
/// file is created by whoever dies, so that its successor does not.
#[cfg(test)]
pub(crate) const VARIABLE: &str = "PROCPOOL_TEST_KILL_AT";

#[cfg(not(test))]
#[inline(always)]
#[allow(clippy::inline_always)]
pub(crate) fn hit(_place: &str) {}

#[cfg(test)]
pub(crate) fn hit(place: &str) {
    use std::sync::Mutex;

    struct Plan {
        place: String,
        left: u64,
        file: String,
    }
    static PLAN: Mutex<Option<Option<Plan>>> = Mutex::new(None);

    let mut plan = PLAN.lock().unwrap();
    let plan = plan.get_or_insert_with(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let mut parts = text.splitn(3, ':');
        let (place, n, file) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Plan { place: place.to_owned(), left: n.parse().ok()?, file: file.to_owned() })
    });
    let Some(plan) = plan.as_mut().filter(|p| p.place == place) else { return };
    plan.left = plan.left.saturating_sub(1);
    if plan.left == 0 && std::fs::File::create_new(&plan.file).is_ok() {
        crate::sys::kill_own_group();
    }
}
