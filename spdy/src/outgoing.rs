use crate::frame::HEAD;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;

/// An empty control lane keeps no more room than this.
const KEEP: usize = 4 << 10;

/// Who made us write a control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The caller.
    Ours,
    /// The peer, by opening streams and sending on them: SYN_REPLY, our resets of its streams, credit.
    Stream,
    /// The peer, by what can only be answered: PONGs, resets because of errors.
    Provoked,
}

/// Control frames by [`Cause`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) ours: usize,
    pub(crate) stream: usize,
    pub(crate) provoked: usize,
}

impl Waiting {
    fn of(&mut self, cause: Cause) -> &mut usize {
        match cause {
            Cause::Ours => &mut self.ours,
            Cause::Stream => &mut self.stream,
            Cause::Provoked => &mut self.provoked,
        }
    }
}

/// Bytes waiting to be written: a [`Buf`] of two lanes. Control frames go before DATA, but never
/// into the middle of a frame, and nothing overtakes the DATA of its own stream.
///
/// With `write_buf` (or [`Buf::chunks_vectored`]) the payloads leave without being copied.
#[derive(Default)]
pub struct Outgoing {
    /// Whole control frames, one behind the other; of the first, part may have left.
    control: BytesMut,
    /// How much of each is left, and why it is there.
    control_frames: VecDeque<(usize, Cause)>,
    data: VecDeque<Frame>,
    data_len: usize,
    /// Part of the first frame of `data` has left: the rest goes before everything.
    begun: bool,
    /// Frames that have left the data lane.
    data_left: u64,
    /// Entries of `control_frames`.
    waiting: Waiting,
    /// Nothing is taken any more.
    ended: bool,
}

/// One DATA frame, or a control frame that must stay behind DATA.
struct Frame {
    payload: Bytes,
    head: [u8; HEAD],
    /// Bytes of the head that have left.
    head_left: u8,
}

impl Frame {
    #[inline]
    fn head(&self) -> &[u8] {
        let rest = self.head.get(usize::from(self.head_left)..);
        rest.unwrap_or_default()
    }

    #[inline]
    fn len(&self) -> usize {
        self.head().len().saturating_add(self.payload.len())
    }

    /// Consumes `n` bytes, fewer than it has.
    fn advance(&mut self, n: usize) {
        let of_head = n.min(self.head().len());
        let short = u8::try_from(of_head).unwrap_or(u8::MAX);
        self.head_left = self.head_left.saturating_add(short);
        let of_payload = n.saturating_sub(of_head).min(self.payload.len());
        self.payload.advance(of_payload);
    }

    fn slices(&self) -> [&[u8]; 2] {
        [self.head(), &self.payload]
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl Outgoing {
    /// Where control frames in front of all DATA are written; announce each with
    /// [`Outgoing::end_control`].
    pub(crate) fn control(&mut self) -> &mut BytesMut {
        &mut self.control
    }

    /// A control frame of `len` bytes was appended.
    pub(crate) fn end_control(&mut self, len: usize, cause: Cause) {
        if self.ended {
            self.control.clear();
            return;
        }
        let waiting = self.waiting.of(cause);
        *waiting = waiting.saturating_add(1);
        self.control_frames.push_back((len, cause));
    }

    /// Drops what waits, as if it had left, and from now on everything.
    pub(crate) fn end(&mut self) {
        let dropped = u64::try_from(self.data.len()).unwrap_or(u64::MAX);
        *self = Self {
            data_left: self.data_left.saturating_add(dropped),
            ended: true,
            ..Self::default()
        };
    }

    /// Control frames waiting.
    pub(crate) fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Queues a DATA frame; returns its number, for [`Outgoing::has_left`].
    ///
    /// The one caller of `push_back`, so that the frame is written where it stays: through the stack,
    /// reading back what was just written in other pieces would cost more than all the rest.
    #[inline(never)]
    pub(crate) fn push_data(&mut self, head: [u8; HEAD], payload: Bytes) -> u64 {
        if self.ended {
            self.data_left = self.data_left.saturating_add(1);
            return self.data_left;
        }
        let len = HEAD.saturating_add(payload.len());
        self.data_len = self.data_len.saturating_add(len);
        self.data.push_back(Frame {
            payload,
            head,
            head_left: 0,
        });
        let waiting = u64::try_from(self.data.len()).unwrap_or(u64::MAX);
        self.data_left.saturating_add(waiting)
    }

    /// Queues a control frame behind everything queued so far.
    pub(crate) fn push_last(&mut self, frame: &[u8]) {
        debug_assert!(frame.len() >= HEAD, "a whole frame");
        if let Some((head, rest)) = frame.split_first_chunk() {
            self.push_data(*head, Bytes::copy_from_slice(rest));
        }
    }

    /// Whether the frame of this number has left entirely; 0 has.
    pub(crate) fn has_left(&self, number: u64) -> bool {
        number <= self.data_left
    }

    /// Bytes of DATA frames waiting.
    pub(crate) fn data_len(&self) -> usize {
        self.data_len
    }

    /// Bytes waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.control.len().saturating_add(self.data_len)
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is written next, in order, before anything is consumed.
    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let begun = usize::from(self.begun);
        let data = |skip, take| {
            let frames = self.data.iter().skip(skip).take(take);
            frames.flat_map(Frame::slices)
        };
        data(0, begun)
            .chain([self.control.as_ref()])
            .chain(data(begun, usize::MAX))
            .filter(|s| !s.is_empty())
    }

    /// Consumes of the first frame what `n` covers; returns how much.
    #[inline]
    fn advance_first(&mut self, n: usize) -> usize {
        let Some(frame) = self.data.front_mut() else {
            return 0;
        };
        let len = frame.len();
        let had = n.min(len);
        self.begun = had < len;
        if self.begun {
            frame.advance(had);
        } else {
            self.data.pop_front();
            self.data_left = self.data_left.saturating_add(1);
        }
        self.data_len = self.data_len.saturating_sub(had);
        had
    }

    fn advance_control(&mut self, n: usize) -> usize {
        let had = n.min(self.control.len());
        self.control.advance(had);
        let mut left = had;
        while let Some((len, cause)) = self.control_frames.front_mut() {
            if *len > left {
                *len = len.saturating_sub(left);
                break;
            }
            left = left.saturating_sub(*len);
            let waiting = self.waiting.of(*cause);
            *waiting = waiting.saturating_sub(1);
            self.control_frames.pop_front();
        }
        // What has been consumed does not show in its capacity.
        if self.control.is_empty() && self.control.try_reclaim(KEEP.saturating_add(1)) {
            self.control = BytesMut::new();
            self.control_frames = VecDeque::new();
        }
        had
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self.slices().next().unwrap_or_default()
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let len = dst.len();
        let mut room = dst.iter_mut();
        let mut put = |slice: &'a [u8]| {
            if slice.is_empty() {
                return true;
            }
            room.next().map(|to| *to = IoSlice::new(slice)).is_some()
        };
        let mut frames = self.data.iter();
        let first = if self.begun { frames.next() } else { None };
        let _all = first.is_none_or(|frame| put(frame.head()) && put(&frame.payload))
            && put(&self.control)
            && frames.all(|frame| put(frame.head()) && put(&frame.payload));
        len.saturating_sub(room.len())
    }

    fn advance(&mut self, mut n: usize) {
        debug_assert!(n <= self.len(), "advance beyond the end");
        if self.begun {
            n = n.saturating_sub(self.advance_first(n));
        }
        if n > 0 && !self.control.is_empty() {
            n = n.saturating_sub(self.advance_control(n));
        }
        while n > 0 {
            match self.advance_first(n) {
                0 => return,
                had => n = n.saturating_sub(had),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(out: &mut Outgoing, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        out.copy_to_slice(&mut bytes);
        bytes
    }

    fn control(out: &mut Outgoing, frame: &[u8], cause: Cause) {
        out.control().extend_from_slice(frame);
        out.end_control(frame.len(), cause);
    }

    #[test]
    fn control_goes_first_but_never_into_a_frame() {
        let mut out = Outgoing::default();
        let first = out.push_data(*b"headhead", Bytes::from_static(b"payload"));
        assert_eq!(take(&mut out, 9), b"headheadp");
        control(&mut out, b"control", Cause::Provoked);
        let second = out.push_data(*b"second..", Bytes::new());
        assert!(out.has_left(0) && !out.has_left(first) && !out.has_left(second));
        out.push_last(b"the very last...");
        assert_eq!((out.waiting().provoked, out.data_len()), (1, 6 + 8 + 16));
        let n = out.remaining();
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = out.chunks_vectored(&mut slices);
        let vectored: Vec<u8> = slices[..filled].iter().flat_map(|s| s.to_vec()).collect();
        assert_eq!(vectored, b"ayloadcontrolsecond..the very last...");
        assert_eq!(take(&mut out, 6), b"ayload");
        assert!(out.has_left(first) && !out.has_left(second));
        assert_eq!(take(&mut out, 3), b"con");
        control(&mut out, b"more", Cause::Stream);
        let (ours, stream, provoked) = (0, 1, 1);
        let both = Waiting {
            ours,
            stream,
            provoked,
        };
        assert_eq!(out.waiting(), both);
        assert_eq!(take(&mut out, n - 5), b"trolmoresecond..the very last...");
        assert!(out.is_empty() && out.has_left(second) && out.waiting() == Waiting::default());
    }

    #[test]
    fn after_the_end_everything_has_left() {
        let mut out = Outgoing::default();
        let first = out.push_data(*b"headhead", Bytes::from_static(b"payload"));
        control(&mut out, b"control", Cause::Provoked);
        take(&mut out, 9);
        out.end();
        assert!(out.is_empty() && out.has_left(first) && out.waiting() == Waiting::default());
        let second = out.push_data(*b"headhead", Bytes::from_static(b"payload"));
        control(&mut out, b"control", Cause::Provoked);
        assert!(out.is_empty() && out.has_left(second) && second > first);
        assert_eq!((out.waiting(), out.chunk()), (Waiting::default(), &b""[..]));
    }

    #[test]
    fn a_large_control_lane_is_given_back() {
        for (len, kept) in [(KEEP, true), (KEEP + 1, false)] {
            let mut out = Outgoing::default();
            control(&mut out, &vec![7; len], Cause::Ours);
            assert_eq!(take(&mut out, len - 1), vec![7; len - 1]);
            assert_eq!(take(&mut out, 1), [7], "nothing is lost before that");
            assert_eq!(out.control.try_reclaim(KEEP), kept, "{len}");
        }
    }
}
