//! The WebSocket side of the Kubernetes streaming protocols, without IO: what is negotiated.
//!
//! Now: the subprotocol names and the accept key. Framing (RFC 6455), channels and the tunnel follow,
//! and with them the first user of this crate.

mod handshake;
mod subprotocol;

pub use handshake::accept_key;
pub use subprotocol::{Subprotocol, TUNNEL_PREFIX, TUNNEL_SUFFIX};
