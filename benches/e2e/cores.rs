//! Which core who is on, in the part that says it.

use crate::parts::Part;
use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Where the server and this program are, and where the clients.
pub(crate) const OURS: usize = 0;
pub(crate) const THEIRS: usize = 1;

/// Before anything is started.
pub(crate) fn begin(part: Part) -> Result<()> {
    if part.pinned() { pin(OURS) } else { Ok(()) }
}

/// Runs something that starts a client.
pub(crate) fn for_a_client<T>(part: Part, start: impl FnOnce() -> Result<T>) -> Result<T> {
    if !part.pinned() {
        return start();
    }
    pin(THEIRS)?;
    let started = start();
    pin(OURS)?;
    started
}

/// This thread from now on, with all that it starts.
fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set)
        .with_context(|| format!("cannot use core {core}; this part needs two"))
}
