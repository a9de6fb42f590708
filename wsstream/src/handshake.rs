use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// Appended to the client's key (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 §4.2.2). `None` if the key is not
/// base64 of 16 bytes.
///
/// ```
/// let accept = wsstream::accept_key("dGhlIHNhbXBsZSBub25jZQ==");
/// assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
/// ```
#[must_use]
pub fn accept_key(key: &str) -> Option<String> {
    if STANDARD.decode(key).ok()?.len() != 16 {
        return None;
    }
    let digest = Sha1::new()
        .chain_update(key.as_bytes())
        .chain_update(GUID)
        .finalize();
    Some(STANDARD.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::accept_key;

    #[test]
    fn bad_keys() {
        for key in [
            "",
            "abc",
            "dGhlIHNhbXBsZQ==",
            "dGhlIHNhbXBsZSBub25jZQ",
            " dGhlIHNhbXBsZSBub25jZQ==",
        ] {
            assert_eq!(accept_key(key), None, "{key:?}");
        }
    }
}
