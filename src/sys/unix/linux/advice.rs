//! Hints to the kernel about memory.

/// Asks for huge pages under the spare room of a large buffer that is about
/// to be filled: first-touch faults otherwise cost more than the copy itself.
///
/// A hint only; failure is ignored.
pub(crate) fn advise_huge(buf: &mut Vec<u8>) {
    const HUGE: usize = 2 << 20;
    let start = buf.as_ptr() as usize;
    let end = start + buf.capacity();
    let from = start.next_multiple_of(4096);
    let to = end & !4095;
    if to <= from || to - from < HUGE {
        return;
    }
    // SAFETY: the range lies inside one live allocation of ours, and this
    // advice changes how pages are provided, never what they hold.
    unsafe { libc::madvise(from as *mut _, to - from, libc::MADV_HUGEPAGE) };
}
