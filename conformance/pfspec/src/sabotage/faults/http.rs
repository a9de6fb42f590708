//! Faults in request heads and answers, of SPDY and of WebSockets.

use super::super::{Act, Asked, Fault, Head, Reply};
use crate::case::Way::{self, Http, Spdy, Tunnel, V4, V4Base64};
use crate::probe::wire;
use std::time::Duration;

const ALL: &[Way] = &[Http, Spdy, Tunnel, V4, V4Base64];
const SPDY: &[Way] = &[Http, Spdy];
const SOCKETS: &[Way] = &[Http, Tunnel, V4, V4Base64];

fn is_spdy(head: &Head) -> bool {
    head.upgrades_to("spdy")
}

pub(super) fn is_websocket(head: &Head) -> bool {
    head.upgrades_to("websocket")
}

/// Makes any answer the 101 that the request would have liked.
pub(super) fn accept(asked: &Head, reply: &mut Reply) {
    reply.become_status("101 Switching Protocols");
    reply.body.clear();
    reply.head.fields.clear();
    reply.head.set("Connection", "Upgrade");
    if is_websocket(asked) {
        let offered = asked.get("sec-websocket-protocol");
        let first = offered.split(',').next().unwrap_or_default().trim();
        reply.head.set("Upgrade", "websocket");
        reply.head.set("Sec-WebSocket-Protocol", first);
        reply
            .head
            .set("Sec-WebSocket-Accept", &crate::trial::accept());
    } else {
        reply.head.set("Upgrade", "SPDY/3.1");
        let protocol = crate::trial::PROTOCOL;
        reply.head.set("X-Stream-Protocol-Version", protocol);
    }
}

fn replace_in_body(
    reply: &mut Reply,
    replace: impl Fn(&mut serde_json::Map<String, serde_json::Value>),
) {
    if let Ok(serde_json::Value::Object(mut object)) = serde_json::from_slice(&reply.body) {
        replace(&mut object);
        reply.body = serde_json::Value::Object(object).to_string().into_bytes();
    }
}

fn contains(body: &[u8], words: &[u8]) -> bool {
    body.windows(words.len()).any(|part| part == words)
}

pub(super) fn on_101(reply: &mut Reply, change: impl Fn(&mut Reply)) {
    if reply.head.status() == 101 {
        change(reply);
    }
}

fn on_status(reply: &mut Reply, status: u16, becomes: &str) {
    if reply.head.status() == status {
        reply.become_status(becomes);
    }
}

pub(super) const fn asked(
    id: &'static str,
    title: &'static str,
    breaks: &'static [&'static str],
    on: &'static [Way],
    act: fn(&mut Asked),
) -> Fault {
    Fault::new(id, title, breaks, on, Act::Request(act))
}

pub(super) const fn answered(
    id: &'static str,
    title: &'static str,
    breaks: &'static [&'static str],
    on: &'static [Way],
    act: fn(&Head, &mut Reply),
) -> Fault {
    Fault::new(id, title, breaks, on, Act::Answer(act))
}

pub(super) static FAULTS: &[Fault] = &[
    answered(
        "http/200-for-101",
        "Answers an upgrade with 200",
        &["6.8", "6.1"],
        ALL,
        |_, r| {
            on_status(r, 101, "200 OK");
        },
    ),
    answered(
        "http/redirects",
        "Answers an upgrade with a redirect",
        &["6.8"],
        ALL,
        |_, r| {
            on_101(r, |r| {
                r.become_status("302 Found");
                r.head.set("Location", "/elsewhere");
                r.head.set("Content-Length", "0");
            });
        },
    ),
    answered(
        "http/no-answer",
        "Never answers an upgrade",
        &["6.8"],
        ALL,
        |_, r| {
            on_101(r, |r| r.pause = Duration::from_secs(80));
        },
    ),
    answered(
        "http/closes-behind-101",
        "Closes right behind the 101",
        &["6.8", "6.24"],
        ALL,
        |_, r| {
            on_101(r, |r| r.close = true);
        },
    ),
    answered(
        "http/101-without-upgrade",
        "No Upgrade in the 101",
        &["6.8", "10.2"],
        ALL,
        |_, r| {
            on_101(r, |r| r.head.remove("upgrade"));
        },
    ),
    answered(
        "http/101-without-connection",
        "No Connection in the 101",
        &["6.8", "10.2"],
        ALL,
        |_, r| {
            on_101(r, |r| r.head.remove("connection"));
        },
    ),
    answered(
        "http/101-with-close",
        "Connection: close in the 101",
        &["6.8"],
        ALL,
        |_, r| {
            on_101(r, |r| r.head.set("Connection", "close"));
        },
    ),
    answered(
        "http/101-other-upgrade",
        "The 101 names SPDY/3",
        &["6.8"],
        SPDY,
        |asked, r| {
            if is_spdy(asked) {
                on_101(r, |r| r.head.set("Upgrade", "SPDY/3"));
            }
        },
    ),
    answered(
        "http/101-without-protocol",
        "No X-Stream-Protocol-Version in the 101",
        &["6.8"],
        SPDY,
        |_, r| {
            on_101(r, |r| r.head.remove("x-stream-protocol-version"));
        },
    ),
    answered(
        "http/101-other-protocol",
        "Another protocol in the 101 than was asked for",
        &["6.8"],
        SPDY,
        |asked, r| {
            if is_spdy(asked) {
                on_101(r, |r| {
                    r.head.set("X-Stream-Protocol-Version", "v4.channel.k8s.io");
                });
            }
        },
    ),
    answered(
        "http/101-names-all",
        "The 101 repeats the whole list of protocols",
        &["6.7", "6.8"],
        SPDY,
        |asked, r| {
            if is_spdy(asked) {
                let list: Vec<&str> = asked
                    .fields
                    .iter()
                    .filter(|(name, _)| name.eq_ignore_ascii_case("x-stream-protocol-version"))
                    .map(|(_, value)| value.as_str())
                    .collect();
                let list = list.join(", ");
                on_101(r, |r| r.head.set("X-Stream-Protocol-Version", &list));
            }
        },
    ),
    answered(
        "http/settings-behind-101",
        "SETTINGS in one write with the 101",
        &["5.1", "2.13"],
        SPDY,
        |asked, r| {
            if is_spdy(asked) {
                on_101(r, |r| r.body = wire::control(3, wire::SETTINGS, 0, &[0; 4]));
            }
        },
    ),
    asked(
        "http/refuses-get",
        "Refuses GET for SPDY",
        &["6.3"],
        SPDY,
        |a| {
            if is_spdy(&a.head) && a.head.first.starts_with("GET ") {
                a.refuse("405 Method Not Allowed", "POST only\n");
            }
        },
    ),
    asked(
        "http/connection-exact",
        "Wants `Connection: Upgrade` and nothing else",
        &["6.6"],
        ALL,
        |a| {
            if a.head.has("upgrade") && a.head.get("connection") != "Upgrade" {
                a.refuse("400 Bad Request", "Upgrade request required\n");
            }
        },
    ),
    asked(
        "http/connection-case",
        "Looks for `Upgrade` in Connection with its case",
        &["6.6"],
        ALL,
        |a| {
            if a.head.has("upgrade") && !a.head.get("connection").contains("Upgrade") {
                a.refuse("400 Bad Request", "Upgrade request required\n");
            }
        },
    ),
    asked(
        "http/upgrade-case",
        "Looks for `SPDY/3.1` with its case",
        &["6.6"],
        SPDY,
        |a| {
            if is_spdy(&a.head) && a.head.get("upgrade") != "SPDY/3.1" {
                a.refuse("400 Bad Request", "unable to upgrade\n");
            }
        },
    ),
    asked(
        "http/websocket-case",
        "Looks for `websocket` with its case",
        &["13.2", "6.6"],
        SOCKETS,
        |a| {
            if is_websocket(&a.head) && a.head.get("upgrade") != "websocket" {
                a.refuse("400 Bad Request", "unable to upgrade\n");
            }
        },
    ),
    asked(
        "http/field-case",
        "Knows the protocol's field in one spelling only",
        &["6.7"],
        SPDY,
        |a| {
            let name = "X-Stream-Protocol-Version";
            let other = a
                .head
                .fields
                .iter()
                .any(|(known, _)| known != name && known.eq_ignore_ascii_case(name));
            if other {
                a.refuse("400 Bad Request", "no protocol\n");
            }
        },
    ),
    asked(
        "http/protocol-no-list",
        "Takes a list of protocols as one name",
        &["6.7"],
        SPDY,
        |a| {
            if is_spdy(&a.head) && a.head.get("x-stream-protocol-version").contains(',') {
                a.refuse("403 Forbidden", "unable to negotiate protocol\n");
            }
        },
    ),
    asked(
        "http/protocol-first-only",
        "Looks at the first of the client's protocols only",
        &["6.7"],
        SPDY,
        |a| {
            if is_spdy(&a.head) {
                let value = a.head.get("x-stream-protocol-version").to_owned();
                let first = value.split(',').next().unwrap_or_default().trim();
                if a.head.has("x-stream-protocol-version") {
                    a.head.set("X-Stream-Protocol-Version", first);
                }
            }
        },
    ),
    asked(
        "http/protocol-first-line",
        "Looks at the first line of protocols only",
        &["6.7"],
        SPDY,
        |a| {
            let value = a.head.get("x-stream-protocol-version").to_owned();
            if a.head.has("x-stream-protocol-version") {
                a.head.set("X-Stream-Protocol-Version", &value);
            }
        },
    ),
    asked(
        "http/protocol-missing-accepted",
        "Accepts a request without a protocol",
        &["6.11"],
        SPDY,
        |a| {
            if is_spdy(&a.head) && !a.head.has("x-stream-protocol-version") {
                a.head
                    .set("X-Stream-Protocol-Version", crate::trial::PROTOCOL);
            }
        },
    ),
    asked(
        "http/protocol-unknown-accepted",
        "Accepts any protocol",
        &["6.12"],
        SPDY,
        |a| {
            if is_spdy(&a.head) && a.head.has("x-stream-protocol-version") {
                a.head
                    .set("X-Stream-Protocol-Version", crate::trial::PROTOCOL);
            }
        },
    ),
    asked(
        "http/other-upgrade-accepted",
        "Takes every upgrade for one to SPDY",
        &["6.13"],
        ALL,
        |a| {
            if a.head.has("upgrade") && !is_spdy(&a.head) && !is_websocket(&a.head) {
                a.head.set("Upgrade", "SPDY/3.1");
            }
        },
    ),
    answered(
        "http/404-for-403",
        "404 where it should be 403",
        &["6.12", "6.30"],
        ALL,
        |_, r| {
            on_status(r, 403, "404 Not Found");
        },
    ),
    answered(
        "http/403-without-versions",
        "Does not say which protocols it accepts",
        &["6.12", "6.20"],
        SPDY,
        |_, r| {
            r.head.remove("x-accepted-stream-protocol-versions");
        },
    ),
    answered(
        "http/500-for-404",
        "500 for an unknown pod",
        &["6.16"],
        ALL,
        |_, r| {
            on_status(r, 404, "500 Internal Server Error");
        },
    ),
    answered(
        "http/403-for-401",
        "403 for somebody whom it does not know",
        &["6.29"],
        ALL,
        |_, r| {
            on_status(r, 401, "403 Forbidden");
        },
    ),
    answered(
        "http/500-for-400",
        "500 for a bad request",
        &["6.14", "6.11", "11.2", "6.17"],
        ALL,
        |_, r| {
            on_status(r, 400, "500 Internal Server Error");
        },
    ),
    answered(
        "http/200-for-400",
        "200 for a request that is no upgrade",
        &["6.14", "6.13"],
        ALL,
        |_, r| {
            on_status(r, 400, "200 OK");
        },
    ),
    answered(
        "http/no-status-object",
        "Its own errors are plain text",
        &["6.15"],
        ALL,
        |_, r| {
            if r.head.status() >= 400 && r.body.starts_with(b"{") {
                r.body = b"something went wrong\n".to_vec();
                r.head.set("Content-Type", "text/plain");
            }
        },
    ),
    answered(
        "http/status-as-text",
        "Status objects are said to be text",
        &["6.15"],
        ALL,
        |_, r| {
            if r.head.status() >= 400 && r.body.starts_with(b"{") {
                r.head.set("Content-Type", "text/plain");
            }
        },
    ),
    answered(
        "http/status-without-message",
        "Status objects have no message",
        &["6.15"],
        ALL,
        |_, r| {
            replace_in_body(r, |status| drop(status.remove("message")));
        },
    ),
    answered(
        "http/status-other-code",
        "Status objects have another code than the answer",
        &["6.15"],
        ALL,
        |_, r| {
            replace_in_body(r, |status| {
                drop(status.insert("code".to_owned(), 500.into()));
            });
        },
    ),
    answered(
        "http/status-other-reason",
        "Status objects have the wrong reason",
        &["6.15", "6.16"],
        ALL,
        |_, r| {
            replace_in_body(r, |status| {
                drop(status.insert("reason".to_owned(), "InternalError".into()));
            });
        },
    ),
    answered(
        "http/errors-without-body",
        "Errors have no body",
        &["6.20", "6.15"],
        ALL,
        |_, r| {
            if r.head.status() >= 400 {
                r.body.clear();
            }
        },
    ),
    answered(
        "http/error-body-cut",
        "The body of an error ends too soon",
        &["6.20", "6.15"],
        ALL,
        |_, r| {
            if r.head.status() >= 400 && r.body.len() > 10 {
                r.body.truncate(10);
            }
        },
    ),
    answered(
        "http/everybody-may",
        "Everybody may forward",
        &["6.29", "6.30", "6.31", "6.32"],
        ALL,
        |asked, r| {
            if matches!(r.head.status(), 401 | 403)
                && asked.has("upgrade")
                && r.body.starts_with(b"{")
            {
                accept(asked, r);
            }
        },
    ),
    answered(
        "http/every-pod-is-there",
        "Takes any name for that of a pod",
        &["6.16"],
        ALL,
        |asked, r| {
            if r.head.status() == 404 && asked.has("upgrade") {
                accept(asked, r);
            }
        },
    ),
    asked(
        "http/early-bytes-lost",
        "Loses bytes behind the head of the request",
        &["6.5"],
        ALL,
        |a| {
            a.behind.clear();
        },
    ),
    asked(
        "http/always-101",
        "Answers every upgrade with 101 itself",
        &["6.1", "6.17", "6.20", "6.31", "13.2", "13.5", "13.7"],
        ALL,
        |a| {
            if a.head.has("upgrade") {
                let mut reply = Reply::default();
                accept(&a.head, &mut reply);
                a.answer = Some(reply.head.bytes());
            }
        },
    ),
    asked(
        "http/field-names-exact",
        "Knows Connection and Upgrade in one spelling only",
        &["6.6"],
        ALL,
        |a| {
            let other = a.head.fields.iter().any(|(name, _)| {
                ["Connection", "Upgrade"]
                    .iter()
                    .any(|known| name != known && name.eq_ignore_ascii_case(known))
            });
            if other {
                a.refuse("400 Bad Request", "Upgrade request required\n");
            }
        },
    ),
    answered(
        "http/credentials-passed",
        "Shows the user's credentials to the backend",
        &["14.17"],
        ALL,
        |_, r| {
            if r.head.status() >= 400 && contains(&r.body, b"X-Stream-Protocol-Version") {
                r.body.extend(b"Authorization: Bearer somebody\n");
            }
        },
    ),
    answered(
        "http/serves-behind-refusal",
        "Lets the backend answer what comes behind a refused upgrade",
        &["14.15"],
        ALL,
        |asked, r| {
            if asked.has("upgrade") && r.head.status() >= 400 && r.head.has("content-length") {
                r.behind = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_vec();
            }
        },
    ),
];
