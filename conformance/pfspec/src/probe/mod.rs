//! The judge's own client: it writes what it is told to, right or wrong, reads strictly, and logs every byte.

pub mod channels;
pub mod connection;
pub mod http;
pub mod log;
pub mod secrets;
pub mod session;
mod wait;
pub mod websocket;
pub mod wire;
