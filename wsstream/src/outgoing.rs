use crate::frame::{Head, MAX_HEAD};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;

/// Frames waiting to be written: a [`Buf`] of two lanes. Pings and pongs go before data, but never
/// into the middle of a frame; Close goes behind everything.
#[derive(Default)]
pub struct Outgoing {
    control: VecDeque<Frame>,
    data: VecDeque<Frame>,
    len: usize,
    /// Part of the first frame of `data` (`true`) or `control` (`false`) has left.
    begun: Option<bool>,
    /// Pongs in `control`.
    pongs: usize,
}

struct Frame {
    /// And a channel byte, which saves copying the payload behind it.
    head: [u8; MAX_HEAD + 1],
    start: usize,
    end: usize,
    payload: Bytes,
    pong: bool,
}

impl Frame {
    fn head(&self) -> &[u8] {
        self.head.get(self.start..self.end).unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.head().len().saturating_add(self.payload.len())
    }

    /// Consumes at most `n` bytes; how many.
    fn advance(&mut self, n: usize) -> usize {
        let of_head = n.min(self.head().len());
        self.start = self.start.saturating_add(of_head);
        let of_payload = n.saturating_sub(of_head).min(self.payload.len());
        self.payload.advance(of_payload);
        of_head.saturating_add(of_payload)
    }
}

impl fmt::Debug for Outgoing {
    /// Never the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("len", &self.len)
            .field(
                "frames",
                &self.control.len().saturating_add(self.data.len()),
            )
            .finish_non_exhaustive()
    }
}

impl Outgoing {
    /// Bytes waiting.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Pongs that wait.
    pub(crate) const fn pongs(&self) -> usize {
        self.pongs
    }

    /// With a byte of payload in front of `payload`, which `head` counts.
    pub(crate) fn push_data(&mut self, head: &Head, prefix: Option<u8>, payload: Bytes) {
        let mut frame = Self::frame(head, payload, false);
        if let (Some(byte), Some(place)) = (prefix, frame.head.get_mut(frame.end)) {
            *place = byte;
            frame.end = frame.end.saturating_add(1);
        }
        self.len = self.len.saturating_add(frame.len());
        self.data.push_back(frame);
    }

    /// A frame whose head is in `bytes` already.
    pub(crate) fn push_whole(&mut self, bytes: Bytes) {
        self.len = self.len.saturating_add(bytes.len());
        self.data.push_back(Frame {
            head: [0; MAX_HEAD + 1],
            start: 0,
            end: 0,
            payload: bytes,
            pong: false,
        });
    }

    pub(crate) fn push_control(&mut self, head: &Head, payload: Bytes, pong: bool) {
        let frame = Self::frame(head, payload, pong);
        self.len = self.len.saturating_add(frame.len());
        self.pongs = self.pongs.saturating_add(usize::from(pong));
        self.control.push_back(frame);
    }

    /// Takes back the pong that was queued last, unless part of it has left: only the latest ping
    /// needs an answer (RFC 6455 §5.5.3).
    pub(crate) fn drop_last_pong(&mut self) {
        let first = usize::from(self.begun == Some(false));
        let Some(at) = self.control.iter().rposition(|frame| frame.pong) else {
            return;
        };
        if at >= first
            && let Some(frame) = self.control.remove(at)
        {
            self.len = self.len.saturating_sub(frame.len());
            self.pongs = self.pongs.saturating_sub(1);
        }
    }

    fn frame(head: &Head, payload: Bytes, pong: bool) -> Frame {
        let (bytes, end) = head.encode();
        let mut room = [0; MAX_HEAD + 1];
        room[..MAX_HEAD].copy_from_slice(&bytes);
        Frame {
            head: room,
            start: 0,
            end,
            payload,
            pong,
        }
    }

    /// Which lane the next byte is from: `true` for data.
    fn lane(&self) -> bool {
        self.begun.unwrap_or(self.control.is_empty())
    }

    /// In the order in which they leave.
    fn frames(&self) -> impl Iterator<Item = &Frame> {
        let begun = match self.begun {
            Some(true) => self.data.front(),
            Some(false) => self.control.front(),
            None => None,
        };
        begun
            .into_iter()
            .chain(
                self.control
                    .iter()
                    .skip(usize::from(self.begun == Some(false))),
            )
            .chain(self.data.iter().skip(usize::from(self.begun == Some(true))))
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        let Some(frame) = self.frames().next() else {
            return &[];
        };
        match frame.head() {
            [] => &frame.payload,
            head => head,
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = self
            .frames()
            .flat_map(|frame| [frame.head(), &frame.payload])
            .filter(|piece| !piece.is_empty());
        let mut n: usize = 0;
        for (slot, piece) in slices.iter_mut().zip(pieces) {
            *slot = IoSlice::new(piece);
            n = n.saturating_add(1);
        }
        n
    }

    /// # Panics
    /// `n` is more than remains, as [`Buf::advance`] says.
    fn advance(&mut self, mut n: usize) {
        assert!(n <= self.len, "advance beyond the end");
        self.len = self.len.saturating_sub(n);
        while n > 0 {
            let data = self.lane();
            let lane = if data {
                &mut self.data
            } else {
                &mut self.control
            };
            let Some(frame) = lane.front_mut() else {
                return;
            };
            n = n.saturating_sub(frame.advance(n));
            if frame.len() > 0 {
                self.begun = Some(data);
                return;
            }
            self.begun = None;
            if lane.pop_front().is_some_and(|frame| frame.pong) {
                self.pongs = self.pongs.saturating_sub(1);
            }
        }
    }
}
