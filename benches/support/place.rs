//! Which cores the two ends of a measurement run on.

#![allow(unsafe_code, reason = "calls into libc")]

use std::fmt;

/// The cores of the parent and of the processes (or threads) that work for it.
pub struct Place {
    name: &'static str,
    pub parent: Vec<usize>,
    pub worker: Vec<usize>,
}

impl Place {
    /// True when the placement is ours and not the system's.
    pub fn pinned(&self) -> bool {
        self.name != "free"
    }

    /// True when both ends are on one core.
    pub fn is_same(&self) -> bool {
        self.name == "same"
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Runs `measure` on one core, across two, and free, with this process placed accordingly.
pub fn everywhere(mut measure: impl FnMut(&Place)) {
    let cpus = allowed();
    at(&mut measure, "same", &cpus[..1], &cpus[..1]);
    match cpus[..] {
        [one, other, ..] => at(&mut measure, "cross", &[one], &[other]),
        _ => eprintln!("one core only: nothing to measure across cores"),
    }
    at(&mut measure, "free", &cpus, &cpus);
}

/// The same without the measurement across cores, for what a child inherits from the start.
pub fn same_and_free(mut measure: impl FnMut(&Place)) {
    let cpus = allowed();
    at(&mut measure, "same", &cpus[..1], &cpus[..1]);
    at(&mut measure, "free", &cpus, &cpus);
}

fn at(measure: &mut impl FnMut(&Place), name: &'static str, parent: &[usize], worker: &[usize]) {
    let place = Place { name, parent: parent.to_vec(), worker: worker.to_vec() };
    pin_process(&place.parent);
    measure(&place);
}

/// The cores this thread may use, at least one.
fn allowed() -> Vec<usize> {
    // SAFETY: a cpu_set_t is a plain bit set, for which all zeroes is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most the size given into the set.
    let got = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    assert_eq!(got, 0, "sched_getaffinity failed");
    (0..libc::CPU_SETSIZE as usize)
        // SAFETY: the index is below the number of bits in the set.
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect()
}

/// Lets every thread of this process run on `cpus` only; threads and children made later inherit it.
pub fn pin_process(cpus: &[usize]) {
    let threads = std::fs::read_dir("/proc/self/task").expect("this process has threads");
    for tid in threads.filter_map(|t| t.ok()?.file_name().to_str()?.parse().ok()) {
        // A thread that ended meanwhile needs no placement.
        let _ = pin(tid, cpus);
    }
}

/// Lets the calling thread run on `cpus` only.
pub fn pin_thread(cpus: &[usize]) {
    pin(0, cpus).expect("these cores are allowed");
}

fn pin(tid: libc::pid_t, cpus: &[usize]) -> std::io::Result<()> {
    // SAFETY: a cpu_set_t is a plain bit set, for which all zeroes is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus {
        // SAFETY: the cores were read out of such a set, so the index is in range.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the kernel reads the size given from the set.
    match unsafe { libc::sched_setaffinity(tid, size_of_val(&set), &raw const set) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
