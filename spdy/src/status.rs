use std::fmt;

/// Why a stream was reset (SPDY/3.1 §2.6.3). Unknown values keep their number: deployed peers
/// accept any non-zero one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RstStatus(u32);

/// Why a connection is going away (SPDY/3.1 §2.6.6). Unknown values keep their number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct GoAwayStatus(u32);

macro_rules! statuses {
    ($type:ident { $($(#[$doc:meta])* $name:ident = $value:literal,)* }) => {
        impl $type {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// Any number, known or not.
            #[must_use]
            pub const fn from_u32(value: u32) -> Self {
                Self(value)
            }

            /// The number on the wire.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0
            }

            const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "status {}", self.0),
                }
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

statuses!(RstStatus {
    /// The stream broke the protocol.
    PROTOCOL_ERROR = 1,
    /// A frame for a stream that is not active.
    INVALID_STREAM = 2,
    /// Refused before any processing.
    REFUSED_STREAM = 3,
    /// SPDY version not supported.
    UNSUPPORTED_VERSION = 4,
    /// No longer needed. The only status Kubernetes sends on purpose.
    CANCEL = 5,
    /// Failure of the sender itself.
    INTERNAL_ERROR = 6,
    /// Window overrun, or a receiver that could not take more.
    FLOW_CONTROL_ERROR = 7,
    /// A second SYN_REPLY.
    STREAM_IN_USE = 8,
    /// A frame on a half-closed stream.
    STREAM_ALREADY_CLOSED = 9,
    /// A frame larger than the receiver supports.
    FRAME_TOO_LARGE = 11,
});

statuses!(GoAwayStatus {
    /// Normal end.
    OK = 0,
    /// The peer broke the protocol.
    PROTOCOL_ERROR = 1,
    /// Failure of the sender itself.
    INTERNAL_ERROR = 2,
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_unknown_numbers() {
        assert_eq!(RstStatus::CANCEL.to_string(), "CANCEL");
        assert_eq!(RstStatus::from_u32(99).to_string(), "status 99");
        assert_eq!(RstStatus::from_u32(5), RstStatus::CANCEL);
        assert_eq!(GoAwayStatus::OK.to_string(), "OK");
        assert_eq!(GoAwayStatus::from_u32(7).get(), 7);
    }
}
