//! Reaching nodes.

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// One of the two connections of a forwarding.
pub trait Leg: AsyncRead + AsyncWrite + Send + Unpin {
    /// From now on, dropping the connection resets it, or again does not: a reset is what tells
    /// the peer that the end was no end (T35). Does nothing where there is no TCP.
    fn reset_on_drop(&self, reset: bool);

    /// Whether a clean end of what it says is answered before the connection is closed: a WebSocket's Close.
    fn answers_the_end(&self) -> bool {
        false
    }
}

impl Leg for TcpStream {
    fn reset_on_drop(&self, reset: bool) {
        let linger = reset.then_some(Duration::ZERO);
        // Fails on a socket that is already dead only, which needs no reset.
        drop(socket2::SockRef::from(self).set_linger(linger));
    }
}

impl Leg for tokio_rustls::client::TlsStream<TcpStream> {
    fn reset_on_drop(&self, reset: bool) {
        self.get_ref().0.reset_on_drop(reset);
    }
}

impl Leg for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset_on_drop(&self, reset: bool) {
        self.get_ref().0.reset_on_drop(reset);
    }
}

impl<T: Leg + ?Sized> Leg for Box<T> {
    fn reset_on_drop(&self, reset: bool) {
        (**self).reset_on_drop(reset);
    }
}

/// A connection to a node on its way.
pub type Connected = Pin<Box<dyn Future<Output = io::Result<Box<dyn Leg>>> + Send>>;

/// Connects to nodes. Each call makes a new connection, for one upgrade only (T13).
pub trait Backend: Send + Sync {
    /// Connects to the node a pod runs on. The text of the error is shown to the client.
    fn connect(&self, node: &str) -> Connected;
}

/// Nodes by name, each at one address that was checked when it was added and with the name its
/// certificate must carry (T19, T20).
pub struct TlsBackend {
    connector: TlsConnector,
    nodes: HashMap<String, (SocketAddr, ServerName<'static>)>,
}

impl std::fmt::Debug for TlsBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsBackend")
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

impl TlsBackend {
    /// No nodes yet. `config` holds the gateway's own identity and the roots of the nodes; see
    /// [`client_config`](crate::tls::client_config).
    #[must_use]
    pub fn new(config: impl Into<Arc<ClientConfig>>) -> Self {
        Self {
            connector: TlsConnector::from(config.into()),
            nodes: HashMap::new(),
        }
    }

    /// Adds a node.
    #[must_use]
    pub fn with_node(
        mut self,
        name: impl Into<String>,
        address: SocketAddr,
        server_name: ServerName<'static>,
    ) -> Self {
        self.nodes.insert(name.into(), (address, server_name));
        self
    }
}

impl Backend for TlsBackend {
    fn connect(&self, node: &str) -> Connected {
        let Some((address, name)) = self.nodes.get(node).cloned() else {
            let text = format!("no such node: {}", crate::escape::line(node));
            return Box::pin(async move { Err(io::Error::new(io::ErrorKind::NotFound, text)) });
        };
        let connector = self.connector.clone();
        Box::pin(async move {
            let tcp = TcpStream::connect(address).await.map_err(|e| {
                io::Error::new(
                    e.kind(),
                    format!("dial tcp {address}: connect: {}", plain(&e)),
                )
            })?;
            // Small frames must not wait for more.
            drop(tcp.set_nodelay(true));
            drop(crate::socket::keepalive(&tcp));
            let tls = connector
                .connect(name, tcp)
                .await
                .map_err(|e| io::Error::new(e.kind(), format!("tls: {e}")))?;
            Ok(Box::new(tls) as Box<dyn Leg>)
        })
    }
}

/// The system's words for an error, without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}
