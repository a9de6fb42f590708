use std::time::Duration;

/// Which end of the connection this is. Decides stream id and PING id parity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Opens streams with odd ids.
    Client,
    /// Answers them.
    Server,
}

/// How header blocks are written. Peers must accept both (PROTOCOL.md 1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderEncoding {
    /// Stored deflate blocks: no compressor state (saves about 140 to 310 KiB a connection) and
    /// no length side channel, for about 61 bytes more per stream. Every block ends with the
    /// empty stored block that receivers insist on.
    Stored,
    /// Deflate with the SPDY/3 dictionary at this level (1 to 9), one context per direction.
    Deflate(u32),
}

/// What a peer may make this end hold or do. Over a limit the connection ends, except where a
/// field says otherwise. Numbers and reactions: RELIABILITY budgets named in each field.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Payload bytes of a control frame without header block (B1).
    pub control_frame: usize,
    /// Compressed bytes of a header block (B2).
    pub header_block: usize,
    /// Decompressed bytes of a header block (B3).
    pub header_block_inflated: usize,
    /// Pairs in a header block (B4).
    pub header_pairs: usize,
    /// Bytes of a header name (B4).
    pub header_name: usize,
    /// Bytes of a header value (B4).
    pub header_value: usize,
    /// Streams the peer may have open; more are reset with REFUSED_STREAM and the connection
    /// stays (B6).
    pub peer_streams: usize,
    /// Streams we may have open; [`crate::Connection::open`] fails beyond (B6).
    pub own_streams: usize,
    /// Resets we had to send because of peer errors, per connection (B9).
    pub error_resets: u32,
    /// Streams that the peer opens and resets before they were answered, per 10 s (B8).
    pub rapid_resets: u32,
    /// Frames waiting to be written that the peer provoked (PING answers, resets): beyond it
    /// [`crate::Connection::recv`] stops consuming until some are written (B10).
    pub queued_replies: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            control_frame: 4 * 1024,
            header_block: 16 * 1024,
            header_block_inflated: 64 * 1024,
            header_pairs: 64,
            header_name: 256,
            header_value: 8 * 1024,
            peer_streams: 2048,
            own_streams: 2048,
            error_resets: 256,
            rapid_resets: 200,
            queued_replies: 256,
        }
    }
}

/// Everything a [`crate::Connection`] is told at birth.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Which end this is.
    pub role: Role,
    /// How our header blocks are written.
    pub header_encoding: HeaderEncoding,
    /// Largest DATA payload we send, bytes. Deployed senders use at most 32 KiB (PROTOCOL.md 1.8).
    pub data_payload: usize,
    /// Time between PINGs; `None` sends none. The next is sent only after the last was answered,
    /// as Kubernetes clients do (PROTOCOL.md 1.9).
    pub ping_interval: Option<Duration>,
    /// Budgets.
    pub limits: Limits,
}

impl Config {
    /// What real Kubernetes peers need: no flow control; a client pings every 5 s, a server never.
    #[must_use]
    pub fn kubernetes(role: Role) -> Self {
        Self {
            role,
            header_encoding: HeaderEncoding::Stored,
            data_payload: 32 * 1024,
            ping_interval: match role {
                Role::Client => Some(Duration::from_secs(5)),
                Role::Server => None,
            },
            limits: Limits::default(),
        }
    }
}
