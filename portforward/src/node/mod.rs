//! The node role: the kubelet's and runtime's place (PROTOCOL.md 3, 7).

mod channels;
mod http;
mod session;
pub use http::{Front, FrontConfig, NodeRefusal, Pods};
#[cfg(all(feature = "fuzzing", feature = "gateway"))]
pub(crate) use session::serve_config;
pub use session::{serve, serve_with};
use std::io;
use std::pin::Pin;
use tokio::net::TcpStream;

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl PodRef {
    /// A pod by its three names.
    #[must_use]
    pub fn new(
        namespace: impl Into<String>,
        name: impl Into<String>,
        uid: impl Into<String>,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            uid: uid.into(),
        }
    }
}

/// What was agreed with a client: the pod, and what is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Agreed {
    /// The pod.
    pub pod: PodRef,
    /// The protocol of the connection from here on.
    pub protocol: Protocol,
}

impl Agreed {
    /// A pod and a protocol.
    #[must_use]
    pub const fn new(pod: PodRef, protocol: Protocol) -> Self {
        Self { pod, protocol }
    }
}

/// SPDY, which is what most clients and all gateways ask for.
impl From<PodRef> for Agreed {
    fn from(pod: PodRef) -> Self {
        Self::new(pod, Protocol::Spdy)
    }
}

/// What a connection speaks once it is upgraded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// SPDY/3.1.
    Spdy,
    /// SPDY/3.1 inside a WebSocket.
    Tunnel,
    /// A WebSocket with two channels for each port.
    Channels(wsstream::Format, Vec<u16>),
}

/// Reaches ports of pods. `S` is what it reaches them by.
pub trait Dial<S = TcpStream>: Send + Sync {
    /// Connects to a port of a pod. The error's text is sent to the client.
    ///
    /// The future is dropped when nobody waits for it any more, at times when the pod has accepted
    /// already. So that the pod reads no end of file then, the socket must be abrupt from the
    /// beginning, as one of [`socket::connect`](crate::socket::connect) is.
    fn dial(&self, pod: &PodRef, port: u16) -> Pin<Box<dyn Future<Output = io::Result<S>> + Send>>;
}
