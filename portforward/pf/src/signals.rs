//! The signals that end a run.

use crate::exit::Failure;
#[cfg(unix)]
use crate::exit::{Exit, Hop};

/// Ctrl-C, SIGTERM, and the end of the terminal.
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    /// Not where it was to be ignored (`nohup`).
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
}

/// From here on a file that reaches the limit of this process (`ulimit -f`) is an error to whoever
/// writes it, and not the end of the program. Must be called on the runtime.
#[cfg(unix)]
pub(crate) fn survive_file_limits() {
    use tokio::signal::unix::{SignalKind, signal};
    let kind = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // Installed once and for all; without it, things are as they were.
    drop(signal(kind));
}

#[cfg(not(unix))]
pub(crate) fn survive_file_limits() {}

/// Whether SIGHUP is ignored, as `nohup` has it, as far as the system tells: Linux does.
#[cfg(unix)]
#[must_use]
pub fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signal 1 is bit 0.
    mask.is_some_and(|mask| mask & 1 == 1)
}

impl Signals {
    /// From here on they do not end the program by themselves.
    #[cfg(unix)]
    pub(crate) fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let open = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(
                    Exit::General,
                    Hop::Local,
                    format!("cannot wait for signals: {error}"),
                )
            })
        };
        Ok(Self {
            interrupt: open(SignalKind::interrupt())?,
            terminate: open(SignalKind::terminate())?,
            hangup: if hangup_is_ignored() {
                None
            } else {
                Some(open(SignalKind::hangup())?)
            },
        })
    }

    /// From here on they do not end the program by themselves.
    #[cfg(not(unix))]
    #[allow(clippy::unnecessary_wraps, reason = "same form on all systems")]
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self {})
    }

    /// Waits for the next; none is missed between two calls.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }

    /// Waits for the next.
    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
