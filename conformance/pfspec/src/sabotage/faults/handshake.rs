//! Faults in the opening handshake of WebSockets, and in how tunnels are agreed on.

use super::super::Fault;
use super::http::{accept, answered, asked, is_websocket, on_101};
use crate::case::Way::{self, Http, Tunnel, V4, V4Base64};
use crate::trial::TUNNEL as TUNNEL_NAME;

const SOCKETS: &[Way] = &[Http, Tunnel, V4, V4Base64];
const TUNNEL: &[Way] = &[Http, Tunnel];

pub(super) static FAULTS: &[Fault] = &[
    answered(
        "websocket/accept-wrong",
        "A Sec-WebSocket-Accept for another key",
        &["10.2"],
        SOCKETS,
        |_, r| {
            if r.head.has("sec-websocket-accept") {
                r.head
                    .set("Sec-WebSocket-Accept", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
            }
        },
    ),
    answered(
        "websocket/accept-missing",
        "No Sec-WebSocket-Accept",
        &["10.2"],
        SOCKETS,
        |_, r| {
            r.head.remove("sec-websocket-accept");
        },
    ),
    answered(
        "websocket/no-subprotocol",
        "The 101 names no subprotocol",
        &["10.4", "13.6"],
        SOCKETS,
        |_, r| {
            r.head.remove("sec-websocket-protocol");
        },
    ),
    answered(
        "websocket/other-subprotocol",
        "The 101 names a subprotocol that was not offered",
        &["10.4"],
        SOCKETS,
        |_, r| {
            if r.head.has("sec-websocket-protocol") {
                r.head.set("Sec-WebSocket-Protocol", "v5.channel.k8s.io");
            }
        },
    ),
    answered(
        "tunnel/prefix-lost",
        "The subprotocol comes back without its prefix",
        &["13.6"],
        TUNNEL,
        |_, r| {
            let value = r.head.get("sec-websocket-protocol").to_owned();
            if let Some(rest) = value.strip_prefix("SPDY/3.1+") {
                r.head.set("Sec-WebSocket-Protocol", rest);
            }
        },
    ),
    answered(
        "websocket/extension",
        "The 101 names an extension",
        &["10.6"],
        SOCKETS,
        |asked, r| {
            if is_websocket(asked) {
                on_101(r, |r| {
                    r.head.set("Sec-WebSocket-Extensions", "permessage-deflate");
                });
            }
        },
    ),
    asked(
        "websocket/any-version",
        "Accepts every version of WebSocket",
        &["10.5"],
        SOCKETS,
        |a| {
            if is_websocket(&a.head) && a.head.get("sec-websocket-version") != "13" {
                a.head.set("Sec-WebSocket-Version", "13");
            }
        },
    ),
    asked(
        "tunnel/list-refused",
        "Wants the tunnel's name alone",
        &["13.3"],
        TUNNEL,
        |a| {
            let offered = a.head.get("sec-websocket-protocol");
            if offered.contains("SPDY/3.1+") && offered.contains(',') {
                a.refuse("400 Bad Request", "unable to upgrade\n");
            }
        },
    ),
    asked(
        "tunnel/unknown-accepted",
        "Takes every tunnel for one of port-forward",
        &["13.7"],
        TUNNEL,
        |a| {
            if a.head.get("sec-websocket-protocol").contains("SPDY/3.1+") {
                a.head.set("Sec-WebSocket-Protocol", TUNNEL_NAME);
            }
        },
    ),
    answered(
        "tunnel/101-before-backend",
        "Answers 101 whatever the backend says",
        &["13.5", "13.7"],
        TUNNEL,
        |asked, r| {
            if is_websocket(asked) && r.head.status() >= 400 && !r.body.starts_with(b"{") {
                accept(asked, r);
            }
        },
    ),
    answered(
        "tunnel/refusal-as-500",
        "Makes every refusal of the backend a 500",
        &["13.7", "6.20"],
        TUNNEL,
        |asked, r| {
            if is_websocket(asked) && r.head.status() >= 400 {
                r.become_status("500 Internal Server Error");
            }
        },
    ),
    asked(
        "websocket/any-key",
        "Upgrades without a key",
        &["10.2"],
        SOCKETS,
        |a| {
            if is_websocket(&a.head) && !a.head.has("sec-websocket-key") {
                a.head.set("Sec-WebSocket-Key", crate::trial::KEY);
            }
        },
    ),
    answered(
        "websocket/subprotocol-unasked",
        "The 101 names a subprotocol where none of the server's was offered",
        &["10.4", "11.5"],
        SOCKETS,
        |asked, r| {
            if is_websocket(asked) && !asked.get("sec-websocket-protocol").contains(TUNNEL_NAME) {
                let known = asked
                    .get("sec-websocket-protocol")
                    .contains("channel.k8s.io");
                if !known {
                    accept(asked, r);
                    r.head.set("Sec-WebSocket-Protocol", "v4.channel.k8s.io");
                }
            }
        },
    ),
    asked(
        "tunnel/first-name-only",
        "Looks at the first name of the list only",
        &["13.3", "13.4"],
        TUNNEL,
        |a| {
            let offered = a.head.get("sec-websocket-protocol").to_owned();
            if let Some((first, _)) = offered.split_once(',') {
                a.head.set("Sec-WebSocket-Protocol", first.trim());
            }
        },
    ),
    asked(
        "tunnel/last-line-only",
        "Looks at the last line of names only",
        &["13.3"],
        TUNNEL,
        |a| {
            let name = "Sec-WebSocket-Protocol";
            let mut lines = a.head.fields.iter();
            let last = lines.rfind(|(known, _)| known.eq_ignore_ascii_case(name));
            if let Some((_, value)) = last.cloned() {
                a.head.set(name, &value);
            }
        },
    ),
    asked(
        "tunnel/any-name",
        "Takes every name for that of the tunnel",
        &["13.2"],
        TUNNEL,
        |a| {
            if is_websocket(&a.head) {
                a.head.set("Sec-WebSocket-Protocol", TUNNEL_NAME);
            }
        },
    ),
];
