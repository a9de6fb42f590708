//! The node role: the kubelet's and runtime's place (PROTOCOL.md 3, 7).

mod http;
mod session;
pub use http::{Front, FrontConfig, NodeRefusal, Pods};
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

/// Reaches ports of pods.
pub trait Dial: Send + Sync {
    /// Connects to a port of a pod. The error's text is sent to the client.
    fn dial(
        &self,
        pod: &PodRef,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;
}
