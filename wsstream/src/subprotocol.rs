use crate::Hidden;
use std::fmt;

/// What a tunnel's subprotocol begins with (PROTOCOL.md 5.1).
pub const TUNNEL_PREFIX: &str = "SPDY/3.1+";
/// What it ends with.
pub const TUNNEL_SUFFIX: &str = ".k8s.io";

/// A value of `Sec-WebSocket-Protocol`, by what Kubernetes does with it for port-forward. `Debug` does not tell
/// [`Subprotocol::Other`]: a browser may send its bearer token as one.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subprotocol {
    /// `v4.channel.k8s.io`: binary messages, a channel byte in front.
    ChannelV4,
    /// `v4.base64.channel.k8s.io`: text messages, a digit in front.
    Base64ChannelV4,
    /// `SPDY/3.1+NAME.k8s.io`: SPDY bytes in binary messages; the field is what stands behind the
    /// plus sign, for example `portforward.k8s.io`.
    SpdyTunnel(String),
    /// Anything else, the channel protocols of exec included (see [`crate::Channels`]): refused for
    /// port-forward.
    Other(String),
}

impl fmt::Debug for Subprotocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChannelV4 => f.write_str("ChannelV4"),
            Self::Base64ChannelV4 => f.write_str("Base64ChannelV4"),
            Self::SpdyTunnel(inner) => f.debug_tuple("SpdyTunnel").field(inner).finish(),
            Self::Other(name) => f.debug_tuple("Other").field(&Hidden(name.len())).finish(),
        }
    }
}

impl Subprotocol {
    /// Reads one name. Names are case-sensitive.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name {
            "v4.channel.k8s.io" => Self::ChannelV4,
            "v4.base64.channel.k8s.io" => Self::Base64ChannelV4,
            _ => match name.strip_prefix(TUNNEL_PREFIX) {
                Some(inner) if inner.ends_with(TUNNEL_SUFFIX) => Self::SpdyTunnel(inner.to_owned()),
                _ => Self::Other(name.to_owned()),
            },
        }
    }

    /// Reads a header value: names separated by commas, in order of preference.
    pub fn parse_list(value: &str) -> impl Iterator<Item = Self> {
        value
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(Self::parse)
    }
}

impl fmt::Display for Subprotocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChannelV4 => f.write_str("v4.channel.k8s.io"),
            Self::Base64ChannelV4 => f.write_str("v4.base64.channel.k8s.io"),
            Self::SpdyTunnel(inner) => write!(f, "{TUNNEL_PREFIX}{inner}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let tunnel = Subprotocol::SpdyTunnel("portforward.k8s.io".into());
        let list: Vec<_> = Subprotocol::parse_list(
            "SPDY/3.1+portforward.k8s.io, v4.channel.k8s.io,,channel.k8s.io",
        )
        .collect();
        assert_eq!(
            list,
            [
                tunnel,
                Subprotocol::ChannelV4,
                Subprotocol::Other("channel.k8s.io".into())
            ]
        );
        for name in [
            "v4.channel.k8s.io",
            "v4.base64.channel.k8s.io",
            "SPDY/3.1+x.k8s.io",
            "SPDY/3.1+x",
            "V4.channel.k8s.io",
        ] {
            assert_eq!(Subprotocol::parse(name).to_string(), name);
        }
        assert!(matches!(
            Subprotocol::parse("spdy/3.1+portforward.k8s.io"),
            Subprotocol::Other(_)
        ));
    }
}
