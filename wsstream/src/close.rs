//! Close codes (RFC 6455 §7.4) and the payload of a Close frame.

use crate::error::DecodeErrorKind;
use bytes::Bytes;
use std::fmt;

/// Bytes of reason that fit behind the code.
pub const MAX_REASON: usize = 123;

/// Why a connection is closed. Unknown codes keep their number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000, the purpose is fulfilled. In a tunnel: end of stream.
    pub const NORMAL: Self = Self(1000);
    /// 1001, the endpoint goes away.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002, the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003, a type of data that cannot be taken.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1007, text that is not UTF-8, or not what the message promised.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008, against the endpoint's policy.
    pub const POLICY: Self = Self(1008);
    /// 1009, too large.
    pub const TOO_BIG: Self = Self(1009);
    /// 1010, the client misses an extension.
    pub const EXTENSION: Self = Self(1010);
    /// 1011, the server met an unexpected condition.
    pub const INTERNAL: Self = Self(1011);
    /// 1012 (IANA registry), the service restarts.
    pub const RESTART: Self = Self(1012);
    /// 1013 (IANA registry), try again later.
    pub const TRY_LATER: Self = Self(1013);
    /// 1014 (IANA registry), a gateway got a bad answer.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// A code that may stand in a Close frame: 1000 to 1003, 1007 to 1014, 3000 to 4999. The
    /// others are reserved, or say what no frame can (1005, 1006, 1015).
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Its name in the registry, if it has one.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            1000 => "normal closure",
            1001 => "going away",
            1002 => "protocol error",
            1003 => "unsupported data",
            1007 => "invalid payload",
            1008 => "policy violation",
            1009 => "message too big",
            1010 => "mandatory extension",
            1011 => "internal error",
            1012 => "service restart",
            1013 => "try again later",
            1014 => "bad gateway",
            _ => return None,
        })
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({name})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({self})")
    }
}

/// What a Close frame says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CloseFrame {
    /// The code; a frame may have none.
    pub code: Option<CloseCode>,
    /// Text for people, at most 123 bytes, as the peer wrote it: escape it before showing it.
    pub reason: String,
}

impl CloseFrame {
    /// A code without text.
    #[must_use]
    pub const fn new(code: CloseCode) -> Self {
        Self {
            code: Some(code),
            reason: String::new(),
        }
    }

    /// With a text, cut at a character to the 123 bytes that fit.
    #[must_use]
    pub fn with_reason(code: CloseCode, reason: &str) -> Self {
        Self {
            code: Some(code),
            reason: fitting(reason).to_owned(),
        }
    }

    /// Reads a Close frame's payload (RFC 6455 §5.5.1).
    ///
    /// # Errors
    /// One byte, a code that no frame may have, a reason that is not UTF-8.
    pub fn parse(payload: &[u8]) -> Result<Self, DecodeErrorKind> {
        let Some((code, reason)) = payload.split_first_chunk() else {
            return match payload {
                [] => Ok(Self::default()),
                _ => Err(DecodeErrorKind::CloseLength),
            };
        };
        let code = u16::from_be_bytes(*code);
        let code = CloseCode::new(code).ok_or(DecodeErrorKind::CloseCode(code))?;
        let reason = std::str::from_utf8(reason).map_err(|_| DecodeErrorKind::CloseReason)?;
        Ok(Self {
            code: Some(code),
            reason: reason.to_owned(),
        })
    }

    /// The payload on the wire. Without a code there is no reason either.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Some(code) = self.code else {
            return Bytes::new();
        };
        let reason = fitting(&self.reason).as_bytes();
        [&code.get().to_be_bytes()[..], reason].concat().into()
    }
}

/// As much of a text as fits behind the code.
fn fitting(text: &str) -> &str {
    let fits = (0..=MAX_REASON).rev().find_map(|end| text.get(..end));
    if text.len() <= MAX_REASON {
        text
    } else {
        fits.unwrap_or_default()
    }
}

impl fmt::Display for CloseFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.reason.is_empty()) {
            (None, _) => f.write_str("no code"),
            (Some(code), true) => write!(f, "{code}"),
            (Some(code), false) => write!(f, "{code}: {:?}", self.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DecodeErrorKind as E;

    #[test]
    fn codes_that_a_frame_may_have() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
            assert_eq!(CloseCode::new(code), None, "{code}");
        }
        for code in [1000, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999] {
            assert_eq!(CloseCode::new(code).unwrap().get(), code);
        }
        assert_eq!(CloseCode::NORMAL.to_string(), "1000 (normal closure)");
        assert_eq!(CloseCode::new(4001).unwrap().to_string(), "4001");
    }

    #[test]
    fn payloads() {
        let full = CloseFrame::with_reason(CloseCode::INTERNAL, &"ä".repeat(62));
        assert_eq!(full.reason.len(), 122, "cut at a character");
        for frame in [
            CloseFrame::default(),
            CloseFrame::new(CloseCode::NORMAL),
            full,
        ] {
            assert_eq!(CloseFrame::parse(&frame.encode()), Ok(frame));
        }
        assert_eq!(CloseFrame::parse(&[3]), Err(E::CloseLength));
        assert_eq!(CloseFrame::parse(&[3, 0xED]), Err(E::CloseCode(1005)));
        assert_eq!(CloseFrame::parse(b"\x03\xE8\xFF"), Err(E::CloseReason));
        let long = CloseFrame {
            code: Some(CloseCode::NORMAL),
            reason: "x".repeat(1000),
        };
        assert_eq!(long.encode().len(), 125);
    }
}
