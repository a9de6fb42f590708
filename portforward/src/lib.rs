//! The protocol behind `kubectl port-forward`: the HTTP/1.1 upgrade, SPDY sessions, pairs of data
//! and error streams, and the copy loop, for all three places on the path.
//!
//! | place | module | what it does |
//! |---|---|---|
//! | client (kubectl's) | [`upgrade`], [`client`] | upgrades a connection, carries local connections over it |
//! | gateway (API server's) | `gateway` (feature) | objects over REST, authentication, relays upgraded bytes |
//! | node (kubelet's and runtime's) | `node` (feature) | pairs streams, dials pods, copies |
//!
//! Between them: [`session`] is one upgraded connection (a driver and its handles), [`pair`] joins
//! streams, [`error_stream`] reads verdicts, [`http1`] and [`status`] the negotiation. [`record`] writes
//! a session down, as a [`transcript`].
//!
//! `observe` watches gateway and node at work.
//!
//! The library takes connected byte streams and ready head fields. Kubeconfig, credentials and
//! REST belong to the programs.

pub mod client;
mod copy;
pub mod error_stream;
pub mod escape;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
#[cfg(feature = "gateway")]
pub mod gateway;
pub mod http1;
#[cfg(feature = "node")]
pub mod node;
#[cfg(any(feature = "gateway", feature = "node"))]
pub mod observe;
pub mod pair;
pub mod ports;
pub mod record;
#[cfg(any(feature = "gateway", feature = "node"))]
pub mod server;
pub mod session;
#[cfg(all(feature = "fuzzing", feature = "gateway", feature = "node"))]
#[doc(hidden)]
pub mod sim;
pub mod socket;
pub mod status;
pub mod tls;
pub mod transcript;
mod transport;
pub mod upgrade;
pub mod websocket;
