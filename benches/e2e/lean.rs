//! The floor: what the wire costs a client that promises nothing. One thread, one TLS connection, one local
//! connection at a time, poll(2); rustls without buffers of its own, reads of 256 KiB; what was decrypted is put
//! together and goes to the local socket in one write. SPDY, in a WebSocket or not, by hand.
//!
//! No isolation, budgets, events, timers, PINGs or second connection, and no failure told from a clean end: it is a
//! yardstick and no product.

use crate::carry::{self, ready};
use crate::smooth;
use anyhow::{Context, Result, bail, ensure};
use bytes::Buf as _;
use portforward::pair::{Label, StreamType};
use portforward::upgrade::{PORT_FORWARD_V1, TUNNEL};
use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::ConnectionState;
use spdy::StreamId;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

/// Bytes read from the API server's socket at a time.
const READ: usize = 256 << 10;
/// Heads of a frame and of the message around it.
const HEADS: usize = 8 + wsstream::MAX_HEAD;
/// Read from the local socket at a time: with its heads sixteen whole TLS records.
const UP: usize = (256 << 10) - HEADS;
/// What one record may have beside its payload, and payload.
const RECORD: usize = 16 << 10;
const RECORD_OVERHEAD: usize = 64;
const HTTP: &[u8] = b"http/1.1";

/// Carries what connects to `listener`, one after the other, for ever.
pub(crate) fn run(
    listener: &TcpListener,
    address: SocketAddr,
    directory: &Path,
    tunnel: bool,
) -> Result<()> {
    let config = carry::config(directory, HTTP)?;
    let mut far = Far::connect(address, config, tunnel)?;
    loop {
        let (near, _) = listener.accept()?;
        near.set_nodelay(true)?;
        near.set_nonblocking(true)?;
        far.carry(&near)?;
    }
}

/// Where what comes next belongs.
#[derive(Default)]
struct Parser {
    head: Vec<u8>,
    /// Of the payload behind the head.
    left: usize,
}

impl Parser {
    /// Takes bytes of a head of `whole` bytes; true once it is there.
    fn take(&mut self, bytes: &mut &[u8], whole: usize) -> bool {
        let n = whole.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..n]);
        *bytes = &bytes[n..];
        self.head.len() >= whole
    }
}

struct Far {
    socket: TcpStream,
    tls: UnbufferedClientConnection,
    /// Read and not decrypted: a part of a record.
    input: Vec<u8>,
    filled: usize,
    /// Encrypted, and how much of it is written.
    output: Vec<u8>,
    encrypted: usize,
    written: usize,
    /// For the ids and header blocks of what it opens.
    spdy: spdy::Connection,
    keys: Option<wsstream::MaskKeys>,
    message: Parser,
    frame: Parser,
    /// The one data stream; its payload, and whether it has ended.
    stream: Option<StreamId>,
    ours: bool,
    fin: bool,
    ended: bool,
    down: Vec<u8>,
    delivered: usize,
}

impl Far {
    fn connect(address: SocketAddr, config: ClientConfig, tunnel: bool) -> Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(smooth::NAME)?;
        let mut far = Self {
            socket,
            tls: UnbufferedClientConnection::new(config.into(), name)?,
            input: vec![0; READ + RECORD + 2 * RECORD_OVERHEAD],
            filled: 0,
            output: vec![0; UP + HEADS + 20 * RECORD_OVERHEAD + RECORD],
            encrypted: 0,
            written: 0,
            spdy: spdy::Connection::new(
                spdy::Config::kubernetes(spdy::Role::Client),
                Instant::now(),
            )?,
            keys: None,
            message: Parser::default(),
            frame: Parser::default(),
            stream: None,
            ours: false,
            fin: false,
            ended: false,
            down: Vec::with_capacity(READ + RECORD),
            delivered: 0,
        };
        far.upgrade(tunnel)?;
        far.socket.set_nonblocking(true)?;
        far.keys = tunnel.then(wsstream::MaskKeys::system);
        Ok(far)
    }

    /// TLS and the 101, blocking. Nothing comes behind it before the first frame of ours.
    fn upgrade(&mut self, tunnel: bool) -> Result<()> {
        let fields = if tunnel {
            let opening = wsstream::Opening::new(&[TUNNEL])?;
            let fields = opening.fields().into_iter();
            fields.fold(String::new(), |all, (name, value)| {
                format!("{all}{name}: {value}\r\n")
            })
        } else {
            format!(
                "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {PORT_FORWARD_V1}\r\n"
            )
        };
        let method = if tunnel { "GET" } else { "POST" };
        let name = smooth::NAME;
        let head = format!(
            "{method} /api/v1/namespaces/default/pods/smooth/portforward HTTP/1.1\r\nHost: {name}\r\n{fields}\r\n"
        );
        let mut asked = false;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let can_write = self.decrypt(&mut |bytes| answer.extend_from_slice(bytes))?;
            if can_write && !asked {
                self.encrypt(head.as_bytes())?;
                asked = true;
            }
            let encrypted = std::mem::take(&mut self.encrypted);
            self.socket.write_all(&self.output[..encrypted])?;
            if !answer.ends_with(b"\r\n\r\n") {
                let n = self.socket.read(&mut self.input[self.filled..])?;
                ensure!(n > 0, "the server has closed the connection");
                self.filled += n;
            }
        }
        ensure!(answer.starts_with(b"HTTP/1.1 101 "), "no upgrade");
        Ok(())
    }

    /// Decrypts whole records. True: application data may be sent.
    fn decrypt(&mut self, plain: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let mut at = 0;
        let can_write = loop {
            let incoming = &mut self.input[at..self.filled];
            let status = self.tls.process_tls_records(incoming);
            at += status.discard;
            match status.state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        plain(record?.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    self.encrypted += data.encode(&mut self.output[self.encrypted..])?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(_) => break true,
                ConnectionState::BlockedHandshake => break false,
                _ => bail!("the server has closed the connection"),
            }
        };
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(can_write)
    }

    fn encrypt(&mut self, plain: &[u8]) -> Result<()> {
        let status = self.tls.process_tls_records(&mut []);
        let ConnectionState::WriteTraffic(mut traffic) = status.state? else {
            bail!("TLS lets nothing be sent");
        };
        self.encrypted += traffic.encrypt(plain, &mut self.output[self.encrypted..])?;
        Ok(())
    }

    /// Sends what stands behind the room for the heads in `buffer`, whose SPDY head is there.
    fn send(&mut self, buffer: &mut [u8]) -> Result<()> {
        let Some(keys) = &mut self.keys else {
            return self.encrypt(&buffer[wsstream::MAX_HEAD..]);
        };
        let key = keys.next_key()?;
        wsstream::mask::apply(key, 0, &mut buffer[wsstream::MAX_HEAD..]);
        let head = wsstream::Head {
            fin: true,
            opcode: wsstream::Opcode::Binary,
            mask: Some(key),
            length: (buffer.len() - wsstream::MAX_HEAD) as u64,
        };
        let (head, n) = head.encode();
        let begin = wsstream::MAX_HEAD - n;
        buffer[begin..wsstream::MAX_HEAD].copy_from_slice(&head[..n]);
        self.encrypt(&buffer[begin..])
    }

    /// Sends a DATA frame whose payload stands behind the room for its heads.
    fn data(&mut self, buffer: &mut [u8], fin: bool) -> Result<()> {
        let id = self.stream.context("no stream")?.get();
        let length = u32::try_from(buffer.len() - HEADS)? | u32::from(fin) << 24;
        buffer[wsstream::MAX_HEAD..][..4].copy_from_slice(&id.to_be_bytes());
        buffer[wsstream::MAX_HEAD + 4..][..4].copy_from_slice(&length.to_be_bytes());
        self.send(buffer)
    }

    fn open(&mut self) -> Result<()> {
        let error = Label::headers(StreamType::Error, 7000, 0);
        self.spdy.open(&error, true)?;
        let data = Label::headers(StreamType::Data, 7000, 0);
        self.stream = Some(self.spdy.open(&data, false)?);
        let outgoing = self.spdy.outgoing();
        let mut frames = vec![0; wsstream::MAX_HEAD + outgoing.remaining()];
        outgoing.copy_to_slice(&mut frames[wsstream::MAX_HEAD..]);
        (self.ended, self.delivered) = (false, 0);
        self.down.clear();
        self.send(&mut frames)
    }

    /// What came: `down` gets the payload of the data stream.
    fn receive(&mut self) -> Result<()> {
        // Taken out, so that decrypting may borrow the rest.
        let mut message = std::mem::take(&mut self.message);
        let mut frame = std::mem::take(&mut self.frame);
        let mut down = std::mem::take(&mut self.down);
        let (tunnel, stream) = (self.keys.is_some(), self.stream.map(StreamId::get));
        let (mut ours, mut fin, mut ended) = (self.ours, self.fin, self.ended);
        let mut wrong = None;
        self.decrypt(&mut |mut bytes| {
            while !bytes.is_empty() {
                let mut piece = bytes.len();
                if tunnel {
                    if message.left == 0 {
                        // A server's head has no mask: 2, 4 or 10 bytes.
                        let whole = match message.head.get(1).map(|byte| byte & 0x7f) {
                            Some(126) => 4,
                            Some(127) => 10,
                            _ => 2,
                        };
                        if !message.take(&mut bytes, whole) || whole == 2 && message.head[1] > 125 {
                            continue;
                        }
                        if message.head[0] & 0x0f > 2 {
                            wrong = Some("a message of control");
                        }
                        message.left = match &message.head[2..] {
                            [] => usize::from(message.head[1]),
                            length => length
                                .iter()
                                .fold(0, |all, byte| all << 8 | usize::from(*byte)),
                        };
                        message.head.clear();
                    }
                    piece = bytes.len().min(message.left);
                    message.left -= piece;
                }
                let mut inner = &bytes[..piece];
                bytes = &bytes[piece..];
                while !inner.is_empty() {
                    if frame.left == 0 {
                        if !frame.take(&mut inner, 8) {
                            continue;
                        }
                        let word = |at: usize| {
                            let word = frame.head[at..at + 4].iter();
                            word.fold(0, |all, byte| all << 8 | u32::from(*byte))
                        };
                        // RST_STREAM and GOAWAY.
                        if matches!(word(0), 0x8003_0003 | 0x8003_0007) {
                            wrong = Some("the stream or the session has ended");
                        }
                        ours = Some(word(0)) == stream;
                        fin = ours && frame.head[4] & 1 > 0;
                        frame.left = (word(4) & 0x00ff_ffff) as usize;
                        frame.head.clear();
                    }
                    let n = frame.left.min(inner.len());
                    if ours {
                        down.extend_from_slice(&inner[..n]);
                    }
                    inner = &inner[n..];
                    frame.left -= n;
                    ended |= fin && frame.left == 0;
                }
            }
        })?;
        (self.message, self.frame, self.down) = (message, frame, down);
        (self.ours, self.fin, self.ended) = (ours, fin, ended);
        wrong.map_or(Ok(()), |what| bail!(what))
    }

    /// One connection, to its end in both directions.
    fn carry(&mut self, mut near: &TcpStream) -> Result<()> {
        self.open()?;
        let mut up = vec![0; HEADS + UP];
        let (mut near_in, mut near_out, mut far_in, mut far_out) = (true, true, true, true);
        let (mut up_over, mut told) = (false, false);
        loop {
            if far_in && self.down.is_empty() {
                let room = self.input.len() - self.filled;
                if let Some(n) = ready(self.socket.read(&mut self.input[self.filled..]))? {
                    ensure!(n > 0, "the server has closed the connection");
                    far_in = n == room;
                    self.filled += n;
                    self.receive()?;
                } else {
                    far_in = false;
                }
            }
            if near_out && !self.down.is_empty() {
                let n = ready(near.write(&self.down[self.delivered..]))?.unwrap_or(0);
                self.delivered += n;
                near_out = self.delivered == self.down.len();
                if near_out {
                    self.down.clear();
                    self.delivered = 0;
                }
            }
            if self.ended && self.down.is_empty() && !told {
                near.shutdown(Shutdown::Write)?;
                told = true;
            }
            if near_in && !up_over && self.encrypted == 0 {
                match ready(near.read(&mut up[HEADS..]))? {
                    None => near_in = false,
                    Some(n) => {
                        near_in = n == UP;
                        up_over = n == 0;
                        self.data(&mut up[..HEADS + n], up_over)?;
                    }
                }
            }
            if far_out && self.encrypted > 0 {
                let left = &self.output[self.written..self.encrypted];
                self.written += ready(self.socket.write(left))?.unwrap_or(0);
                far_out = self.written == self.encrypted;
                if far_out {
                    (self.written, self.encrypted) = (0, 0);
                }
            }
            if told && up_over && self.encrypted == 0 {
                return Ok(());
            }
            let (up_wanted, down_wanted) = (!up_over && self.encrypted == 0, self.down.is_empty());
            if near_in && up_wanted || far_in && down_wanted {
                continue;
            }
            let [near_has, far_has] = carry::wait([
                (near.as_fd(), (up_wanted, !down_wanted)),
                (self.socket.as_fd(), (down_wanted, self.encrypted > 0)),
            ])?;
            near_in |= near_has.0;
            near_out |= near_has.1;
            far_in |= far_has.0;
            far_out |= far_has.1;
        }
    }
}
