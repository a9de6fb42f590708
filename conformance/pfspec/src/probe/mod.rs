//! The judge's own client: it writes what it is told to, right or wrong, reads strictly, and logs its bytes.

pub mod channels;
pub mod connection;
pub mod ending;
pub mod http;
pub mod log;
pub mod secrets;
pub mod session;
mod wait;
pub mod websocket;
pub mod wire;
