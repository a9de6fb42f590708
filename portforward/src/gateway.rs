//! The gateway role: the API server's place between clients and nodes (PROTOCOL.md 2.3 to 2.6).
//!
//! Enough of an API server to look pods up and to forward to them: TLS, users by client
//! certificate or bearer token, a small RBAC, read-only REST with watches over HTTP/1.1 and HTTP/2,
//! and, over HTTP/1.1, the upgrade-aware proxy to the node. It never parses what crosses it after the upgrade.
//!
//! What it does more strictly than the real one, each for a reason in the threat list: one
//! spelling per path (T18), `create` on `pods/portforward` whatever the method (T17), no bytes to
//! a node before its validated 101 (T12), no reuse of either connection after a refusal (T13), no
//! browser (T31).
//!
//! ```no_run
//! # async fn run(
//! #     listener: tokio::net::TcpListener,
//! #     tls: rustls::ServerConfig,
//! #     users: portforward::gateway::Users,
//! #     store: std::sync::Arc<portforward::gateway::Store>,
//! #     backend: std::sync::Arc<dyn portforward::gateway::Backend>,
//! # ) {
//! use portforward::gateway::{Config, Gateway};
//! let gateway = Gateway::new(Config::default(), users, store, backend);
//! gateway.serve(listener, tls).await;
//! # }
//! ```

mod auth;
mod backend;
mod connection;
mod discovery;
mod forward;
mod http2;
mod kinds;
mod ports;
pub(crate) mod relay;
mod request;
mod rest;
mod route;
mod selector;
mod store;
#[cfg(test)]
mod tests;
mod watch;

pub use auth::{Rule, User, Users};
pub use backend::{Backend, Connected, Leg, TlsBackend};
pub use kinds::Kind;
pub use store::{Store, StoreError};

use crate::http1::{BodyLimits, HeadLimits};
use crate::observe::Observer;
use crate::server::admit::Counter;
use crate::server::{AcceptLimits, listen};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;

/// The limits of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Connections before their first request (B24).
    pub accept: AcceptLimits,
    /// Request heads, and response heads of nodes (B21).
    pub head: HeadLimits,
    /// A node's refusal (B22).
    pub body: BodyLimits,
    /// How long a connection may wait between two requests.
    pub idle: Duration,
    /// Time to reach a node, TLS included (B28).
    pub dial: Duration,
    /// Client bytes that are kept until the node has answered (T12).
    pub early: usize,
    /// Upgraded connections, all together (B25).
    pub sessions: usize,
    /// Upgraded connections of one user (B25).
    pub sessions_per_user: usize,
    /// Connections on which somebody was authenticated, all together.
    pub connections: usize,
    /// Connections of one user.
    pub connections_per_user: usize,
    /// Origins that a browser may come from; none by default (T31).
    pub origins: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            accept: AcceptLimits::default(),
            head: HeadLimits::default(),
            body: BodyLimits::default(),
            idle: Duration::from_secs(90),
            dial: Duration::from_secs(5),
            early: 16 * 1024,
            sessions: 8192,
            sessions_per_user: 1024,
            connections: 8192,
            connections_per_user: 2048,
            origins: Vec::new(),
        }
    }
}

/// What a gateway has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Upgraded connections now.
    pub sessions: usize,
    /// Connections dropped because too many were shaking hands.
    pub dropped: u64,
    /// TLS handshakes that failed or took too long.
    pub failed_handshakes: u64,
}

/// The API server's role.
#[derive(Clone)]
pub struct Gateway(Arc<Shared>);

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

struct Shared {
    config: Config,
    users: Users,
    store: Arc<Store>,
    backend: Arc<dyn Backend>,
    sessions: Arc<Counter<String>>,
    connections: Arc<Counter<String>>,
    accepts: Arc<listen::AcceptCounts>,
    observer: Option<Arc<dyn Observer>>,
}

impl Gateway {
    /// A gateway that serves `store` to `users` and reaches nodes through `backend`.
    #[must_use]
    pub fn new(config: Config, users: Users, store: Arc<Store>, backend: Arc<dyn Backend>) -> Self {
        Self::observed(config, users, store, backend, None)
    }

    /// As [`Gateway::new`], with somebody who watches.
    #[must_use]
    pub fn observed(
        config: Config,
        users: Users,
        store: Arc<Store>,
        backend: Arc<dyn Backend>,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        let sessions = Counter::new(config.sessions, config.sessions_per_user);
        let connections = Counter::new(config.connections, config.connections_per_user);
        let accepts = Arc::default();
        Self(Arc::new(Shared {
            config,
            users,
            store,
            backend,
            sessions,
            connections,
            accepts,
            observer,
        }))
    }

    /// Serves for ever, by HTTP/2 where `tls` offers it
    /// ([`gateway_config`](crate::tls::gateway_config)) and the client wants it.
    ///
    /// # Cancel safety
    /// Dropping the future ends every connection; upgraded ones end with a TCP reset, so that
    /// nobody takes it for a clean end (T35).
    pub async fn serve(&self, listener: TcpListener, tls: impl Into<Arc<rustls::ServerConfig>>) {
        let shared = Arc::clone(&self.0);
        let accept = shared.config.accept;
        let counts = Arc::clone(&shared.accepts);
        let handle = move |accepted| connection::serve(Arc::clone(&shared), accepted);
        listen::serve(listener, tls.into(), accept, counts, handle).await;
    }

    /// What it has seen so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            sessions: self.0.sessions.held(),
            dropped: self.0.accepts.dropped.load(Ordering::Relaxed),
            failed_handshakes: self.0.accepts.failed.load(Ordering::Relaxed),
        }
    }
}
