//! Accepting local connections and carrying each to the pod.

use crate::establish::Channels;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::pool::Pool;
use portforward::client::{self, ForwardError, Summary};
use portforward::socket::Socket as _;
use std::io;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Pause when the system has no descriptor or memory for another connection: it stays in the queue,
/// and asking at once would spin.
const PAUSE: Duration = Duration::from_millis(100);

/// For connections with WebSockets of their own to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Sessions that end for the same reason end within this time.
const TOGETHER: Duration = Duration::from_millis(300);

/// How connections get to the pod.
#[derive(Clone)]
pub(crate) enum Way {
    /// On sessions that they share.
    Session(Pool),
    /// Each on a WebSocket of its own.
    Channels(Arc<Channels>),
}

/// Accepts connections. One per listener; clones share the way to the pod.
#[derive(Clone)]
pub(crate) struct Acceptor {
    way: Way,
    output: Output,
    /// Told when the pod is gone.
    gone: mpsc::Sender<Failure>,
    stopped: watch::Receiver<bool>,
    /// Held by all that still run.
    running: mpsc::Sender<()>,
}

/// Tells when all acceptors and connections have ended.
pub(crate) struct Carried(mpsc::Receiver<()>, watch::Sender<bool>);

impl Carried {
    /// # Cancel safety
    /// Yes.
    pub(crate) async fn all_ended(&mut self) {
        // Nothing is ever sent: the end comes with the last sender.
        while self.0.recv().await.is_some() {}
    }

    /// Ends connections that have WebSockets of their own.
    ///
    /// # Cancel safety
    /// Yes.
    pub(crate) async fn stop(&mut self) {
        self.1.send_replace(true);
        drop(timeout(GOODBYE, self.all_ended()).await);
    }
}

impl Acceptor {
    /// The acceptor, what tells when all has ended, and what tells when the pod is gone.
    pub(crate) fn new(way: Way, output: Output) -> (Self, Carried, mpsc::Receiver<Failure>) {
        let (running, ended) = mpsc::channel(1);
        let (gone, told) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let acceptor = Self {
            way,
            output,
            gone,
            stopped,
            running,
        };
        (acceptor, Carried(ended, stop), told)
    }

    /// Accepts for ever. Connections outlive this future.
    pub(crate) async fn accept(self, listener: TcpListener, local: NonZeroU16, remote: NonZeroU16) {
        let mut complained = false;
        loop {
            match listener.accept().await {
                Ok((mut socket, _)) => {
                    // Whatever ends this before there is a way to the pod is no clean end; nor is the
                    // end of the program before the task first runs.
                    socket.set_abrupt(true);
                    complained = false;
                    self.output.line(format!("Handling connection for {local}"));
                    tokio::spawn(self.clone().carry(socket, local, remote));
                }
                // The client went away while it waited.
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    if !complained {
                        complained = true;
                        self.output.note(format!(
                            "error: error accepting connection on port {local}: {error}"
                        ));
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn carry(self, socket: TcpStream, local: NonZeroU16, remote: NonZeroU16) {
        // Fails only on a broken socket, which shows soon enough.
        drop(socket.set_nodelay(true));
        let carried = match &self.way {
            Way::Session(pool) => match pool.forward(socket, remote.get()).await {
                Some(carried) => carried,
                None => return,
            },
            // In a box: it would make the future of every connection as large as its own.
            Way::Channels(channels) => {
                match Box::pin(self.on_channels(channels, socket, remote)).await {
                    Some(carried) => carried,
                    None => return,
                }
            }
        };
        match carried {
            Ok(summary) => self.output.trace(2, || {
                format!(
                    "{local} -> {remote}: {} bytes out, {} bytes in",
                    summary.sent, summary.received
                )
            }),
            // The end of the last session is told once.
            Err(ForwardError::SessionLost(_)) if self.is_lost().await => {}
            // Clients go away all the time.
            Err(error @ ForwardError::Local(_)) => {
                self.output
                    .trace(1, || format!("{local} -> {remote}: {}", line(&error)));
            }
            Err(error) => self.output.note(format!(
                "error: an error occurred forwarding {local} -> {remote}: {}",
                line(&error)
            )),
        }
    }
}

impl Acceptor {
    /// Whether a session that was lost was the last; others may be about to follow it.
    async fn is_lost(&self) -> bool {
        let Way::Session(pool) = &self.way else {
            return false;
        };
        timeout(TOGETHER, pool.lost()).await.is_ok()
    }

    /// `None`: it was not carried, and that has been told.
    async fn on_channels(
        &self,
        channels: &Arc<Channels>,
        socket: TcpStream,
        remote: NonZeroU16,
    ) -> Option<Result<Summary, ForwardError>> {
        let mut stopped = self.stopped.clone();
        let running = self.running.clone();
        let opened = tokio::select! {
            opened = Arc::clone(channels).open(remote.get(), running) => Some(opened),
            _ = stopped.wait_for(|stop| *stop) => None,
        };
        let Some(opened) = opened else {
            // Nothing was carried: no end that looks clean.
            socket.abort().await;
            return None;
        };
        let carry = async {
            match opened {
                Ok(streams) => Ok(client::carry(socket, streams.data, streams.error).await),
                Err(failure) => {
                    socket.abort().await;
                    Err(failure)
                }
            }
        };
        let carried = tokio::select! {
            carried = carry => carried,
            _ = stopped.wait_for(|stop| *stop) => return None,
        };
        match carried {
            Ok(carried) => Some(carried),
            Err(failure) if failure.exit == Exit::Target => {
                // The first one is told at the end.
                drop(self.gone.try_send(failure));
                None
            }
            Err(failure) => {
                self.output.note(failure.to_string());
                None
            }
        }
    }
}

fn line(error: &ForwardError) -> String {
    portforward::escape::line(error.to_string().trim())
}

fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
