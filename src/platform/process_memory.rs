//! Keeps the memory of this process from others: no core dump, no debugger, no `/proc/PID/mem` but for root.
//!
//! What the memory holds is not its business: the global allocator overwrites what is freed.

use std::io;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// Makes the process not dumpable, unless a filter of system calls refuses it. Call it before any secret is read.
pub(crate) fn make_private() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
