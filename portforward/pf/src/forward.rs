//! Accepting local connections and carrying each to the pod.

use crate::output::Output;
use portforward::client::{ForwardError, Forwarder};
use portforward::session::Session;
use std::io;
use std::num::NonZeroU16;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Pause when the system has no descriptor or memory for another connection: it stays in the queue,
/// and asking at once would spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections for one session. One per listener; clones share the session.
#[derive(Clone)]
pub(crate) struct Acceptor {
    forwarder: Forwarder,
    output: Output,
    /// Held by all that still run.
    _running: mpsc::Sender<()>,
}

/// Tells when all acceptors and connections have ended.
pub(crate) struct Carried(mpsc::Receiver<()>);

impl Carried {
    /// # Cancel safety
    /// Yes.
    pub(crate) async fn all_ended(&mut self) {
        // Nothing is ever sent: the end comes with the last sender.
        while self.0.recv().await.is_some() {}
    }
}

impl Acceptor {
    pub(crate) fn new(session: Session, output: Output) -> (Self, Carried) {
        let (running, ended) = mpsc::channel(1);
        let forwarder = Forwarder::new(session);
        (
            Self {
                forwarder,
                output,
                _running: running,
            },
            Carried(ended),
        )
    }

    /// Accepts for ever. Connections outlive this future.
    pub(crate) async fn accept(self, listener: TcpListener, local: NonZeroU16, remote: NonZeroU16) {
        let mut complained = false;
        loop {
            match listener.accept().await {
                Ok((socket, _)) => {
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
        match self.forwarder.forward(socket, remote.get()).await {
            Ok(summary) => self.output.trace(2, || {
                format!(
                    "{local} -> {remote}: {} bytes out, {} bytes in",
                    summary.sent, summary.received
                )
            }),
            // The end of the session is told once.
            Err(ForwardError::SessionLost(_)) => {}
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
