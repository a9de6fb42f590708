//! The peer's messages where they lie: for who looks at payload and does not keep it.

use super::{Connection, Join, Seen};
use crate::error::ConnectionError;
use crate::event::{BorrowedEvent, Event, Kind};
use crate::mask;
use std::borrow::Cow;
use std::ops::Range;
use std::time::Instant;

/// Where in the input its payload lies.
type Found = (Seen, Range<usize>);

impl Connection {
    /// What [`Connection::poll_event`] tells, with the payload as a slice of `input`, where it has been unmasked: for
    /// who looks at payload and does not keep it. No handle of it is counted, none keeps a buffer alive, and `input`
    /// may be any memory. Both calls may be used on one connection in turn.
    ///
    /// The number says how many bytes at the front of `input` are done with, with `None` too: they have to be dropped
    /// before the next call, which takes them for the next frame otherwise. What is behind them stays where it is, and
    /// more may only be put behind that. A borrowed payload is the last of the bytes that are done with; owned is only
    /// a message that is told whole ([`crate::Config::whole`]) and came in several frames. `input` has to have room for
    /// 139 bytes, or with `Config::whole` for a frame of [`crate::Limits::message`] and its head of 14.
    ///
    /// ```
    /// use std::time::Instant;
    /// use wsstream::{Config, Connection, Event, Role};
    ///
    /// let mut server = Connection::new(Config::new(Role::Server))?;
    /// // RFC 6455 §5.7: "Hello", in binary.
    /// let mut input = b"\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x82".to_vec();
    /// let mut hello = Vec::new();
    /// loop {
    ///     let (taken, event) = server.poll_borrowed(Instant::now(), &mut input)?;
    ///     let over = event.is_none();
    ///     if let Some(Event::Message { payload, .. }) = event {
    ///         hello.extend_from_slice(&payload);
    ///     }
    ///     input.drain(..taken);
    ///     if over {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(hello, b"Hello");
    /// // Of the next frame, whose rest is to be put behind it.
    /// assert_eq!(input, [0x82]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Connection::poll_event`]; `input` is of no more use then.
    #[inline]
    pub fn poll_borrowed<'a>(
        &mut self,
        now: Instant,
        input: &'a mut [u8],
    ) -> Result<(usize, Option<BorrowedEvent<'a>>), ConnectionError> {
        if let Some(whole) = self.whole(input) {
            let taken = whole.head.saturating_add(whole.payload);
            let payload = input.get_mut(whole.head..taken).unwrap_or_default();
            if let Some(key) = whole.mask {
                mask::apply(key, 0, payload);
            }
            let event = Event::Message {
                kind: Kind::Binary,
                begins: true,
                payload: Cow::Borrowed(&*payload),
                ends: true,
            };
            return Ok((taken, Some(event)));
        }
        self.borrow_any(now, input)
    }

    fn borrow_any<'a>(
        &mut self,
        now: Instant,
        input: &'a mut [u8],
    ) -> Result<(usize, Option<BorrowedEvent<'a>>), ConnectionError> {
        let mut taken = 0;
        let (seen, payload, joined) = loop {
            let rest = input.get_mut(taken..).unwrap_or_default();
            let (n, found) = self.poll_part(now, rest)?;
            let begin = taken;
            taken = taken.saturating_add(n);
            let Some((seen, payload)) = found else {
                return Ok((taken, None));
            };
            let part = rest.get(payload.clone()).unwrap_or_default();
            let join = match seen {
                Seen::Message { ends, .. } => self.join(part, ends),
                _ => Join::Part,
            };
            let payload = begin.saturating_add(payload.start)..taken;
            match (join, seen) {
                (Join::Waits, _) => {}
                (Join::Whole(joined), Seen::Message { kind, .. }) => {
                    let (begins, ends) = (true, true);
                    break (Seen::Message { kind, begins, ends }, payload, joined);
                }
                (_, seen) => break (seen, payload, None),
            }
        };
        let here = input.get(payload).unwrap_or_default();
        let payload = joined.map_or(Cow::Borrowed(here), |joined| Cow::Owned(joined.into()));
        let event = match seen {
            Seen::Message { kind, begins, ends } => Event::Message {
                kind,
                begins,
                payload,
                ends,
            },
            Seen::Ping => Event::Ping(payload),
            Seen::Pong => Event::Pong(payload),
            Seen::Closed(frame) => Event::Closed(frame),
        };
        Ok((taken, Some(event)))
    }

    /// What the peer did next, in parts as they come, and how many bytes of `input` are done with; its payload is the
    /// range of them.
    pub(crate) fn poll_part(
        &mut self,
        now: Instant,
        input: &mut [u8],
    ) -> Result<(usize, Option<Found>), ConnectionError> {
        if self.is_deaf()? {
            return Ok((input.len(), None));
        }
        let mut taken: usize = 0;
        loop {
            let rest = input.get_mut(taken..).unwrap_or_default();
            let Some((step, seen)) = self.step(now, rest)? else {
                return Ok((taken, None));
            };
            taken = taken.saturating_add(step.taken);
            if let Some(seen) = seen {
                let begin = taken.saturating_sub(step.payload);
                return Ok((taken, Some((seen, begin..taken))));
            }
        }
    }
}
