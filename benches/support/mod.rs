//! What the benches share: reporting, placement, the floors, and the tasks of the pool under test.
//!
//! A bench is a program. It prints lines that tools can read:
//!
//! * `figure NAME VALUE UNIT`: something measured;
//! * `ratio NAME MEASURED BOUND ok|short`: something measured against its bound;
//! * `ratio NAME missing BOUND missing`: the comparison was not possible here.
//!
//! `NAME` ends in `@same` when both ends were pinned to one core, in `@cross` when parent and workers had
//! one core each, in `@free` when the system placed them. A floor is measured in the same run as what
//! it bounds, in short slices that alternate, so that the ratios hold when the machine drifts.
//!
//! An argument runs only the rows whose name contains it; `BENCH_QUICK=1` does a tenth of the work.

#![allow(dead_code, reason = "every bench uses a part of this")]

pub mod blocking;
pub mod memory;
pub mod mux;
pub mod place;
pub mod pool;
pub mod proc;
pub mod python;
pub mod report;
pub mod role;
pub mod socket;
pub mod spawn;
pub mod wake;

pub use role::run_role_if_child;
