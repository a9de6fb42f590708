//! The subprotocols, read whole and in pieces.

use super::config;
use crate::{
    ChannelEvent, Channels, ConnectionError, DecodeErrorKind, Format, PortChannels, PortEvent,
    Read, Role, Tunnel,
};
use bytes::{Buf as _, Bytes, BytesMut};
use std::collections::BTreeMap;
use std::time::Instant;

/// Cutting the input changes neither what comes nor how it ends.
pub(super) fn decode(role: Role, bytes: &[u8], cut: usize) {
    for layer in [Layer::Tunnel, Layer::Binary, Layer::Base64, Layer::Ports] {
        let whole = read(layer, role, std::iter::once(bytes));
        let pieces = read(layer, role, bytes.chunks(cut));
        assert_eq!(pieces, whole, "{layer:?} cut at {cut}");
    }
    let owned = read(Layer::Tunnel, role, bytes.chunks(cut));
    let borrowed = read(Layer::Borrowed, role, bytes.chunks(cut));
    assert_eq!(borrowed, owned, "borrowed, cut at {cut}");
}

/// What stands above a connection.
#[derive(Clone, Copy, Debug)]
enum Layer {
    Tunnel,
    /// The same by the other call.
    Borrowed,
    /// With the signal of v5.
    Binary,
    Base64,
    Ports,
}

/// One of them.
enum Above {
    Tunnel(Tunnel),
    Borrowed(Tunnel),
    Channels(Channels),
    Ports(PortChannels),
}

/// What came, and on which channel; past 255 what is no channel's. `None`: the peer's Close.
type Part = Option<(u16, Bytes)>;

impl Above {
    fn new(layer: Layer, role: Role) -> Self {
        let channels = |format| Channels::new(config(role), format).ok();
        let made = match layer {
            Layer::Tunnel => Tunnel::new(config(role)).ok().map(Self::Tunnel),
            Layer::Borrowed => Tunnel::new(config(role)).ok().map(Self::Borrowed),
            Layer::Binary => channels(Format::Binary)
                .map(Channels::with_close_signal)
                .map(Self::Channels),
            Layer::Base64 => channels(Format::Base64).map(Self::Channels),
            Layer::Ports => PortChannels::new(config(role), Format::Binary, &[80, 443])
                .ok()
                .map(Self::Ports),
        };
        let Some(made) = made else {
            unreachable!("limits within their ranges");
        };
        made
    }

    fn poll(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
    ) -> Result<Option<Part>, ConnectionError> {
        let number = |port: usize| port.to_le_bytes()[0];
        Ok(match self {
            Self::Tunnel(tunnel) => tunnel.poll_read(now, input)?.map(|read| match read {
                Read::Bytes(bytes) => Some((0, bytes)),
                Read::End => None,
            }),
            Self::Borrowed(tunnel) => {
                let (taken, read) = tunnel.poll_read_borrowed(now, input)?;
                let read = read.map(|read| match read {
                    Read::Bytes(bytes) => Some((0, Bytes::copy_from_slice(bytes))),
                    Read::End => None,
                });
                input.advance(taken);
                read
            }
            Self::Channels(channels) => channels.poll_event(now, input)?.map(|event| match event {
                ChannelEvent::Data {
                    channel, payload, ..
                } => Some((channel.into(), payload)),
                ChannelEvent::ChannelClosed(channel) => Some((256, vec![channel].into())),
                ChannelEvent::Pong(payload) => Some((257, payload)),
                ChannelEvent::Closed(_) => None,
            }),
            Self::Ports(ports) => ports.poll_event(now, input)?.map(|event| match event {
                PortEvent::Ready(port) => Some((256, vec![number(port)].into())),
                PortEvent::Data(port, bytes) => Some((number(port).into(), bytes)),
                PortEvent::Error(port, bytes) => {
                    Some((u16::from(number(port)).saturating_add(2), bytes))
                }
                PortEvent::Closed(_) => None,
            }),
        })
    }
}

/// How a subprotocol ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Closed,
    /// A text, at fault in one way or another: which is seen first depends on the cuts, as does what of it
    /// was handed out. Where its frame begins.
    Text(u64),
    Failed(ConnectionError),
}

/// Reads `pieces` in a subprotocol: what came on each channel, and how it ended.
fn read<'a>(
    layer: Layer,
    role: Role,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (BTreeMap<u16, Vec<u8>>, Option<Ended>) {
    let mut came: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
    let mut ended = None;
    let now = Instant::now();
    let mut input = BytesMut::new();
    let mut above = Above::new(layer, role);
    for piece in pieces {
        input.extend_from_slice(piece);
        while ended.is_none() {
            match above.poll(now, &mut input) {
                Ok(None) => break,
                Ok(Some(Some((channel, bytes)))) => came.entry(channel).or_default().extend(bytes),
                Ok(Some(None)) => ended = Some(Ended::Closed),
                Err(error) => {
                    ended = Some(match error {
                        ConnectionError::Protocol(e) if is_of_text(e.kind()) => {
                            came.clear();
                            Ended::Text(e.offset())
                        }
                        error => Ended::Failed(error),
                    });
                }
            }
        }
    }
    (came, ended)
}

fn is_of_text(kind: &DecodeErrorKind) -> bool {
    use DecodeErrorKind as E;
    matches!(kind, E::Base64 | E::Utf8 | E::MessageType | E::Channel)
}
