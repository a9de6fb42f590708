//! One `spdy::Connection` on a socket: a loop of one thread that writes, reads and hands events to what the
//! streams do. Changes of the crate's API end here.

use std::{
    collections::HashMap,
    io::{ErrorKind, IoSlice, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spdy::{
    Config, Connection, Event, GoAwayStatus, HeaderBlock, Opening, Outgoing, RstStatus,
    StreamError, StreamId,
};

use crate::behave::{Channel, Does};

/// No session of a test takes longer.
const DEADLINE: Duration = Duration::from_secs(110);
/// Nothing that is waited for takes longer.
const STEP: Duration = Duration::from_secs(60);
/// Bytes of one read.
const READ: usize = 128 << 10;

/// The connection, its socket and its streams.
pub(crate) struct Driver {
    socket: TcpStream,
    conn: Connection,
    input: BytesMut,
    pub(crate) channels: HashMap<StreamId, Channel>,
    /// Answers to our PINGs.
    pub(crate) pongs: usize,
    pub(crate) goaway: Option<GoAwayStatus>,
    /// Streams the peer opened.
    pub(crate) accepted: usize,
    /// SETTINGS of the peer that were heeded.
    pub(crate) settings: usize,
    /// The peer's end of the socket is closed.
    ended: bool,
    /// What the stream `first` got, for `recall`, which may come before its end.
    recalled: Option<String>,
    recalls: Option<StreamId>,
    /// What our replies say beside nothing.
    reply: HeaderBlock,
    deadline: Instant,
}

impl Driver {
    pub(crate) fn new(
        socket: TcpStream,
        config: Config,
        reply: HeaderBlock,
    ) -> anyhow::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let now = Instant::now();
        Ok(Self {
            socket,
            conn: Connection::new(config, now)?,
            input: BytesMut::new(),
            channels: HashMap::new(),
            pongs: 0,
            goaway: None,
            accepted: 0,
            settings: 0,
            ended: false,
            recalled: None,
            recalls: None,
            reply,
            deadline: now + DEADLINE,
        })
    }

    pub(crate) fn open(
        &mut self,
        headers: &HeaderBlock,
        does: Does,
        opening: Opening,
    ) -> anyhow::Result<StreamId> {
        let id = self.conn.open_with(headers, opening)?;
        self.channels.insert(id, Channel::new(does));
        Ok(id)
    }

    pub(crate) fn channel(&mut self, id: StreamId) -> &mut Channel {
        self.channels
            .entry(id)
            .or_insert_with(|| Channel::new(Does::Take))
    }

    pub(crate) fn ping(&mut self) -> anyhow::Result<u32> {
        self.conn.ping(Instant::now()).context("no PING now")
    }

    pub(crate) fn headers(&mut self, id: StreamId, headers: &HeaderBlock) -> anyhow::Result<()> {
        Ok(self.conn.headers(id, headers, false)?)
    }

    pub(crate) fn reset(&mut self, id: StreamId, status: RstStatus) {
        self.conn.reset(id, status);
    }

    /// Whether windows count now.
    pub(crate) fn has_flow_control(&self) -> bool {
        self.conn.has_flow_control()
    }

    /// Goes on until something is so.
    pub(crate) fn until(
        &mut self,
        what: &str,
        mut so: impl FnMut(&mut Self) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = self.deadline.min(Instant::now() + STEP);
        while !so(self) {
            ensure!(!self.ended, "{what}: the peer closed; {}", self.state());
            ensure!(
                Instant::now() < deadline,
                "{what}: stalled; {}",
                self.state()
            );
            self.turn(Duration::from_millis(200))
                .with_context(|| format!("{what}; {}", self.state()))?;
        }
        Ok(())
    }

    fn state(&self) -> String {
        let open = self.channels.iter().filter(|(_, c)| !c.is_over());
        let mut open: Vec<_> = open.map(|(id, c)| (*id, c.to_string())).collect();
        open.sort_by_key(|(id, _)| *id);
        open.truncate(4);
        format!(
            "goaway {:?}, open {open:?}, {:?}",
            self.goaway,
            self.conn.stats()
        )
    }

    /// Says GOAWAY, then closes when the peer has or when all is said.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.conn.go_away(Instant::now(), GoAwayStatus::OK);
        self.until("the end", |d| d.conn.is_done() || d.ended)?;
        ensure!(
            self.conn.is_between_frames(&self.input),
            "a cut frame at the end"
        );
        Ok(())
    }

    /// Answers until the peer has closed; no frame may be cut.
    pub(crate) fn serve(mut self) -> anyhow::Result<Self> {
        while !self.ended {
            ensure!(Instant::now() < self.deadline, "stalled; {}", self.state());
            self.turn(Duration::from_millis(200))
                .with_context(|| self.state())?;
        }
        ensure!(
            self.conn.is_between_frames(&self.input),
            "a cut frame at the end"
        );
        Ok(self)
    }

    /// One round: what can be sent, received and done now; waits if that is nothing.
    fn turn(&mut self, wait: Duration) -> anyhow::Result<()> {
        let now = Instant::now();
        if self.conn.poll_timeout().is_some_and(|at| at <= now) {
            self.conn.handle_timeout(now)?;
        }
        let mut busy = self.pump()?;
        busy |= self.write()?;
        if !self.conn.is_full() && !self.conn.is_blocked() && !self.ended {
            busy |= self.read()?;
        }
        // Events that were found before an error still count.
        let received = self.conn.recv(now, &mut self.input);
        while let Some(event) = self.conn.poll_event() {
            busy = true;
            self.on_event(event)?;
        }
        received?;
        if !busy && !self.ended {
            self.poll(wait)?;
        }
        Ok(())
    }

    fn poll(&mut self, wait: Duration) -> anyhow::Result<()> {
        let mut flags = PollFlags::empty();
        if !self.conn.is_full() && !self.conn.is_blocked() {
            flags |= PollFlags::IN;
        }
        if self.conn.outgoing().has_remaining() {
            flags |= PollFlags::OUT;
        }
        let timeout = Timespec::try_from(wait)?;
        poll(&mut [PollFd::new(&self.socket, flags)], Some(&timeout))?;
        Ok(())
    }

    /// Hands the connection what the streams have to say.
    fn pump(&mut self) -> anyhow::Result<bool> {
        let Self { conn, channels, .. } = self;
        let mut busy = false;
        for (id, channel) in channels.iter_mut() {
            while let Some((mut data, fin)) = channel.next_piece() {
                let whole = data.len();
                let sent = conn.send(*id, &mut data, fin);
                let n = match sent {
                    Ok(n) => n,
                    // Reset by the peer: that is in the events.
                    Err(StreamError::Closed(_)) => {
                        channel.drop_output();
                        break;
                    }
                    Err(e) => return Err(e.into()),
                };
                // An echo has consumed what it has sent.
                if channel.does == Does::Echo && n > 0 {
                    conn.consumed(*id, n);
                }
                channel.sent(n, fin && n == whole);
                busy |= n > 0 || whole == 0;
                if n == 0 {
                    break;
                }
            }
            if let Some(status) = channel.reset_due() {
                conn.reset(*id, status);
                busy = true;
            }
        }
        Ok(busy)
    }

    fn write(&mut self) -> anyhow::Result<bool> {
        let mut busy = false;
        loop {
            let mut slices = [IoSlice::new(&[]); 64];
            let outgoing: &Outgoing = self.conn.outgoing();
            if outgoing.is_empty() {
                break;
            }
            let n = outgoing.chunks_vectored(&mut slices);
            match self.socket.write_vectored(&slices[..n]) {
                Ok(n) => self.conn.outgoing().advance(n),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                // It closed: what it said before is still to be read.
                Err(e) if is_gone(e.kind()) => {
                    self.conn.end_of_output();
                    let left = self.conn.outgoing().remaining();
                    self.conn.outgoing().advance(left);
                }
                Err(e) => return Err(e).context("write"),
            }
            busy = true;
        }
        Ok(busy)
    }

    fn read(&mut self) -> anyhow::Result<bool> {
        let had = self.input.len();
        self.input.resize(had + READ, 0);
        let read = self.socket.read(&mut self.input[had..]);
        self.input.truncate(had + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => self.ended = true,
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) if is_gone(e.kind()) => self.ended = true,
            Err(e) => return Err(e).context("read"),
        }
        Ok(true)
    }

    fn on_event(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Opened { id, headers, fin } => {
                self.accepted += 1;
                let mut channel = Channel::new(Does::Take);
                channel.fin = fin;
                self.channels.insert(id, channel);
                self.answer(id, &headers)?;
            }
            Event::Replied { id, headers, fin } => {
                let channel = self.channel(id);
                channel.replied = Some(headers);
                channel.fin |= fin;
            }
            Event::Data { id, payload, fin } => {
                let n = payload.len();
                let channel = self.channel(id);
                channel.take(payload, fin);
                if channel.does != Does::Echo {
                    self.conn.consumed(id, n);
                }
                self.on_progress(id);
            }
            Event::Headers { id, headers, fin } => {
                let channel = self.channel(id);
                channel.fin |= fin;
                channel.more.push(headers.clone());
                if channel.does == Does::HeadersEcho {
                    self.conn.headers(id, &headers, false)?;
                    self.channel(id).end();
                }
            }
            Event::Reset { id, status } => {
                let channel = self.channel(id);
                // `recall` would wait for it for ever.
                ensure!(
                    channel.does != Does::Remember,
                    "{id}, `first`, was reset: {status}"
                );
                channel.reset = Some(status);
                channel.drop_output();
            }
            Event::Pong { .. } => self.pongs += 1,
            Event::GoAway { status, .. } => self.goaway = Some(status),
            Event::Settings { .. } => self.settings += 1,
            Event::Writable { .. } => {}
            other => bail!("unexpected {other:?}"),
        }
        Ok(())
    }

    /// Does what the opener of a stream asks for.
    fn answer(&mut self, id: StreamId, headers: &HeaderBlock) -> anyhow::Result<()> {
        let text = |name| String::from_utf8_lossy(headers.get(name).unwrap_or_default());
        let test = text("x-test");
        if test == "refuse" {
            self.conn.reset(id, RstStatus::REFUSED_STREAM);
            return Ok(());
        }
        self.conn.reply(id, &self.reply, false)?;
        let channel = self.channel(id);
        match &*test {
            "echo" => channel.does = Does::Echo,
            "source" => {
                channel.send_pattern(text("x-length").parse()?);
                channel.end();
            }
            "sink" => channel.does = Does::Sum,
            "reset" => {
                channel.send(Bytes::from_static(b"0123456789"));
                channel.reset_after(RstStatus::CANCEL);
            }
            "first" => {
                channel.does = Does::Remember;
                channel.send(Bytes::from_static(b"first"));
                channel.end();
            }
            "recall" => {
                self.recalls = Some(id);
                self.recall();
            }
            "headers" => {
                let more = [("x-more", "yes")].into_iter().collect();
                self.conn.headers(id, &more, false)?;
                let channel = self.channel(id);
                channel.send(Bytes::from_static(b"after"));
                channel.end();
            }
            "headers-echo" => channel.does = Does::HeadersEcho,
            other => bail!("asked for {other:?}"),
        }
        self.on_progress(id);
        Ok(())
    }

    /// A stream has got something.
    fn on_progress(&mut self, id: StreamId) {
        if let Some(sum) = self.channel(id).on_progress() {
            self.recalled = Some(sum);
            self.recall();
        }
    }

    fn recall(&mut self) {
        if let (Some(id), Some(sum)) = (self.recalls, self.recalled.clone()) {
            let channel = self.channel(id);
            channel.send(Bytes::from(sum));
            channel.end();
        }
    }
}

fn is_gone(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}
