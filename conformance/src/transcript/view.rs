//! What one side has sent, without the order between streams: a real peer answers in the order of a
//! Go map, and our own rounds may fall otherwise.

use std::collections::BTreeMap;

use anyhow::bail;
use spdy::{Frame, StreamId};

/// Streams and how far each is, and whether GOAWAY was sent. PINGs come by the clock and do not count.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    pub(super) streams: BTreeMap<u32, Sent>,
    goaway: Option<(u32, u32)>,
    /// Whose client was recorded.
    whose: Whose,
}

/// Whose client was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Whose {
    /// This project's.
    #[default]
    Ours,
    /// client-go's: it does not say that it keeps half-close, because it does not; it resets a data stream
    /// whose pod has ended before the error stream has, ours after; and it says GOAWAY behind the Close of a
    /// tunnel, where nobody reads it.
    ClientGo,
}

/// What was sent on one stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// SYN_STREAM's header block, sorted.
    opened: Option<Vec<(Vec<u8>, Vec<u8>)>>,
    replied: bool,
    pub(super) data: Vec<u8>,
    pub(super) fin: bool,
    reset: Option<u32>,
}

impl View {
    pub(super) fn new(whose: Whose) -> Self {
        Self {
            whose,
            ..Self::default()
        }
    }

    fn stream(&mut self, id: StreamId) -> &mut Sent {
        self.streams.entry(id.get()).or_default()
    }

    pub(super) fn add(&mut self, frame: &Frame) -> anyhow::Result<()> {
        match frame {
            Frame::SynStream(f) => {
                let pairs = f.headers.iter();
                let mut pairs: Vec<_> = pairs.map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
                pairs.sort();
                if self.whose == Whose::ClientGo {
                    pairs.retain(|(name, _)| name != b"half-close");
                }
                self.stream(f.id).opened = Some(pairs);
                self.stream(f.id).fin |= f.fin;
            }
            Frame::SynReply(f) => {
                self.stream(f.id).replied = true;
                self.stream(f.id).fin |= f.fin;
            }
            Frame::Data(f) => {
                self.stream(f.id).data.extend_from_slice(&f.payload);
                self.stream(f.id).fin |= f.fin;
            }
            Frame::RstStream(f) => self.stream(f.id).reset = Some(f.status.get()),
            Frame::GoAway(f) => self.goaway = Some((f.last_good, f.status.get())),
            Frame::Ping(_) => {}
            other => bail!("a replay knows no {other:?}"),
        }
        Ok(())
    }

    /// As if none had been sent.
    pub(super) fn forget_goaway(&mut self) {
        self.goaway = None;
    }

    /// Whether all of `other` is in this.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.streams.iter().all(|(id, sent)| {
            self.streams.get(id).is_some_and(|have| {
                (have.opened.is_some() || sent.opened.is_none())
                    && (have.replied || !sent.replied)
                    && have.data.len() >= sent.data.len()
                    && (have.fin || !sent.fin)
                    && (have.reset.is_some()
                        || sent.reset.is_none()
                        || self.whose == Whose::ClientGo)
            })
        }) && (self.goaway.is_some() || other.goaway.is_none())
    }

    /// Where the two differ.
    pub(super) fn difference(&self, other: &Self) -> String {
        let ids = self.streams.keys().chain(other.streams.keys());
        let differ = |id: &&u32| self.streams.get(id) != other.streams.get(id);
        match ids.filter(differ).min() {
            Some(id) => {
                let show = |view: &Self| format!("{:?}", view.streams.get(id));
                format!("stream {id}: {} instead of {}", show(self), show(other))
            }
            None => format!("GOAWAY {:?} instead of {:?}", self.goaway, other.goaway),
        }
    }
}
