//! Bytes to frames and back.

mod decode;
mod encode;

pub use decode::Decoder;
pub use encode::Encoder;
pub(crate) use encode::data_head;
