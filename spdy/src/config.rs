use crate::error::ConfigError;
use crate::limits::Limits;
use crate::stream_id::StreamId;
use std::time::Duration;

/// Window of every stream and of the connection before anything was said (§2.6.8).
pub(crate) const INITIAL_WINDOW: u32 = 64 << 10;

/// Which end of the connection this is. Decides stream id and PING id parity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Opens streams with odd ids.
    Client,
    /// Answers them; its own have even ids, and Kubernetes clients take none.
    Server,
}

/// Whose rules hold where real peers and the draft differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// moby/spdystream's, behind every kubelet and runtime: what it tolerates is tolerated, what
    /// it chokes on is never sent (PROTOCOL.md 1.6).
    Kubernetes,
    /// The public draft 3.1, to the letter.
    Spdy31,
}

/// Whether windows count (§2.6.8). Deployed Kubernetes peers neither send nor heed
/// WINDOW_UPDATE (PROTOCOL.md 1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlowControl {
    /// Never: windows are neither sent nor heeded.
    Off,
    /// Once the peer shows that it has it, by WINDOW_UPDATE or by SETTINGS with an initial window,
    /// or once both ends agreed ([`crate::Connection::agree_flow_control`]). Until then nothing
    /// waits for credit, and none is sent. A peer that sent too much before is forgiven.
    Detect,
    /// As `Detect`, but only once both ends agreed: what the peer says of windows before that has no effect.
    Agreed,
    /// From the first byte, enforced both ways.
    On,
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

/// Everything a [`crate::Connection`] is told at birth.
///
/// | Field | [`Config::kubernetes`] client | server | [`Config::strict`] |
/// |---|---|---|---|
/// | `flow_control` | off | off | on |
/// | `header_encoding` | stored | stored | stored |
/// | `data_payload` | 32 KiB | 32 KiB | 16 KiB |
/// | `write_ahead` | 256 KiB | 256 KiB | 256 KiB |
/// | `stream_window`, `session_window` | - | - | 64 KiB each |
/// | `ping_interval` | 5 s | none | as of its role |
/// | `dead_after`, `idle_timeout` | none | none | none |
/// | `limits` | [`Limits::default`] | the same | the same |
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Which end this is.
    pub role: Role,
    /// Whose rules hold.
    pub dialect: Dialect,
    /// Whether windows count.
    pub flow_control: FlowControl,
    /// How our header blocks are written.
    pub header_encoding: HeaderEncoding,
    /// Largest DATA payload we send, bytes, 1 to 2^24 - 1. Deployed senders use at most 32 KiB
    /// (PROTOCOL.md 1.8).
    pub data_payload: usize,
    /// Bytes that are made frames ahead of the transport. What is framed leaves in that order:
    /// less is fairer, more saves calls.
    pub write_ahead: usize,
    /// Window we grant on each stream with flow control, bytes. At least 65,536, which a peer may send
    /// before it has read our SETTINGS; at most 2^31 - 1, and with flow control at most
    /// [`Limits::stream_receive`]: raise that first.
    pub stream_window: u32,
    /// Window we grant on the connection, bytes. At least 65,536, where every connection begins; at most
    /// 2^31 - 1, and with flow control at most [`Limits::session_receive`]. It is shared: one unread
    /// stream whose window is as large stops all others.
    pub session_window: u32,
    /// Time between PINGs, not 0; `None` sends none. The next is sent only after the last was answered,
    /// as Kubernetes clients do (PROTOCOL.md 1.9). A missing answer fails nothing by itself:
    /// [`Config::dead_after`] does.
    pub ping_interval: Option<Duration>,
    /// The connection fails when nothing has arrived for this long (B27), not counted while
    /// reading pauses ([`crate::Connection::is_full`], [`crate::Connection::is_blocked`]); not 0;
    /// `None`: never. Only with [`Config::ping_interval`] does a healthy peer have a reason to send.
    pub dead_after: Option<Duration>,
    /// The connection ends when no frame went either way for this long (B26); not 0; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// The first id of ours; by default 1 for a client, 2 for a server. For those who want to see
    /// what happens when ids run out.
    pub first_stream_id: Option<StreamId>,
    /// Budgets.
    pub limits: Limits,
}

impl Config {
    /// What real Kubernetes peers need: no flow control; a client pings every 5 s, a server never.
    #[must_use]
    pub fn kubernetes(role: Role) -> Self {
        Self {
            role,
            dialect: Dialect::Kubernetes,
            flow_control: FlowControl::Off,
            header_encoding: HeaderEncoding::Stored,
            data_payload: 32 << 10,
            write_ahead: 256 << 10,
            stream_window: INITIAL_WINDOW,
            session_window: INITIAL_WINDOW,
            ping_interval: match role {
                Role::Client => Some(Duration::from_secs(5)),
                Role::Server => None,
            },
            dead_after: None,
            idle_timeout: None,
            first_stream_id: None,
            limits: Limits::default(),
        }
    }

    /// What the draft says: windows of 64 KiB on every stream and on the connection.
    #[must_use]
    pub fn strict(role: Role) -> Self {
        Self {
            dialect: Dialect::Spdy31,
            flow_control: FlowControl::On,
            data_payload: 16 << 10,
            ..Self::kubernetes(role)
        }
    }

    /// Whether all values make sense.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.limits.check()?;
        let max = StreamId::MAX;
        if self.data_payload == 0 || self.data_payload > 0xff_ffff {
            return Err(ConfigError::Range("data_payload"));
        }
        if self.write_ahead == 0 {
            return Err(ConfigError::Range("write_ahead"));
        }
        if self.stream_window < INITIAL_WINDOW || self.stream_window > max {
            return Err(ConfigError::Range("stream_window"));
        }
        if self.session_window < INITIAL_WINDOW || self.session_window > max {
            return Err(ConfigError::Range("session_window"));
        }
        if self.flow_control != FlowControl::Off {
            // Else a peer that keeps to its windows would stop the reading of all.
            let (stream, session) = (self.limits.stream_receive, self.limits.session_receive);
            for (field, window, limit, most) in [
                (
                    "stream_window",
                    self.stream_window,
                    "stream_receive",
                    stream,
                ),
                (
                    "session_window",
                    self.session_window,
                    "session_receive",
                    session,
                ),
            ] {
                if !usize::try_from(window).is_ok_and(|n| n <= most) {
                    return Err(ConfigError::Window {
                        field,
                        window,
                        limit,
                        most,
                    });
                }
            }
        }
        for (name, time) in [
            ("ping_interval", self.ping_interval),
            ("dead_after", self.dead_after),
            ("idle_timeout", self.idle_timeout),
        ] {
            // Due again as soon as it was done.
            if time == Some(Duration::ZERO) {
                return Err(ConfigError::Range(name));
            }
        }
        if matches!(self.header_encoding, HeaderEncoding::Deflate(level) if level == 0 || level > 9)
        {
            return Err(ConfigError::Range("header_encoding"));
        }
        let first = self.first_stream_id.map(StreamId::is_client);
        if first.is_some_and(|client| client != (self.role == Role::Client)) {
            return Err(ConfigError::Range("first_stream_id"));
        }
        Ok(())
    }

    /// The first id of ours.
    pub(crate) fn first_id(&self) -> u32 {
        self.first_stream_id
            .map_or_else(|| self.first_ping_id(), StreamId::get)
    }

    pub(crate) fn first_ping_id(&self) -> u32 {
        match self.role {
            Role::Client => 1,
            Role::Server => 2,
        }
    }
}
