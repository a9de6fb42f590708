use crate::error::ConfigError;
use crate::frame::Role;
use crate::mask::MaskKeys;

/// What a peer may make this end hold or do. Over a limit the connection ends with the close code
/// of [`crate::DecodeErrorKind::close_code`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// (B17) Payload bytes of a message that is received, all its frames together; `None`: any, which is for those
    /// who take it as it comes. Default 4 MiB, at most 1 GiB. Payload is handed out as it comes,
    /// so this is what a consumer that collects messages holds, and this crate only with [`Config::whole`].
    pub message: Option<u64>,
    /// (B17) Frames of a message that is received. Default 1,024, at most 1,048,576; `None`: any.
    pub fragments: Option<u32>,
    /// (B19) Pings and pongs of the peer at once, and as many more every 10 s, evenly. Default 100, at most
    /// 100,000.
    pub control: u32,
    /// (B19) Pongs that wait to be written; with more, the latest ping takes the place of the one
    /// before it. Default 16, at most 1,024.
    pub pongs: u32,
    /// Pings of this side that wait to be written: [`crate::Connection::ping`] takes no more. Default 16, at
    /// most 1,024.
    pub pings: u32,
    /// (B15) Once so many bytes wait to be written, [`crate::Connection::send`] takes no more. The message that
    /// crosses it is taken whole, so as many and one message can wait.
    /// Default 4 MiB, at most 256 MiB.
    pub outgoing: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: Some(4 << 20),
            fragments: Some(1024),
            control: 100,
            pongs: 16,
            pings: 16,
            outgoing: 4 << 20,
        }
    }
}

/// The ceiling of [`Limits::message`].
const MESSAGE: u64 = 1 << 30;

impl Limits {
    /// Messages that are collected need a limit.
    pub(crate) const UNLIMITED: ConfigError = ConfigError {
        name: "message",
        value: u64::MAX,
        ceiling: MESSAGE,
    };

    /// Whether every limit is between 1 and its ceiling.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let table = [
            ("message", self.message.unwrap_or(1), MESSAGE),
            ("fragments", self.fragments.unwrap_or(1).into(), 1 << 20),
            ("control", self.control.into(), 100_000),
            ("pongs", self.pongs.into(), 1024),
            ("pings", self.pings.into(), 1024),
            ("outgoing", self.outgoing, 256 << 20),
        ];
        match table
            .into_iter()
            .find(|(_, value, ceiling)| value == &0 || value > ceiling)
        {
            Some((name, value, ceiling)) => Err(ConfigError {
                name,
                value,
                ceiling,
            }),
            None => Ok(()),
        }
    }
}

/// How a connection behaves.
#[derive(Debug)]
#[non_exhaustive]
pub struct Config {
    /// Which end this is.
    pub role: Role,
    /// Where a client's masking keys come from; a server has no use for them.
    pub keys: MaskKeys,
    /// The budgets.
    pub limits: Limits,
    /// Whether a message is told whole, in one part, and not as it comes. A frame then waits in the input, where it is
    /// received in place ([`crate::Connection::reserve`]), and a message of several frames is put together; both
    /// together keep to [`Limits::message`], which cannot be `None`. What is left in the input between two calls has to be
    /// there again, in front of what has come since: some of it is unmasked. Default `false`.
    pub whole: bool,
}

impl Config {
    /// For messages that are collected.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self {
            role,
            keys: MaskKeys::system(),
            limits: Limits::default(),
            whole: false,
        }
    }

    /// For messages that are handed on as they come, whose length costs nothing: a tunnel (B18), and channels
    /// that are copied to sockets.
    #[must_use]
    pub fn stream(role: Role) -> Self {
        let mut config = Self::new(role);
        config.limits.message = None;
        config.limits.fragments = None;
        config
    }
}
