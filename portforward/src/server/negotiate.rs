//! What a request says about upgrading (PROTOCOL.md 2.1, 2.3).

use super::answer::Answer;
use crate::http1::{Field, Fields};
use crate::upgrade::PORT_FORWARD_V1;
use std::collections::BTreeMap;

/// What the client wants the connection to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// No upgrade.
    Stay,
    /// SPDY/3.1.
    Spdy,
    /// A WebSocket, whatever its subprotocol.
    WebSocket,
    /// A protocol that is not on the list (T16).
    Other,
}

/// Reads `Connection` in all its lines and `Upgrade` in its first, as the real ones do.
pub(crate) fn wish(fields: &Fields) -> Wish {
    let upgrade = fields
        .all("connection")
        .any(|v| v.to_ascii_lowercase().windows(7).any(|w| w == b"upgrade"));
    if !upgrade {
        return Wish::Stay;
    }
    let mut tokens = fields
        .all("upgrade")
        .take(1)
        .flat_map(|v| v.split(|b| *b == b','))
        .map(<[u8]>::trim_ascii);
    let (Some(token), None) = (tokens.next(), tokens.next()) else {
        return Wish::Other;
    };
    if token.eq_ignore_ascii_case(b"spdy/3.1") {
        Wish::Spdy
    } else if token.eq_ignore_ascii_case(b"websocket") {
        Wish::WebSocket
    } else {
        Wish::Other
    }
}

/// The refusal of a request whose `Upgrade` is not on the list: it shows the fields that concern
/// it, and names the protocol version as the real one happens to.
pub(crate) fn missing_headers(fields: &Fields) -> Answer {
    Answer::error(400, &missing_headers_text(fields))
        .with("X-Stream-Protocol-Version", PORT_FORWARD_V1)
}

fn missing_headers_text(fields: &Fields) -> String {
    format!(
        "unable to upgrade: missing upgrade headers in request: {}",
        dump(fields)
    )
}

/// The fields that concern an upgrade, in the form of the real text. A list of what may be shown,
/// because an answer is no place for credentials (T36).
fn dump(fields: &Fields) -> String {
    const SHOWN: [&str; 6] = [
        "Connection",
        "Content-Length",
        "Upgrade",
        "User-Agent",
        "X-Forwarded-For",
        "X-Stream-Protocol-Version",
    ];
    let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for field in fields {
        if let Some(name) = SHOWN.iter().find(|n| field.name().eq_ignore_ascii_case(n)) {
            by_name
                .entry(name)
                .or_default()
                .push(format!("\"{}\"", shown(field)));
        }
    }
    let list: Vec<String> = by_name
        .iter()
        .map(|(name, values)| format!("\"{name}\":[]string{{{}}}", values.join(", ")))
        .collect();
    format!("http.Header{{{}}}", list.join(", "))
}

fn shown(field: &Field) -> String {
    crate::escape::bytes(field.value()).replace('"', "\\\"")
}

/// Picks the protocol version: the first the client names that is served here, and there is one.
#[cfg(feature = "node")]
pub(crate) fn protocol_version(fields: &Fields) -> Result<(), Answer> {
    const NAME: &str = "X-Stream-Protocol-Version";
    if !fields.has(NAME) {
        let mut names: Vec<String> = fields
            .iter()
            .map(|f| f.name().to_ascii_lowercase())
            .collect();
        names.retain(|n| n != "host");
        names.sort_unstable();
        names.dedup();
        let n = names.len();
        return Err(Answer::error(
            400,
            &format!("unable to upgrade: header {NAME} does not exist in request with {n} headers"),
        ));
    }
    let offered: Vec<&[u8]> = fields.list(NAME).collect();
    if offered.is_empty() {
        return Err(Answer::error(
            400,
            &format!("unable to upgrade: header {NAME} contains [], but no valid protocols"),
        ));
    }
    if offered.contains(&PORT_FORWARD_V1.as_bytes()) {
        return Ok(());
    }
    let names: Vec<String> = offered.iter().map(|v| crate::escape::bytes(v)).collect();
    Err(no_common_version(&names))
}

/// Nothing that the client names is served here.
#[cfg(feature = "node")]
pub(crate) fn no_common_version(names: &[String]) -> Answer {
    let text = format!(
        "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{PORT_FORWARD_V1}]",
        names.join(" ")
    );
    Answer::error(403, &text).with("X-Accepted-Stream-Protocol-Versions", PORT_FORWARD_V1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, &'static str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in list {
            fields.push(name, *value).unwrap();
        }
        fields
    }

    #[test]
    fn wishes() {
        let table: &[(&[(&str, &'static str)], Wish)] = &[
            (&[], Wish::Stay),
            (&[("Upgrade", "SPDY/3.1")], Wish::Stay),
            (
                &[("Connection", "keep-alive"), ("Upgrade", "SPDY/3.1")],
                Wish::Stay,
            ),
            (
                &[("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")],
                Wish::Spdy,
            ),
            (
                &[
                    ("Connection", "keep-alive, Upgrade"),
                    ("Upgrade", "spdy/3.1"),
                ],
                Wish::Spdy,
            ),
            (
                &[
                    ("Connection", "keep-alive"),
                    ("Connection", "UPGRADE"),
                    ("Upgrade", "spdy/3.1"),
                ],
                Wish::Spdy,
            ),
            (
                &[("Connection", "Upgrade"), ("Upgrade", "WebSocket")],
                Wish::WebSocket,
            ),
            (&[("Connection", "Upgrade")], Wish::Other),
            (&[("Connection", "Upgrade"), ("Upgrade", "")], Wish::Other),
            (
                &[("Connection", "Upgrade"), ("Upgrade", "h2c")],
                Wish::Other,
            ),
            (
                &[
                    ("Connection", "Upgrade, HTTP2-Settings"),
                    ("Upgrade", "h2c, SPDY/3.1"),
                ],
                Wish::Other,
            ),
            (
                &[("Connection", "Upgrade"), ("Upgrade", "TLS/1.0, HTTP/1.1")],
                Wish::Other,
            ),
            (
                &[("Connection", "Upgrade"), ("Upgrade", "xspdy/3.1")],
                Wish::Other,
            ),
            (
                &[
                    ("Connection", "Upgrade"),
                    ("Upgrade", "h2c"),
                    ("Upgrade", "SPDY/3.1"),
                ],
                Wish::Other,
            ),
        ];
        for (list, expected) in table {
            assert_eq!(wish(&fields(list)), *expected, "{list:?}");
        }
    }

    #[test]
    fn dumps_show_no_credentials() {
        let text = missing_headers_text(&fields(&[
            ("upgrade", "h2c"),
            ("Connection", "Upgrade"),
            ("Authorization", "Bearer canary"),
            ("Cookie", "canary"),
            ("X-Remote-User", "canary"),
        ]));
        assert_eq!(
            text,
            "unable to upgrade: missing upgrade headers in request: \
             http.Header{\"Connection\":[]string{\"Upgrade\"}, \"Upgrade\":[]string{\"h2c\"}}"
        );
    }
}
