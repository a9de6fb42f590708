//! HTTP/1.1 heads in both roles, as far as an upgrade and a small REST server need them
//! (PROTOCOL.md 2, 5.1; budgets B21, B22; threats T12 to T16, T33).
//!
//! A head is cut out of a [`BytesMut`](bytes::BytesMut) and whatever came behind it stays there:
//! those bytes belong to the next protocol and must not get lost. Parsing is strict, because two
//! readers that understand one head differently are how requests get smuggled. The one leniency
//! is named: a *response* may end its lines with a bare LF, as real gateways accept.
//!
//! - [`RequestHead`], [`ResponseHead`], [`Fields`]: what a head says. Values never show in `Debug`.
//! - [`read_request_head`], [`read_response_head`]: one head from a socket, with a deadline.
//! - [`read_body`]: a small body, bounded in bytes and time.
//! - [`HeadError`], [`ReadError`], [`EncodeError`]: what was wrong and where.

mod body;
mod encode;
mod error;
mod fields;
mod head;
mod io;
mod scan;
mod target;
#[cfg(test)]
pub(crate) mod tests;

pub mod date;

pub use body::{Body, BodyEnd, BodyLimits, Framing, read_body};
pub use encode::reason_phrase;
pub use error::{EncodeError, HeadError, HeadErrorKind, ReadError, TargetFault};
pub use fields::{Field, Fields};
pub use head::{RequestHead, ResponseHead, Version};
pub use io::{read_request_head, read_response_head};
pub use target::{decode_query, query_pairs};

use std::time::Duration;

/// What a head may cost (B21). Values above the hard ceiling are lowered to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeadLimits {
    /// Bytes, the empty line included.
    pub bytes: usize,
    /// Header fields.
    pub fields: usize,
    /// Time from the first wait to the last byte; one deadline for the phase, not one per read.
    pub time: Duration,
}

impl HeadLimits {
    /// No configuration lifts [`bytes`](Self::bytes) above this.
    pub const CEILING: usize = 64 * 1024;

    /// These limits with another size, at most [`CEILING`](Self::CEILING).
    #[must_use]
    pub fn with_bytes(self, bytes: usize) -> Self {
        Self {
            bytes: bytes.min(Self::CEILING),
            ..self
        }
    }

    /// These limits with another number of fields.
    #[must_use]
    pub fn with_fields(self, fields: usize) -> Self {
        Self {
            fields: fields.min(1024),
            ..self
        }
    }

    /// These limits with another deadline.
    #[must_use]
    pub const fn with_time(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// The deadline of a head that is waited for from now on.
    #[must_use]
    pub fn deadline(&self) -> tokio::time::Instant {
        let now = tokio::time::Instant::now();
        now.checked_add(self.time).unwrap_or(now)
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            bytes: 16 * 1024,
            fields: 64,
            time: Duration::from_secs(10),
        }
    }
}
