//! What a stream does, at either end, and what has come of it.

use std::{collections::VecDeque, fmt, sync::LazyLock};

use bytes::Bytes;
use ring::digest::{Context, SHA256};
use spdy::{HeaderBlock, RstStatus};

use crate::frames::hex;

/// What happens with what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// It is counted and summed.
    Take,
    /// It is sent back, and FIN after FIN.
    Echo,
    /// After FIN its sum is sent, and FIN.
    Sum,
    /// After FIN its sum is kept for another stream to tell.
    Remember,
    /// A HEADERS frame is sent back, and FIN.
    HeadersEcho,
}

/// Something to send.
enum Piece {
    Bytes(Bytes),
    Pattern { at: u64, left: u64 },
}

/// How what is sent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    No,
    Fin,
    Reset(RstStatus),
    Done,
}

/// One end of a stream.
pub(crate) struct Channel {
    pub(crate) does: Does,
    /// The block of the peer's answer.
    pub(crate) replied: Option<HeaderBlock>,
    /// Its HEADERS frames.
    pub(crate) more: Vec<HeaderBlock>,
    pub(crate) received: u64,
    /// The first of it.
    pub(crate) text: Vec<u8>,
    pub(crate) fin: bool,
    pub(crate) reset: Option<RstStatus>,
    sum: Context,
    out: VecDeque<Piece>,
    end: End,
}

/// Bytes of a piece of a pattern.
const PIECE: u64 = 32 << 10;
/// More of what arrives is not kept, only summed.
const KEPT: usize = 64;

/// Byte i of what every source sends is i % 251; this is enough of it for any start.
static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    (0..PIECE + 251)
        .map(|i| u8::try_from(i % 251).unwrap_or(0))
        .collect()
});

fn pattern(at: u64, n: u64) -> Bytes {
    let start = usize::try_from(at % 251).unwrap_or(0);
    let n = usize::try_from(n.min(PIECE)).unwrap_or(0);
    PATTERN.slice(start..start + n)
}

/// SHA-256 of the first `n` bytes that a source sends.
pub(crate) fn pattern_sum(n: u64) -> String {
    let (mut sum, mut at) = (Context::new(&SHA256), 0);
    while at < n {
        let piece = pattern(at, n - at);
        at += piece.len() as u64;
        sum.update(&piece);
    }
    hex(sum.finish().as_ref())
}

impl Channel {
    pub(crate) fn new(does: Does) -> Self {
        Self {
            does,
            replied: None,
            more: Vec::new(),
            received: 0,
            text: Vec::new(),
            fin: false,
            reset: None,
            sum: Context::new(&SHA256),
            out: VecDeque::new(),
            end: End::No,
        }
    }

    pub(crate) fn send(&mut self, bytes: Bytes) {
        self.out.push_back(Piece::Bytes(bytes));
    }

    /// Sends a source's bytes.
    pub(crate) fn send_pattern(&mut self, length: u64) {
        self.out.push_back(Piece::Pattern {
            at: 0,
            left: length,
        });
    }

    /// FIN follows what is to be sent.
    pub(crate) fn end(&mut self) {
        if self.end == End::No {
            self.end = End::Fin;
        }
    }

    /// RST_STREAM follows what is to be sent.
    pub(crate) fn reset_after(&mut self, status: RstStatus) {
        self.end = End::Reset(status);
    }

    pub(crate) fn drop_output(&mut self) {
        self.out.clear();
        self.end = End::Done;
    }

    /// The reset that is due now that all is sent.
    pub(crate) fn reset_due(&mut self) -> Option<RstStatus> {
        match self.end {
            End::Reset(status) if self.out.is_empty() => {
                self.end = End::Done;
                Some(status)
            }
            _ => None,
        }
    }

    /// What to send next, and whether FIN goes with it.
    pub(crate) fn next_piece(&self) -> Option<(Bytes, bool)> {
        let fin = self.end == End::Fin && self.out.len() <= 1;
        match self.out.front() {
            Some(Piece::Bytes(bytes)) => Some((bytes.clone(), fin)),
            Some(Piece::Pattern { at, left }) if *left > 0 => {
                Some((pattern(*at, *left), fin && *left <= PIECE))
            }
            Some(Piece::Pattern { .. }) | None => fin.then(|| (Bytes::new(), true)),
        }
    }

    /// So much of the next piece has been taken; `fin`: FIN too.
    pub(crate) fn sent(&mut self, n: usize, fin: bool) {
        let empty = match self.out.front_mut() {
            Some(Piece::Bytes(bytes)) => {
                drop(bytes.split_to(n));
                bytes.is_empty()
            }
            Some(Piece::Pattern { at, left }) => {
                *at += n as u64;
                *left -= n as u64;
                *left == 0
            }
            None => false,
        };
        if empty {
            self.out.pop_front();
        }
        if fin {
            self.end = End::Done;
        }
    }

    /// Something has arrived.
    pub(crate) fn take(&mut self, payload: Bytes, fin: bool) {
        self.received += payload.len() as u64;
        self.sum.update(&payload);
        let room = KEPT.saturating_sub(self.text.len()).min(payload.len());
        self.text.extend_from_slice(&payload[..room]);
        self.fin |= fin;
        if self.does == Does::Echo && !payload.is_empty() {
            self.send(payload);
        }
    }

    /// SHA-256 of what has arrived.
    pub(crate) fn sum(&self) -> String {
        hex(self.sum.clone().finish().as_ref())
    }

    /// Goes on after something has arrived; gives the sum to be remembered.
    pub(crate) fn on_progress(&mut self) -> Option<String> {
        if !self.fin {
            return None;
        }
        match self.does {
            Does::Remember => return Some(self.sum()),
            Does::Sum if self.end == End::No => self.send(Bytes::from(self.sum())),
            Does::Echo if self.end == End::No => {}
            _ => return None,
        }
        self.end();
        None
    }

    /// Both directions have ended.
    pub(crate) fn is_over(&self) -> bool {
        self.reset.is_some() || self.fin && self.end == End::Done
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}: got {}, fin {}, reset {:?}, {} pieces to send, end {:?}",
            self.does,
            self.received,
            self.fin,
            self.reset,
            self.out.len(),
            self.end
        )
    }
}
