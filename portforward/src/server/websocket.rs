//! What a request for a WebSocket asks for, and the answers to it (PROTOCOL.md 4.1, 5.1).

use super::answer::{Answer, invalid, push_date};
use crate::http1::{Fields, RequestHead, ResponseHead};
use bytes::Bytes;
use std::io;
use wsstream::{Offer, Refusal, Rules, Subprotocol, TUNNEL_PREFIX};

/// The SPDY protocols that a request would have tunnelled; none: it asks for channels. Only the
/// first line counts, as with real gateways.
pub(crate) fn tunnelled(fields: &Fields) -> Vec<String> {
    let line = fields.get_str("sec-websocket-protocol").unwrap_or_default();
    Subprotocol::parse_list(line)
        .filter_map(|name| match name {
            Subprotocol::SpdyTunnel(inner) => Some(inner),
            _ => None,
        })
        .collect()
}

/// Reads the handshake, or the refusal of it.
pub(crate) fn offer(head: &RequestHead) -> Result<Offer, Answer> {
    // Where a page may come from is judged before anything else is (T31).
    Offer::read(&head.method, true, &head.fields.view(), Rules::Deployed).map_err(|refusal| {
        let text = match refusal {
            Refusal::Method => "Method Not Allowed",
            _ => "Bad Request",
        };
        Answer::error(refusal.status(), text).with("Sec-Websocket-Version", "13")
    })
}

/// The 101 that selects `protocol`, which must have been offered.
pub(crate) fn accepted(offer: &Offer, protocol: Option<&str>) -> io::Result<Bytes> {
    let mut fields = Fields::new();
    let not_offered = || io::Error::other("a subprotocol that was not offered");
    for (name, value) in offer.accepted(protocol).ok_or_else(not_offered)? {
        fields.push(name, value).map_err(invalid)?;
    }
    push_date(&mut fields);
    ResponseHead::new(101, fields).encode().map_err(invalid)
}

/// The subprotocol of a tunnelled protocol.
pub(crate) fn tunnel_name(inner: &str) -> String {
    format!("{TUNNEL_PREFIX}{inner}")
}
