//! The local app of the drawing: one connection that looks for a greeting, says something, reads
//! the answer and ends.

use super::trace::{Actor, Trace};
use portforward::escape;
use portforward::socket::Socket as _;
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time for a server that speaks first.
const GREETING: Duration = Duration::from_millis(300);
/// Time for the first byte of an answer.
const ANSWER: Duration = Duration::from_secs(5);
/// An answer that pauses for so long is taken for complete.
const PAUSE: Duration = Duration::from_millis(300);
/// Time for the pod to end after the app has: real runtimes take one second more.
const END: Duration = Duration::from_secs(3);
/// Time for an answer that never pauses.
const ALL: Duration = Duration::from_secs(10);
/// Enough of an answer.
const ENOUGH: usize = 64 << 10;
/// Of its first line, characters that are shown.
const SHOWN: usize = 60;

/// What the app has seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Probed {
    pub(super) sent: usize,
    pub(super) received: usize,
    /// The app itself broke off, and that is no failure.
    pub(super) broke_off: bool,
}

/// How waiting for bytes ended.
enum Read {
    Some,
    Quiet,
    End,
}

struct App<'a> {
    socket: TcpStream,
    trace: &'a Trace,
    probed: Probed,
    buffer: Vec<u8>,
}

/// Runs it to its end, which is bounded.
pub(super) async fn run(socket: TcpStream, send: &[u8], trace: &Trace) -> Probed {
    let mut app = App {
        socket,
        trace,
        probed: Probed::default(),
        buffer: vec![0; 16 << 10],
    };
    app.talk(send).await;
    let App { socket, probed, .. } = app;
    if probed.broke_off {
        let mut socket = socket;
        // An end that nobody takes for the end of what the app wanted to say.
        socket.set_abrupt(true);
        trace.now((Actor::App, Actor::Pf), "breaks off (TCP reset)");
    }
    probed
}

impl App<'_> {
    async fn talk(&mut self, send: &[u8]) {
        match self.read(GREETING, "greeting").await {
            Read::End => return,
            Read::Quiet => {
                let text = format!("no greeting within {} ms", GREETING.as_millis());
                self.trace.now((Actor::App, Actor::App), &text);
            }
            Read::Some => {}
        }
        if !send.is_empty() {
            let since = Instant::now();
            let sent = timeout(ANSWER, self.socket.write_all(send)).await;
            if !matches!(sent, Ok(Ok(()))) {
                self.probed.broke_off = sent.is_err();
                return self.broken("cannot send");
            }
            self.probed.sent = send.len();
            let text = format!("sends {} bytes", send.len());
            self.trace.span((Actor::App, Actor::Pf), since, &text);
        }
        let mut patience = if send.is_empty() { PAUSE } else { ANSWER };
        let since = Instant::now();
        if self.probed.received > 0 || !send.is_empty() {
            loop {
                if since.elapsed() >= ALL {
                    let text = format!("has enough after {} s", ALL.as_secs());
                    self.trace.now((Actor::App, Actor::App), &text);
                    self.probed.broke_off = true;
                    return;
                }
                if self.probed.received >= ENOUGH {
                    let text = format!("has enough after {} bytes", self.probed.received);
                    self.trace.now((Actor::App, Actor::App), &text);
                    self.probed.broke_off = true;
                    return;
                }
                match self.read(patience, "first bytes").await {
                    Read::Some => patience = PAUSE,
                    Read::Quiet => break,
                    Read::End => return,
                }
            }
        }
        if self.socket.shutdown().await.is_err() {
            return self.broken("cannot end");
        }
        self.trace
            .now((Actor::App, Actor::Pf), "has no more to send (FIN)");
        let ended = async {
            loop {
                match self.read(END, "first bytes").await {
                    Read::Some if self.probed.received < ENOUGH => {}
                    Read::End => return true,
                    Read::Some | Read::Quiet => return false,
                }
            }
        };
        let ended = timeout(END, ended).await;
        if !matches!(ended, Ok(true)) {
            let text = format!("not ended by the pod within {} s", END.as_secs());
            self.trace.now((Actor::App, Actor::App), &text);
            self.probed.broke_off = true;
        }
    }

    async fn read(&mut self, patience: Duration, what: &str) -> Read {
        let since = Instant::now();
        match timeout(patience, self.socket.read(&mut self.buffer)).await {
            Err(_) => Read::Quiet,
            Ok(Ok(0)) => {
                let text = format!("end of file after {} bytes", self.probed.received);
                self.trace.now((Actor::Pf, Actor::App), &text);
                Read::End
            }
            Ok(Ok(n)) => {
                if self.probed.received == 0 {
                    let text = format!(
                        "{what}: {n} bytes, \"{}\"",
                        first_line(self.buffer.get(..n).unwrap_or_default())
                    );
                    let took = Some(since.elapsed());
                    self.trace
                        .step((Actor::Pf, Actor::App), Instant::now(), took, &text);
                }
                self.probed.received = self.probed.received.saturating_add(n);
                Read::Some
            }
            Ok(Err(error)) => {
                let what = if error.kind() == io::ErrorKind::ConnectionReset {
                    "TCP reset".to_owned()
                } else {
                    error.to_string()
                };
                let text = format!("{what} after {} bytes", self.probed.received);
                self.trace.now((Actor::Pf, Actor::App), &text);
                Read::End
            }
        }
    }

    fn broken(&self, what: &str) {
        self.trace.now((Actor::App, Actor::Pf), what);
    }
}

/// Enough to recognise a protocol by.
fn first_line(bytes: &[u8]) -> String {
    let line = bytes
        .split(|b| matches!(b, b'\r' | b'\n'))
        .next()
        .unwrap_or_default();
    let text: String = escape::bytes(line).chars().take(SHOWN).collect();
    if line.len() < bytes.len() || text.len() < line.len() {
        format!("{text}...")
    } else {
        text
    }
}
