//! The children that run, so that being told to end does not leave any behind.

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::sync::Mutex;
use tokio::signal::unix::{SignalKind, signal};

/// Process ids that were not waited for yet, and so cannot be anybody else's.
static CHILDREN: Mutex<Vec<u32>> = Mutex::new(Vec::new());

pub(crate) fn add(id: u32) {
    if let Ok(mut children) = CHILDREN.lock() {
        children.push(id);
    }
}

pub(crate) fn remove(id: u32) {
    if let Ok(mut children) = CHILDREN.lock() {
        children.retain(|it| *it != id);
    }
}

/// From now on SIGINT, SIGTERM and SIGHUP end the children before they end this program.
pub(crate) fn end_children_when_told_to_end() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("signals")?;
    let mut signals = {
        let _inside = runtime.enter();
        [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            let [interrupt, terminate, hangup] = &mut signals;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        if let Ok(children) = CHILDREN.lock() {
            for id in children.iter().filter_map(|id| i32::try_from(*id).ok()) {
                // It may have ended by itself.
                kill(Pid::from_raw(id), Signal::SIGKILL).ok();
            }
        }
        eprintln!("e2e: told to end");
        std::process::exit(130);
    });
    Ok(())
}
