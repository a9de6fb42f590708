//! Ctrl-C, SIGTERM and SIGHUP: the first ends a run in good order, the second at once, the third whatever hangs.

use crate::exit::{Exit, Failure};
use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What kept something from being made that an interrupt stopped.
pub const INTERRUPTED: &str = "interrupted";

/// How often the user has had enough, and what would stay behind if the program ended now.
#[derive(Debug, Clone)]
pub struct Interrupt {
    signals: watch::Receiver<u8>,
    left: Arc<Mutex<Option<String>>>,
}

#[cfg(unix)]
async fn recv(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

impl Interrupt {
    /// One that is told by hand.
    #[must_use]
    pub fn new() -> (watch::Sender<u8>, Self) {
        let (sender, signals) = watch::channel(0);
        let left = Arc::default();
        (sender, Self { signals, left })
    }

    /// One that never comes.
    #[must_use]
    pub fn never() -> Self {
        Self::new().1
    }

    /// From here on signals do not end the program but are counted here.
    ///
    /// # Errors
    /// Internal: they cannot be listened for.
    pub fn listen() -> Result<Self, Failure> {
        let (sender, interrupt) = Self::new();
        #[cfg(unix)]
        let mut signals = {
            use tokio::signal::unix::{SignalKind, signal};
            let listen = |kind| {
                signal(kind)
                    .map_err(|error| Failure::internal(format!("cannot wait for signals: {error}")))
            };
            (
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
                // Where it was to be ignored (`nohup`), it still is.
                (!pf_program::hangup_is_ignored())
                    .then(|| listen(SignalKind::hangup()))
                    .transpose()?,
            )
        };
        let told = interrupt.clone();
        tokio::spawn(async move {
            for count in 1..=3 {
                #[cfg(unix)]
                tokio::select! {
                    _ = signals.0.recv() => {}
                    _ = signals.1.recv() => {}
                    () = recv(&mut signals.2) => {}
                }
                #[cfg(not(unix))]
                if tokio::signal::ctrl_c().await.is_err() {
                    return;
                }
                match count {
                    1 => told.say_first(),
                    2 => {}
                    _ => std::process::exit(i32::from(Exit::Interrupted.code())),
                }
                sender.send_replace(count);
            }
        });
        Ok(interrupt)
    }

    fn say_first(&self) {
        let text = match &*self.lock() {
            Some(left) => format!("stopping; again to end at once and leave {left} behind"),
            None => "stopping; again to end at once".to_owned(),
        };
        let mut err = stderr().lock();
        // A count may stand on the line.
        let clear = if err.is_terminal() { "\r\u{1b}[K" } else { "" };
        drop(writeln!(err, "{clear}{text}"));
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the user has had enough.
    #[must_use]
    pub fn is_there(&self) -> bool {
        *self.signals.borrow() > 0
    }

    /// Waits until the user has had enough.
    pub async fn wait(&self) {
        self.wait_for(1).await;
    }

    /// Waits until the user does not even want what was made to be taken away.
    pub async fn wait_again(&self) {
        self.wait_for(2).await;
    }

    async fn wait_for(&self, count: u8) {
        let mut signals = self.signals.clone();
        if signals.wait_for(|n| *n >= count).await.is_err() {
            // Nobody is there who could tell.
            std::future::pending::<()>().await;
        }
    }

    /// Notes what was made and is still to be taken away, and how to do that by hand.
    pub fn leaves(&self, what: impl Into<String>) {
        *self.lock() = Some(what.into());
    }

    /// It was taken away, or the user knows that it was not.
    pub fn leaves_nothing(&self) {
        *self.lock() = None;
    }

    /// What would stay behind.
    #[must_use]
    pub fn left(&self) -> Option<String> {
        self.lock().clone()
    }
}
