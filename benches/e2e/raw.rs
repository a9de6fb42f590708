//! The best record layer: what TLS costs a relay at the least. rustls for the handshake; after it records are
//! opened and sealed in place by ring, and go from the buffer they were read into to the other socket.
//!
//! TLS 1.3 with AES-GCM, poll(2), one local connection at a time. No session tickets, no change of keys, no alert but
//! close_notify: it is a yardstick and no product.

use crate::carry;
use crate::smooth;
use anyhow::{Context, Result, bail, ensure};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::ConnectionState;
use rustls::{ConnectionTrafficSecrets, ProtocolVersion};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

/// Payload of a record, its head, and what is behind the payload: the type and the tag.
const PAYLOAD: usize = 16 << 10;
const HEAD: usize = 5;
const TAIL: usize = 17;
const RECORD: usize = HEAD + PAYLOAD + TAIL;
/// Records that are read and written at a time.
const RECORDS: usize = 16;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

/// Carries what connects to `listener`, one after the other, for ever.
pub(crate) fn run(listener: &TcpListener, address: SocketAddr, directory: &Path) -> Result<()> {
    let mut config = carry::config(directory, smooth::RAW)?;
    config.enable_secret_extraction = true;
    let config = Arc::new(config);
    loop {
        let (near, _) = listener.accept()?;
        near.set_nodelay(true)?;
        near.set_nonblocking(true)?;
        let name = ServerName::try_from(smooth::NAME)?;
        let tls = UnbufferedClientConnection::new(Arc::clone(&config), name)?;
        Relay::connect(address, tls)?.carry(&near)?;
    }
}

/// One direction's key.
struct Key {
    aead: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Key {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            _ => bail!("the server has chosen another cipher than AES-GCM"),
        };
        let key = UnboundKey::new(algorithm, key.as_ref())
            .ok()
            .context("no key")?;
        Ok(Self {
            aead: LessSafeKey::new(key),
            iv: iv.as_ref().try_into()?,
            sequence,
        })
    }

    /// RFC 8446 5.3.
    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    /// Opens what stands behind a record's head; the type within, and the payload's length.
    fn open(&mut self, head: [u8; HEAD], body: &mut [u8]) -> Result<(u8, usize)> {
        let nonce = self.nonce();
        let opened = self.aead.open_in_place(nonce, Aad::from(head), body);
        let plain = opened.ok().context("a record that is not sealed so")?;
        let last = plain.iter().rposition(|byte| *byte != 0);
        let last = last.context("a record without type")?;
        Ok((plain[last], last))
    }

    /// Makes a record of the `n` bytes behind the room for its head; its length.
    fn seal(&mut self, record: &mut [u8], n: usize, kind: u8) -> Result<usize> {
        let length = u16::try_from(n + TAIL)?.to_be_bytes();
        let head = [DATA, 3, 3, length[0], length[1]];
        record[..HEAD].copy_from_slice(&head);
        record[HEAD + n] = kind;
        let nonce = self.nonce();
        let (plain, tag) = record[HEAD..].split_at_mut(n + 1);
        let sealed = self
            .aead
            .seal_in_place_separate_tag(nonce, Aad::from(head), plain);
        let sealed = sealed.ok().context("cannot seal")?;
        tag[..sealed.as_ref().len()].copy_from_slice(sealed.as_ref());
        Ok(HEAD + n + TAIL)
    }
}

struct Relay {
    far: TcpStream,
    receive: Key,
    send: Key,
    /// Read; the records before `opened` are opened, and payloads of theirs wait for the local socket.
    input: Vec<u8>,
    filled: usize,
    opened: usize,
    payloads: Vec<Range<usize>>,
    /// Sealed, and how much of it is written.
    output: Vec<u8>,
    sealed: usize,
    written: usize,
    /// The server has said close_notify.
    ended: bool,
}

impl Relay {
    /// The handshake, blocking.
    fn connect(address: SocketAddr, mut tls: UnbufferedClientConnection) -> Result<Self> {
        let mut far = TcpStream::connect(address)?;
        far.set_nodelay(true)?;
        let mut input = vec![0; RECORDS * RECORD];
        let mut output = vec![0; RECORDS * RECORD];
        let (mut filled, mut encoded) = (0, 0);
        loop {
            let status = tls.process_tls_records(&mut input[..filled]);
            let discard = status.discard;
            let (mut done, mut blocked) = (false, false);
            match status.state? {
                ConnectionState::EncodeTlsData(mut data) => {
                    encoded += data.encode(&mut output[encoded..])?;
                }
                ConnectionState::TransmitTlsData(data) => {
                    far.write_all(&output[..std::mem::take(&mut encoded)])?;
                    data.done();
                }
                ConnectionState::BlockedHandshake => blocked = true,
                ConnectionState::WriteTraffic(_) => done = true,
                _ => bail!("the server has closed the connection"),
            }
            input.copy_within(discard..filled, 0);
            filled -= discard;
            if done {
                break;
            }
            if blocked {
                let n = far.read(&mut input[filled..])?;
                ensure!(n > 0, "the server has closed the connection");
                filled += n;
            }
        }
        ensure!(
            tls.protocol_version() == Some(ProtocolVersion::TLSv1_3),
            "the server speaks no TLS 1.3"
        );
        let (secrets, _) = tls.dangerous_into_kernel_connection()?;
        far.set_nonblocking(true)?;
        Ok(Self {
            far,
            receive: Key::new(secrets.rx)?,
            send: Key::new(secrets.tx)?,
            input,
            filled,
            opened: 0,
            payloads: Vec::with_capacity(RECORDS),
            output,
            sealed: 0,
            written: 0,
            ended: false,
        })
    }

    /// Opens what is there of whole records.
    fn open(&mut self) -> Result<()> {
        while let Some(&[kind, major, minor, high, low]) = self
            .input
            .get(self.opened..self.opened + HEAD)
            .filter(|_| self.opened + HEAD <= self.filled)
        {
            let begin = self.opened + HEAD;
            let end = begin + usize::from(u16::from_be_bytes([high, low]));
            if end > self.filled {
                break;
            }
            ensure!(kind == DATA, "a record that is not sealed");
            let head = [kind, major, minor, high, low];
            let (kind, n) = self.receive.open(head, &mut self.input[begin..end])?;
            match (kind, &self.input[begin..begin + n]) {
                (DATA, _) => self.payloads.push(begin..begin + n),
                // A session ticket.
                (HANDSHAKE, [4, ..]) => {}
                (ALERT, alert) if alert == CLOSE_NOTIFY => self.ended = true,
                _ => bail!("a record of type {kind}"),
            }
            self.opened = end;
        }
        if self.payloads.is_empty() {
            self.forget();
        }
        Ok(())
    }

    /// All payloads are delivered: what is left of a record goes to the front.
    fn forget(&mut self) {
        self.input.copy_within(self.opened..self.filled, 0);
        self.filled -= std::mem::take(&mut self.opened);
    }

    /// Writes payloads to the local socket; false if it takes no more.
    fn deliver(&mut self, mut near: &TcpStream) -> Result<bool> {
        let slices: Vec<IoSlice<'_>> = self
            .payloads
            .iter()
            .map(|range| IoSlice::new(&self.input[range.clone()]))
            .collect();
        let Some(mut n) = carry::ready(near.write_vectored(&slices))? else {
            return Ok(false);
        };
        self.payloads.retain_mut(|range| {
            let taken = n.min(range.len());
            range.start += taken;
            n -= taken;
            range.start < range.end
        });
        if self.payloads.is_empty() {
            self.forget();
        }
        Ok(self.payloads.is_empty())
    }

    /// Reads from the local socket into records, and seals them. None: nothing there; 0: the end.
    fn take(&mut self, mut near: &TcpStream) -> Result<Option<usize>> {
        let mut rooms: Vec<IoSliceMut<'_>> = self
            .output
            .chunks_exact_mut(RECORD)
            .map(|record| IoSliceMut::new(&mut record[HEAD..HEAD + PAYLOAD]))
            .collect();
        let Some(n) = carry::ready(near.read_vectored(&mut rooms))? else {
            return Ok(None);
        };
        let mut left = n;
        for record in self.output.chunks_exact_mut(RECORD) {
            if left == 0 {
                break;
            }
            let part = left.min(PAYLOAD);
            self.sealed += self.send.seal(record, part, DATA)?;
            left -= part;
        }
        if n == 0 {
            self.output[HEAD..HEAD + 2].copy_from_slice(&CLOSE_NOTIFY);
            self.sealed = self.send.seal(&mut self.output[..RECORD], 2, ALERT)?;
        }
        Ok(Some(n))
    }

    fn carry(mut self, near: &TcpStream) -> Result<()> {
        let (mut near_in, mut near_out, mut far_in, mut far_out) = (true, true, true, true);
        let (mut up_over, mut said, mut told) = (false, false, false);
        self.open()?;
        loop {
            if far_in && self.payloads.is_empty() && !self.ended {
                let room = self.input.len() - self.filled;
                match carry::ready(self.far.read(&mut self.input[self.filled..]))? {
                    None => far_in = false,
                    Some(n) => {
                        ensure!(n > 0, "the server has closed the connection");
                        far_in = n == room;
                        self.filled += n;
                        self.open()?;
                    }
                }
            }
            if near_out && !self.payloads.is_empty() {
                near_out = self.deliver(near)?;
            }
            if self.ended && self.payloads.is_empty() && !told {
                near.shutdown(Shutdown::Write)?;
                told = true;
            }
            if near_in && !up_over && self.sealed == 0 {
                match self.take(near)? {
                    None => near_in = false,
                    Some(n) => {
                        near_in = n == RECORDS * PAYLOAD;
                        up_over = n == 0;
                    }
                }
            }
            if far_out && self.sealed > 0 {
                let left = &self.output[self.written..self.sealed];
                self.written += carry::ready(self.far.write(left))?.unwrap_or(0);
                far_out = self.written == self.sealed;
                if far_out {
                    (self.written, self.sealed) = (0, 0);
                }
            }
            if up_over && self.sealed == 0 && !said {
                self.far.shutdown(Shutdown::Write)?;
                said = true;
            }
            if told && said {
                return Ok(());
            }
            let (up_wanted, down_wanted) = (
                !up_over && self.sealed == 0,
                !self.ended && self.payloads.is_empty(),
            );
            if near_in && up_wanted || far_in && down_wanted {
                continue;
            }
            let [near_has, far_has] = carry::wait([
                (near.as_fd(), (up_wanted, !self.payloads.is_empty())),
                (self.far.as_fd(), (down_wanted, self.sealed > 0)),
            ])?;
            near_in |= near_has.0;
            near_out |= near_has.1;
            far_in |= far_has.0;
            far_out |= far_has.1;
        }
    }
}
