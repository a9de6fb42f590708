use crate::frame::HEAD;
use crate::stream_id::StreamId;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;

/// Bytes waiting to be written: a [`Buf`] of two lanes. Control frames go before DATA, but never
/// into the middle of a frame, and nothing overtakes the DATA of its own stream.
///
/// With `write_buf` (or [`Buf::chunks_vectored`]) the payloads leave without being copied.
#[derive(Default)]
pub struct Outgoing {
    /// Rest of the frame of which bytes have been written already.
    current: Frame,
    /// Whole frames, and whether the peer provoked them.
    control: VecDeque<(Bytes, bool)>,
    data: VecDeque<Frame>,
    remaining: usize,
    /// Entries of `control` that the peer provoked.
    replies: usize,
}

/// One DATA frame, or a control frame that must stay behind DATA (empty payload).
#[derive(Default)]
struct Frame {
    stream: Option<StreamId>,
    head: Head,
    payload: Bytes,
}

/// At most one frame head or short control frame, kept in place to save an allocation.
#[derive(Default)]
struct Head {
    bytes: [u8; 2 * HEAD],
    start: usize,
    end: usize,
}

impl Head {
    fn new(bytes: &[u8]) -> Self {
        let mut head = Self::default();
        for (to, from) in head.bytes.iter_mut().zip(bytes) {
            *to = *from;
            head.end = head.end.saturating_add(1);
        }
        head
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }
}

impl Frame {
    fn len(&self) -> usize {
        self.head.rest().len().saturating_add(self.payload.len())
    }

    /// Consumes up to `n` bytes; returns how many are left to consume elsewhere.
    fn advance(&mut self, n: usize) -> usize {
        let of_head = n.min(self.head.rest().len());
        self.head.start = self.head.start.saturating_add(of_head);
        let n = n.saturating_sub(of_head);
        let of_payload = n.min(self.payload.len());
        self.payload.advance(of_payload);
        n.saturating_sub(of_payload)
    }

    fn slices(&self) -> [&[u8]; 2] {
        [self.head.rest(), &self.payload]
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("len", &self.remaining)
            .finish_non_exhaustive()
    }
}

impl Outgoing {
    /// Queues a control frame in front of all DATA. `reply`: the peer provoked it.
    pub(crate) fn push_control(&mut self, frame: Bytes, reply: bool) {
        self.remaining = self.remaining.saturating_add(frame.len());
        if reply {
            self.replies = self.replies.saturating_add(1);
        }
        self.control.push_back((frame, reply));
    }

    /// Queues a DATA frame.
    pub(crate) fn push_data(&mut self, stream: StreamId, head: [u8; HEAD], payload: Bytes) {
        let frame = Frame {
            stream: Some(stream),
            head: Head::new(&head),
            payload,
        };
        self.remaining = self.remaining.saturating_add(frame.len());
        self.data.push_back(frame);
    }

    /// Queues a 16-byte control frame behind everything queued so far.
    pub(crate) fn push_last(&mut self, frame: &[u8]) {
        let frame = Frame {
            stream: None,
            head: Head::new(frame),
            payload: Bytes::new(),
        };
        self.remaining = self.remaining.saturating_add(frame.len());
        self.data.push_back(frame);
    }

    /// Whether DATA of this stream waits, so that a reset must stay behind it.
    pub(crate) fn has_data_of(&self, id: StreamId) -> bool {
        self.data.iter().any(|f| f.stream == Some(id))
            || (self.current.stream == Some(id) && self.current.len() > 0)
    }

    /// Peer-provoked control frames waiting.
    pub(crate) fn replies(&self) -> usize {
        self.replies
    }

    /// Bytes waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.remaining
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remaining == 0
    }

    /// Makes the next frame the current one. `false` if there is none.
    fn next_frame(&mut self) -> bool {
        if let Some((frame, reply)) = self.control.pop_front() {
            self.replies = self.replies.saturating_sub(usize::from(reply));
            self.current = Frame {
                stream: None,
                head: Head::default(),
                payload: frame,
            };
            return true;
        }
        match self.data.pop_front() {
            Some(frame) => {
                self.current = frame;
                true
            }
            None => false,
        }
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        let control = self.control.front().map(|(frame, _)| frame.as_ref());
        let data = self.data.front().map(Frame::slices).unwrap_or_default();
        let [head, payload] = self.current.slices();
        [head, payload, control.unwrap_or_default(), data[0], data[1]]
            .into_iter()
            .find(|s| !s.is_empty())
            .unwrap_or_default()
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let slices = self
            .current
            .slices()
            .into_iter()
            .chain(self.control.iter().map(|(frame, _)| frame.as_ref()))
            .chain(self.data.iter().flat_map(Frame::slices))
            .filter(|s| !s.is_empty());
        let mut n = 0usize;
        for (to, from) in dst.iter_mut().zip(slices) {
            *to = IoSlice::new(from);
            n = n.saturating_add(1);
        }
        n
    }

    fn advance(&mut self, mut n: usize) {
        debug_assert!(n <= self.remaining, "advance beyond the end");
        self.remaining = self.remaining.saturating_sub(n);
        loop {
            n = self.current.advance(n);
            if n == 0 || !self.next_frame() {
                return;
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

    #[test]
    fn control_goes_first_but_never_into_a_frame() {
        let id = StreamId::new(1).unwrap();
        let mut out = Outgoing::default();
        out.push_data(id, *b"headhead", Bytes::from_static(b"payload"));
        assert_eq!(take(&mut out, 9), b"headheadp");
        out.push_control(Bytes::from_static(b"control"), true);
        out.push_data(id, *b"second..", Bytes::new());
        assert!(out.has_data_of(id));
        out.push_last(b"the very last...");
        assert_eq!(out.replies(), 1);
        let n = out.remaining();
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = out.chunks_vectored(&mut slices);
        let vectored: Vec<u8> = slices[..filled].iter().flat_map(|s| s.to_vec()).collect();
        assert_eq!(take(&mut out, n), vectored);
        assert_eq!(vectored, b"ayloadcontrolsecond..the very last...");
        assert!(out.is_empty() && !out.has_data_of(id) && out.replies() == 0);
    }
}
