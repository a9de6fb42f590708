//! The crate over a plain socket: the opening handshake by hand, then whole messages.

use std::{
    fmt::Write as _,
    io::{ErrorKind, IoSlice, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wsstream::{
    CloseFrame, Config, Connection, ConnectionError, Event, Kind, Offer, Opening, Role, Rules,
};

/// How long one read or write may make no progress.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest head.
const HEAD: usize = 16 << 10;

/// A whole message, or what stands between messages.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// A message.
    Whole(Kind, Vec<u8>),
    /// A pong.
    Pong(Bytes),
    /// The peer's Close.
    Closed(CloseFrame),
    /// The peer broke the protocol, and has been told.
    Broken(ConnectionError),
    /// The end of the transport.
    End,
}

/// One end of a WebSocket.
pub(crate) struct Socket {
    pub(crate) io: TcpStream,
    pub(crate) conn: Connection,
    input: BytesMut,
    collected: Vec<u8>,
}

fn config(role: Role) -> Config {
    let mut config = Config::new(role);
    // What the suites send is larger, and in smaller pieces, than channels are.
    config.limits.message = Some(64 << 20);
    config.limits.fragments = None;
    // The libraries' clients send a ping between the fragments of each of thousands of messages.
    config.limits.control = 100_000;
    config
}

/// Reads a head: its first line, its fields, and leaves what is behind it.
fn read_head(
    io: &mut TcpStream,
    input: &mut BytesMut,
) -> anyhow::Result<(String, Vec<(String, String)>)> {
    let end = loop {
        if let Some(at) = input.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        ensure!(input.len() < HEAD, "no end of the head");
        let mut chunk = [0; 1024];
        let n = io.read(&mut chunk)?;
        ensure!(n > 0, "the connection ended inside a head");
        input.extend_from_slice(&chunk[..n]);
    };
    let head = input.split_to(end + 4);
    let head = std::str::from_utf8(&head[..end])?;
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    Ok((first, lines.filter_map(field).collect()))
}

fn view(fields: &[(String, String)]) -> Vec<wsstream::Field<'_>> {
    fields
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_bytes()))
        .collect()
}

impl Socket {
    fn new(io: TcpStream, role: Role, input: BytesMut) -> anyhow::Result<Self> {
        io.set_nodelay(true)?;
        Ok(Self {
            io,
            conn: Connection::new(config(role))?,
            input,
            collected: Vec::new(),
        })
    }

    /// A server's end: selects the first of `protocols` that is offered.
    pub(crate) fn accept(mut io: TcpStream, protocols: &[&str]) -> anyhow::Result<Self> {
        io.set_read_timeout(Some(PATIENCE))?;
        io.set_write_timeout(Some(PATIENCE))?;
        let mut input = BytesMut::new();
        let (line, fields) = read_head(&mut io, &mut input)?;
        let method = line.split(' ').next().unwrap_or_default();
        let http11 = line.ends_with(" HTTP/1.1");
        let offer = Offer::read(method, http11, &view(&fields), Rules::Deployed)?;
        let selected = protocols
            .iter()
            .find(|p| offer.protocols.iter().any(|o| o == *p));
        let mut head = "HTTP/1.1 101 Switching Protocols\r\n".to_owned();
        let fields = offer.accepted(selected.copied());
        for (name, value) in fields.context("selected what was not offered")? {
            write!(head, "{name}: {value}\r\n")?;
        }
        io.write_all((head + "\r\n").as_bytes())?;
        Self::new(io, Role::Server, input)
    }

    /// A client's end.
    pub(crate) fn connect(
        address: SocketAddr,
        path: &str,
        protocols: &[&str],
    ) -> anyhow::Result<Self> {
        let mut io = TcpStream::connect(address)?;
        io.set_read_timeout(Some(PATIENCE))?;
        io.set_write_timeout(Some(PATIENCE))?;
        let opening = Opening::new(protocols)?;
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n");
        // x/net/websocket wants one; it is the same as the host.
        write!(head, "Origin: http://{address}\r\n")?;
        for (name, value) in opening.fields() {
            write!(head, "{name}: {value}\r\n")?;
        }
        io.write_all((head + "\r\n").as_bytes())?;
        let mut input = BytesMut::new();
        let (line, fields) = read_head(&mut io, &mut input)?;
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
        let http11 = line.starts_with("HTTP/1.1 ");
        opening
            .check(status.context("no status")?, http11, &view(&fields))
            .with_context(|| format!("{line} {fields:?}"))?;
        Self::new(io, Role::Client, input)
    }

    /// Writes what waits.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        while self.conn.outgoing().has_remaining() {
            let outgoing = &*self.conn.outgoing();
            let mut slices = [IoSlice::new(&[]); 32];
            let filled = outgoing.chunks_vectored(&mut slices);
            let n = self.io.write_vectored(&slices[..filled])?;
            ensure!(n > 0, "nothing is written");
            self.conn.outgoing().advance(n);
        }
        Ok(())
    }

    /// Sends a message in one frame.
    pub(crate) fn send(&mut self, kind: Kind, payload: impl Into<Bytes>) -> anyhow::Result<()> {
        self.conn.send(kind, &mut payload.into(), true)?;
        self.flush()
    }

    /// The next message. Pings are answered on the way. After a breach of the peer's what the crate
    /// has to say to it is written, and the end is told.
    pub(crate) fn next(&mut self) -> anyhow::Result<Message> {
        loop {
            let event = self.conn.poll_event(Instant::now(), &mut self.input);
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    // The peer may be gone already.
                    drop(self.flush());
                    return Ok(Message::Broken(error));
                }
            };
            match event {
                Some(Event::Message {
                    kind,
                    payload,
                    ends,
                    ..
                }) => {
                    self.collected.extend_from_slice(&payload);
                    if ends {
                        return Ok(Message::Whole(kind, std::mem::take(&mut self.collected)));
                    }
                }
                Some(Event::Ping(_)) => self.flush()?,
                Some(Event::Pong(payload)) => return Ok(Message::Pong(payload)),
                Some(Event::Closed(frame)) => {
                    drop(self.flush());
                    return Ok(Message::Closed(frame));
                }
                Some(other) => bail!("{other:?}"),
                None => {
                    let at = self.input.len();
                    self.input.resize(at + (64 << 10), 0);
                    let n = self.io.read(&mut self.input[at..]);
                    self.input.truncate(at + n.as_ref().map_or(0, |n| *n));
                    if n? == 0 {
                        return Ok(Message::End);
                    }
                }
            }
        }
    }

    /// What has come already.
    pub(crate) fn event(&mut self) -> anyhow::Result<Option<Event>> {
        Ok(self.conn.poll_event(Instant::now(), &mut self.input)?)
    }

    /// Writes once without waiting. `true`: the socket took something.
    pub(crate) fn write_some(&mut self) -> anyhow::Result<bool> {
        if !self.conn.outgoing().has_remaining() {
            return Ok(false);
        }
        let outgoing = &*self.conn.outgoing();
        let mut slices = [IoSlice::new(&[]); 32];
        let filled = outgoing.chunks_vectored(&mut slices);
        match self.io.write_vectored(&slices[..filled]) {
            Ok(n) => self.conn.outgoing().advance(n),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    /// Reads once without waiting. `true`: there was something.
    pub(crate) fn read_some(&mut self) -> anyhow::Result<bool> {
        let at = self.input.len();
        self.input.resize(at + (64 << 10), 0);
        let n = self.io.read(&mut self.input[at..]);
        self.input.truncate(at + n.as_ref().map_or(0, |n| *n));
        match n {
            Ok(0) => bail!("the connection ended"),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the socket takes or gives something.
    pub(crate) fn wait(&mut self) -> anyhow::Result<()> {
        let mut wanted = PollFlags::IN;
        if self.conn.outgoing().has_remaining() {
            wanted |= PollFlags::OUT;
        }
        let mut polled = [PollFd::new(&self.io, wanted)];
        let patience = Timespec::try_from(PATIENCE)?;
        ensure!(poll(&mut polled, Some(&patience))? > 0, "nothing moves");
        Ok(())
    }
}
