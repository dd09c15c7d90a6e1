//! Trying again what fails for reasons that pass by themselves.

use std::io;
use std::time::Duration;

/// Milliseconds between one try and the next: some fifteen milliseconds in all, since a thread on which others'
/// deadlines depend waits here.
const PAUSES: [u64; 4] = [1, 2, 4, 8];

/// What `start` gives, tried again while its error is one that passes.
pub(super) fn persist<T>(
    passes: impl Fn(&io::Error) -> bool,
    mut start: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    for pause in PAUSES {
        match start() {
            Err(e) if passes(&e) => std::thread::sleep(Duration::from_millis(pause)),
            done => return done,
        }
    }
    start()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result, and how often it was tried.
    fn tries(kinds: &[io::ErrorKind]) -> (Result<usize, io::ErrorKind>, usize) {
        let mut n = 0;
        let done = persist(
            |e| e.kind() == io::ErrorKind::WouldBlock,
            || {
                n += 1;
                kinds.get(n - 1).map_or(Ok(n), |kind| Err((*kind).into()))
            },
        );
        (done.map_err(|e| e.kind()), n)
    }

    #[test]
    fn only_what_passes_is_tried_again_and_not_for_ever() {
        use io::ErrorKind::{NotFound, WouldBlock};
        assert_eq!(tries(&[]), (Ok(1), 1));
        assert_eq!(tries(&[WouldBlock; 3]), (Ok(4), 4));
        assert_eq!(tries(&[WouldBlock, NotFound]), (Err(NotFound), 2));
        assert_eq!(tries(&[WouldBlock; 9]), (Err(WouldBlock), 5));
    }
}
