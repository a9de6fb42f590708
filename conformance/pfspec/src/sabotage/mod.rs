//! Servers that are broken in one way each, so that the judge itself can be judged.
//!
//! [`target`] puts a man in the middle between the judge and a server that is in order. For each connection it opens
//! one to the server, gives the judge the other side of a loopback TCP connection (so that RST, FIN and silence are
//! real), and breaks what its [`Fault`] says. What the fault does not touch, and what cannot be read, passes byte for
//! byte. It works on any server: the embedded cluster, or Kubernetes' own. What a gateway does wrong with a node is
//! broken between the two, where the node is the judge's own: see [`LegB`].

mod channels;
pub mod document;
pub mod excused;
pub mod faults;
mod http;
mod leg_b;
pub mod matrix;
mod middle;
mod spdy;
mod websocket;

pub use channels::Channels;
pub use http::{Asked, Head, Reply};
pub use leg_b::LegB;
pub use spdy::Spdy;
pub use websocket::{WebSocket, WsFrame};

use crate::case::Way;
use crate::probe::wire::Frame;
use crate::target::{NoPlace, Place, Placing, Reach, Target, Who};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// Who sent what is in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The judge.
    Client,
    /// The server that is in order.
    Server,
}

impl Side {
    /// To whom it goes.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What a fault does. Each function is asked for everything of its kind, and passes on what it does not break.
#[derive(Clone, Copy)]
pub enum Act {
    /// Nothing: shows that the middle itself breaks nothing.
    Nothing,
    /// Request heads.
    Request(fn(&mut Asked)),
    /// Answers to them.
    Answer(fn(&Head, &mut Reply)),
    /// Right behind the 101, on sessions of SPDY.
    Begin(fn(&mut Spdy)),
    /// Frames of the server.
    Server(fn(&mut Spdy, Frame)),
    /// Frames of the client; their header blocks are compressed anew.
    Client(fn(&mut Spdy, Frame)),
    /// Frames of both; those of the client may be passed or dropped but for SYN_STREAM, which must be passed.
    Both(fn(&mut Spdy, Side, Frame)),
    /// Bytes of the client in which no frame can be read, with the name of what could not be read.
    Odd(fn(&mut Spdy, &str)),
    /// WebSocket frames, below the tunnel and channels.
    WebSocket(fn(&mut WebSocket, Side, WsFrame)),
    /// Channel messages: number and payload.
    Channels(fn(&mut Channels, Side, u8, Vec<u8>)),
    /// The end of this side's connection is not passed on.
    HoldEnd(Side),
    /// A frame of SPDY that the end of the client's connection cuts is made a whole one; the end is not passed on.
    TakeCut,
    /// Nothing is read of the client while what goes to it waits.
    Lockstep,
    /// Between the server, which is a gateway, and the judge's own node.
    LegB(LegB),
}

impl Act {
    fn holds(self, side: Side) -> bool {
        match self {
            Self::HoldEnd(held) => held == side,
            Self::TakeCut => side == Side::Client,
            _ => false,
        }
    }
}

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Request(_) => "Request",
            Self::Answer(_) => "Answer",
            Self::Begin(_) => "Begin",
            Self::Server(_) => "Server",
            Self::Client(_) => "Client",
            Self::Both(_) => "Both",
            Self::Odd(_) => "Odd",
            Self::WebSocket(_) => "WebSocket",
            Self::Channels(_) => "Channels",
            Self::HoldEnd(_) => "HoldEnd",
            Self::TakeCut => "TakeCut",
            Self::Lockstep => "Lockstep",
            Self::LegB(_) => "LegB",
        })
    }
}

/// One mistake of a server.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Slug, layer first.
    pub id: &'static str,
    /// What the server does, in one sentence.
    pub title: &'static str,
    /// Clauses of the specification that it departs from.
    pub breaks: &'static [&'static str],
    /// Ways on which it shows.
    pub on: &'static [Way],
    /// How it is made.
    pub act: Act,
}

impl Fault {
    const fn new(
        id: &'static str,
        title: &'static str,
        breaks: &'static [&'static str],
        on: &'static [Way],
        act: Act,
    ) -> Self {
        Self {
            id,
            title,
            breaks,
            on,
            act,
        }
    }
}

/// No fault at all.
pub static NONE: Fault = Fault::new(
    "none",
    "Nothing is broken",
    &[],
    &[Way::Spdy, Way::Tunnel, Way::V4, Way::V4Base64, Way::Http],
    Act::Nothing,
);

/// A target that is `inner` but for the fault.
#[must_use]
pub fn target(inner: Arc<Target>, fault: &'static Fault) -> Target {
    Target {
        name: format!("{} with the fault {}", inner.name, fault.id),
        role: inner.role,
        minor: inner.minor,
        ways: inner.ways.clone(),
        exec: inner.exec.clone(),
        services: inner.services.clone(),
        reach: Box::new(Sabotaged { inner, fault }),
    }
}

struct Sabotaged {
    inner: Arc<Target>,
    fault: &'static Fault,
}

impl Sabotaged {
    async fn placed(&self, placed: Result<Place, NoPlace>) -> Result<Place, NoPlace> {
        let place = placed?;
        let fault = self.fault;
        let near = middle::start(place.io, fault).await;
        let near = near.map_err(|error| NoPlace::Elsewhere(format!("the middle: {error}")))?;
        Ok(Place {
            io: Box::new(near),
            ..place
        })
    }
}

impl Reach for Sabotaged {
    fn place(&self, who: Who) -> Placing<'_> {
        Box::pin(async move { self.placed(self.inner.reach.place(who).await).await })
    }

    fn place_for(&self, who: Who, ports: &[u16]) -> Placing<'_> {
        let ports = ports.to_vec();
        Box::pin(async move {
            self.placed(self.inner.reach.place_for(who, &ports).await)
                .await
        })
    }

    fn place_with_alpn(&self, protocols: &[&[u8]]) -> Placing<'_> {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|name| name.to_vec()).collect();
        Box::pin(async move {
            let names: Vec<&[u8]> = protocols.iter().map(Vec::as_slice).collect();
            self.placed(self.inner.reach.place_with_alpn(&names).await)
                .await
        })
    }

    fn path_of(&self, namespace: &str, pod: &str) -> Option<String> {
        self.inner.reach.path_of(namespace, pod)
    }

    fn stage(&self, address: SocketAddr) -> Result<String, NoPlace> {
        let address = match self.fault.act {
            Act::LegB(act) => leg_b::stand_before(address, act)
                .map_err(|error| NoPlace::Elsewhere(format!("the middle: {error}")))?,
            _ => address,
        };
        self.inner.reach.stage(address)
    }
}
