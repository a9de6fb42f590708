//! What the frames of a transcript travel in.

use std::{pin::Pin, time::Instant};

use bytes::BytesMut;
use portforward::{
    transcript::Direction,
    upgrade::{self, TUNNEL, UpgradeError, UpgradeRequest, Upgraded},
    websocket::WsByteStream,
};
use spdy::Frame;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use wsstream::{Config, Read, Role, Tunnel};

use super::Frames;

/// What frames travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// The upgraded connection itself.
    Connection,
    /// A tunnel in a WebSocket.
    WebSocket,
}

/// A connection after its upgrade.
pub(super) trait Io: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

impl Carrier {
    /// Our client's side of the upgrade.
    pub(super) async fn upgrade(
        self,
        near: DuplexStream,
        asked: &UpgradeRequest,
    ) -> Result<Upgraded<Pin<Box<dyn Io>>>, UpgradeError> {
        if self == Self::Connection {
            let Upgraded { io, early } = upgrade::spdy(near, asked).await?;
            let io = Box::pin(io);
            return Ok(Upgraded { io, early });
        }
        let (Upgraded { io, early }, _) = upgrade::websocket(near, asked, &[TUNNEL], None).await?;
        let io = WsByteStream::client(io, early).map_err(std::io::Error::other)?;
        Ok(Upgraded {
            io: Box::pin(io),
            early: BytesMut::new(),
        })
    }
}

/// The frames of one direction.
pub(super) struct Carried {
    frames: Frames,
    tunnel: Option<Tunnel>,
    input: BytesMut,
    closed: bool,
}

impl Carried {
    pub(super) fn new(carrier: Carrier, direction: Direction) -> anyhow::Result<Self> {
        // Who reads it is at the other end.
        let role = match direction {
            Direction::ClientToServer => Role::Server,
            Direction::ServerToClient => Role::Client,
        };
        let tunnel = match carrier {
            Carrier::Connection => None,
            Carrier::WebSocket => Some(Tunnel::new(Config::stream(role))?),
        };
        Ok(Self {
            frames: Frames::new(),
            tunnel,
            input: BytesMut::new(),
            closed: false,
        })
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> anyhow::Result<Vec<Frame>> {
        let Some(tunnel) = &mut self.tunnel else {
            return self.frames.push(bytes);
        };
        self.input.extend_from_slice(bytes);
        let mut all = Vec::new();
        while let Some(read) = tunnel.poll_read(Instant::now(), &mut self.input)? {
            match read {
                Read::Bytes(bytes) => all.extend(self.frames.push(&bytes)?),
                Read::End => {
                    self.closed = true;
                    break;
                }
            }
        }
        Ok(all)
    }

    /// The WebSocket's Close has come.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }
}
