use crate::frame::{self, HEAD_ROOM, Head, Opcode};
use crate::tail::Tail;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;

/// Frames that are copied wait together in one buffer of about this size.
const TAIL: usize = 64 << 10;

/// A buffer for larger frames than these is not kept.
const KEPT: usize = 2 * TAIL;

/// Frames waiting to be written: a [`Buf`] of two lanes. Pings and pongs go before data, but never
/// into the middle of a frame; Close goes behind everything.
///
/// Large unmasked payloads leave without being copied (`write_buf`, [`Buf::chunks_vectored`]); what is
/// masked or small is copied into one buffer, so that many messages are few pieces.
#[derive(Default)]
pub struct Outgoing {
    control: VecDeque<Frame>,
    data: VecDeque<Frame>,
    /// Frames behind `data`, and before them the rest of one of which a part has left.
    tail: Tail,
    len: usize,
    /// Where the piece is of which a part has left, if there is one.
    begun: Option<Lane>,
    /// Pongs in `control`,
    pongs: usize,
    /// and pings.
    pings: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Control,
    Data,
    Tail,
}

struct Frame {
    /// And a channel byte, which saves copying the payload behind it.
    head: [u8; HEAD_ROOM],
    start: u8,
    end: u8,
    /// What it is; `None` for data, Close and a tail.
    control: Option<Opcode>,
    payload: Bytes,
}

impl Frame {
    fn new(head: &Head, payload: Bytes, control: Option<Opcode>) -> Self {
        let (head, end) = head.encode_in_room();
        Self {
            head,
            start: 0,
            end: u8::try_from(end).unwrap_or(0),
            control,
            payload,
        }
    }

    fn head(&self) -> &[u8] {
        let (start, end) = (usize::from(self.start), usize::from(self.end));
        self.head.get(start..end).unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.head().len().saturating_add(self.payload.len())
    }

    /// Consumes at most `n` bytes; how many.
    fn advance(&mut self, n: usize) -> usize {
        let of_head = n.min(self.head().len());
        let short = u8::try_from(of_head).unwrap_or(0);
        self.start = self.start.saturating_add(short);
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

    /// Pings that wait.
    pub(crate) const fn pings(&self) -> usize {
        self.pings
    }

    /// Counts a control frame that has come or gone.
    fn count(&mut self, control: Option<Opcode>, step: fn(usize, usize) -> usize) {
        match control {
            Some(Opcode::Pong) => self.pongs = step(self.pongs, 1),
            Some(Opcode::Ping) => self.pings = step(self.pings, 1),
            _ => {}
        }
    }

    /// A data frame whose payload is not copied, with a byte of payload in front of it, which `head`
    /// counts.
    pub(crate) fn push_data(&mut self, head: &Head, prefix: Option<u8>, payload: Bytes) {
        self.seal();
        let mut frame = Frame::new(head, payload, None);
        if let (Some(byte), Some(place)) = (prefix, frame.head.get_mut(usize::from(frame.end))) {
            *place = byte;
            frame.end = frame.end.saturating_add(1);
        }
        self.len = self.len.saturating_add(frame.len());
        self.data.push_back(frame);
    }

    /// Where a data frame's payload of `n` bytes is to be copied to, behind all that waits. All of
    /// it is to be overwritten. `key` is read as big-endian, and the head no [`Head`], for what [`frame::encode`] says.
    pub(crate) fn copy(
        &mut self,
        opcode: Opcode,
        fin: bool,
        key: Option<u32>,
        n: usize,
    ) -> &mut [u8] {
        let length = u64::try_from(n).unwrap_or(u64::MAX);
        let (bytes, head_len) = frame::encode(opcode, fin, key, length);
        let whole = n.saturating_add(head_len);
        if self.tail.used().saturating_add(whole) > TAIL {
            self.seal();
        }
        self.len = self.len.saturating_add(whole);
        self.tail.append(bytes, head_len, n)
    }

    /// What a write has left over of a data frame, with nothing waiting: `gone` bytes of its head have left,
    /// and of the payload all but `rest`.
    pub(crate) fn push_rest(&mut self, head: &Head, gone: usize, rest: Bytes) {
        self.seal();
        let mut frame = Frame::new(head, rest, None);
        frame.start = u8::try_from(gone).unwrap_or(frame.end).min(frame.end);
        if gone > 0 {
            self.begun = Some(Lane::Data);
        }
        self.len = self.len.saturating_add(frame.len());
        self.data.push_back(frame);
    }

    /// Where the next `n` bytes of a data frame's payload are to be copied to, the first with its `head`; all of it
    /// is to be overwritten. Only for one frame after another with nothing else waiting.
    pub(crate) fn piece(&mut self, head: Option<&Head>, n: usize) -> &mut [u8] {
        let (bytes, head_len) = head.map_or(([0; HEAD_ROOM], 0), Head::encode_in_room);
        self.len = self.len.saturating_add(n).saturating_add(head_len);
        self.tail.append(bytes, head_len, n)
    }

    /// Part of the frame that [`Outgoing::piece`] has made has left: nothing goes before the rest.
    pub(crate) fn begin_tail(&mut self) {
        self.begun = (!self.tail.is_empty()).then_some(Lane::Tail);
    }

    /// What is in the tail becomes one piece of the data lane.
    fn seal(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        self.data.push_back(Frame {
            head: [0; HEAD_ROOM],
            start: 0,
            end: 0,
            control: None,
            payload: self.tail.take(),
        });
        if self.begun == Some(Lane::Tail) {
            // Only with an empty data lane is the tail begun.
            self.begun = Some(Lane::Data);
        }
    }

    /// A ping or a pong.
    pub(crate) fn push_control(&mut self, head: &Head, payload: Bytes, opcode: Opcode) {
        if self.begun == Some(Lane::Tail) {
            // What is appended from now on goes behind it.
            self.seal();
        }
        let frame = Frame::new(head, payload, Some(opcode));
        self.len = self.len.saturating_add(frame.len());
        self.count(frame.control, usize::saturating_add);
        self.control.push_back(frame);
    }

    /// Takes back the pong that was queued last, unless part of it has left: only the latest ping
    /// needs an answer (RFC 6455 §5.5.3).
    pub(crate) fn drop_last_pong(&mut self) {
        let first = usize::from(self.begun == Some(Lane::Control));
        let Some(at) = self
            .control
            .iter()
            .rposition(|frame| frame.control == Some(Opcode::Pong))
        else {
            return;
        };
        if at >= first
            && let Some(frame) = self.control.remove(at)
        {
            self.len = self.len.saturating_sub(frame.len());
            self.count(frame.control, usize::saturating_sub);
        }
    }

    /// Where the next byte is from.
    fn lane(&self) -> Lane {
        self.begun.unwrap_or(if !self.control.is_empty() {
            Lane::Control
        } else if self.data.is_empty() {
            Lane::Tail
        } else {
            Lane::Data
        })
    }

    /// In the order in which they leave, the tail behind all.
    fn frames(&self) -> impl Iterator<Item = &Frame> {
        let begun = match self.begun {
            Some(Lane::Data) => self.data.front(),
            Some(Lane::Control) => self.control.front(),
            _ => None,
        };
        let in_control = usize::from(self.begun == Some(Lane::Control));
        let in_data = usize::from(self.begun == Some(Lane::Data));
        begun
            .into_iter()
            .chain(self.control.iter().skip(in_control))
            .chain(self.data.iter().skip(in_data))
    }
}

impl Buf for Outgoing {
    #[inline]
    fn remaining(&self) -> usize {
        self.len
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        let frame = match self.lane() {
            Lane::Tail => return self.tail.bytes(),
            Lane::Control => self.control.front(),
            Lane::Data => self.data.front(),
        };
        match frame {
            None => &[],
            Some(frame) if frame.head().is_empty() => &frame.payload,
            Some(frame) => frame.head(),
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        if self.lane() == Lane::Tail {
            // A tail that is begun has nothing beside it: see `push_control`.
            return match slices.first_mut() {
                Some(slot) if !self.tail.is_empty() => {
                    *slot = IoSlice::new(self.tail.bytes());
                    1
                }
                _ => 0,
            };
        }
        let room = slices.len();
        let mut slots = slices.iter_mut();
        // Whether there is room for more.
        let mut put = |piece: &'a [u8]| {
            if !piece.is_empty()
                && let Some(slot) = slots.next()
            {
                *slot = IoSlice::new(piece);
            }
            slots.len() > 0
        };
        if self
            .frames()
            .all(|frame| put(frame.head()) && put(&frame.payload))
        {
            put(self.tail.bytes());
        }
        room.saturating_sub(slots.len())
    }

    /// # Panics
    /// `n` is more than remains, as [`Buf::advance`] says.
    #[inline]
    fn advance(&mut self, n: usize) {
        assert!(n <= self.len, "advance beyond the end");
        self.len = self.len.saturating_sub(n);
        if n > 0 && self.lane() == Lane::Tail {
            self.advance_tail(n);
        } else {
            self.advance_frames(n);
        }
    }
}

impl Outgoing {
    #[inline]
    fn advance_tail(&mut self, n: usize) {
        self.tail.advance(n, KEPT);
        self.begin_tail();
    }

    fn advance_frames(&mut self, mut n: usize) {
        while n > 0 {
            let lane = self.lane();
            let queue = match lane {
                Lane::Control => &mut self.control,
                Lane::Data => &mut self.data,
                Lane::Tail => return self.advance_tail(n),
            };
            let Some(frame) = queue.front_mut() else {
                return;
            };
            n = n.saturating_sub(frame.advance(n));
            if frame.len() > 0 {
                self.begun = Some(lane);
                return;
            }
            self.begun = None;
            if let Some(frame) = queue.pop_front() {
                self.count(frame.control, usize::saturating_sub);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(opcode: Opcode, n: usize) -> Head {
        Head {
            fin: true,
            opcode,
            mask: None,
            length: u64::try_from(n).unwrap(),
        }
    }

    fn copy(out: &mut Outgoing, payload: &[u8]) {
        let n = payload.len();
        out.copy(Opcode::Binary, true, None, n)
            .copy_from_slice(payload);
    }

    fn all(out: &mut Outgoing) -> Vec<u8> {
        let n = out.remaining();
        out.copy_to_bytes(n).to_vec()
    }

    /// A control frame goes between frames, also when the frames wait in one buffer and part of it
    /// has left, and what is copied later goes behind it.
    #[test]
    fn control_frames_and_a_tail_that_has_begun() {
        let mut out = Outgoing::default();
        copy(&mut out, b"one");
        copy(&mut out, b"two");
        let mut seen = out.copy_to_bytes(1).to_vec();
        out.push_control(
            &head(Opcode::Ping, 1),
            Bytes::from_static(b"p"),
            Opcode::Ping,
        );
        copy(&mut out, b"three");
        out.push_data(&head(Opcode::Binary, 4), None, Bytes::from_static(b"four"));
        copy(&mut out, b"five");
        assert_eq!(out.remaining(), out.len());
        let mut slices = [IoSlice::new(&[]); 16];
        let n = out.chunks_vectored(&mut slices);
        let joined: Vec<u8> = slices[..n].iter().flat_map(|s| s.iter().copied()).collect();
        seen.extend(all(&mut out));
        let expected = b"\x82\x03one\x82\x03two\x89\x01p\x82\x05three\x82\x04four\x82\x04five";
        assert_eq!(seen, expected);
        assert_eq!(joined, expected[1..]);
        assert!(out.is_empty() && out.chunk().is_empty());
        // Before anything has left, it goes first.
        copy(&mut out, b"x");
        out.push_control(&head(Opcode::Ping, 0), Bytes::new(), Opcode::Pong);
        assert_eq!(out.pongs(), 1);
        assert_eq!(all(&mut out), b"\x89\x00\x82\x01x");
        assert_eq!(out.pongs(), 0);
    }

    #[test]
    fn the_tail_is_cut_into_pieces_and_its_room_is_used_again() {
        let mut out = Outgoing::default();
        let payload = [7; 1000];
        for _ in 0..200 {
            copy(&mut out, &payload);
        }
        assert_eq!(out.data.len(), 3);
        let n = out.remaining();
        out.advance(n);
        for _ in 0..1000 {
            copy(&mut out, &payload);
            let n = out.remaining();
            out.advance(n);
        }
        assert!(out.tail.capacity() <= KEPT, "{}", out.tail.capacity());
        // A large one's buffer goes with it.
        copy(&mut out, &vec![7; 4 << 20]);
        let n = out.remaining();
        out.advance(n);
        copy(&mut out, b"x");
        assert!(out.tail.capacity() <= KEPT, "{}", out.tail.capacity());
    }

    #[test]
    #[should_panic(expected = "advance beyond the end")]
    fn no_further_than_the_end() {
        Outgoing::default().advance(1);
    }
}
