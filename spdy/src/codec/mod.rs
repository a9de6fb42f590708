//! Bytes to frames and back.

mod decode;
mod encode;

pub use decode::Decoder;
pub(crate) use encode::data_head;
pub use encode::{Encoder, Opening};
