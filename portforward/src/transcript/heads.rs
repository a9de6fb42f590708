//! What of a head may be written. Everything else is dropped here, before it can reach a file.

use super::Head;
use crate::http1::{Field, Fields, RequestHead, ResponseHead, Version, reason_phrase};

/// Fields that are written. None of them carries a credential by its definition; the one that can
/// (a browser puts its token among the subprotocols) is reduced to known names.
const ALLOWED: [&str; 7] = [
    "connection",
    "upgrade",
    "x-stream-protocol-version",
    "content-type",
    "content-length",
    "date",
    "sec-websocket-protocol",
];
/// The subprotocols that are written.
const SUBPROTOCOLS: [&str; 3] = [
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "SPDY/3.1+portforward.k8s.io",
];
/// Real values are shorter.
const VALUE: usize = 100;
/// The prefix of the server's URL stays out: it may name a tenant, or hold a key, and may itself be
/// the path of such a server behind another.
const API: &str = "/api/v1/namespaces/";

/// Whether a field of this name (lower case) may be in a transcript.
pub(super) fn is_allowed(name: &str) -> bool {
    ALLOWED.contains(&name)
}

impl Head {
    /// What is recorded of a request.
    #[must_use]
    pub fn of_request(head: &RequestHead) -> Self {
        let path = head.path();
        let path = path
            .rfind(API)
            .and_then(|at| path.get(at..))
            .unwrap_or("/(left-out)");
        Self {
            line: crate::escape::line(&format!("{} {path} HTTP/1.1", head.method)),
            fields: fields(&head.fields),
        }
    }

    /// What is recorded of a response. Its phrase is ours: a peer might put anything there.
    #[must_use]
    pub fn of_response(head: &ResponseHead) -> Self {
        let version = match head.version {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        };
        let phrase = reason_phrase(head.status);
        let line = format!("{version} {} {phrase}", head.status);
        Self {
            line: line.trim_end().to_owned(),
            fields: fields(&head.fields),
        }
    }
}

fn fields(all: &Fields) -> Vec<(String, String)> {
    let one = |field: &Field| {
        let name = field.name().to_ascii_lowercase();
        is_allowed(&name).then(|| {
            let value = value(&name, field.value());
            (name, value)
        })
    };
    all.into_iter().filter_map(one).collect()
}

fn value(name: &str, value: &[u8]) -> String {
    let left_out = || format!("({} bytes left out)", value.len());
    let plain = |b: &u8| b.is_ascii_graphic() || *b == b' ';
    let Some(text) = std::str::from_utf8(value)
        .ok()
        .filter(|text| (1..=VALUE).contains(&text.len()) && text.bytes().all(|b| plain(&b)))
    else {
        return left_out();
    };
    if name == "sec-websocket-protocol"
        && !text
            .split(',')
            .all(|one| SUBPROTOCOLS.contains(&one.trim()))
    {
        return left_out();
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pairs: &[(&str, &str)]) -> Head {
        let mut fields = Fields::new();
        for (name, value) in pairs {
            fields.push(name, (*value).to_owned()).unwrap();
        }
        Head::of_request(&RequestHead::new("GET", "/", fields))
    }

    #[test]
    fn only_the_allow_list_is_written() {
        let secret = "c4nary";
        for name in [
            "Authorization",
            "Cookie",
            "Set-Cookie",
            "Impersonate-User",
            "Host",
            "User-Agent",
            "X-Api-Key",
            "Proxy-Authorization",
            "WWW-Authenticate",
            "Audit-Id",
        ] {
            assert!(head(&[(name, secret)]).fields.is_empty(), "{name}");
        }
        let kept = head(&[("Upgrade", "SPDY/3.1"), ("CONNECTION", "Upgrade")]).fields;
        assert_eq!(kept.len(), 2);
        assert_eq!(kept[1], ("connection".to_owned(), "Upgrade".to_owned()));
    }

    /// The one allowed field in which a token can travel.
    #[test]
    fn a_token_among_the_subprotocols_is_not_written() {
        let with = "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.YzRuYXJ5";
        let fields = head(&[("Sec-WebSocket-Protocol", with)]).fields;
        assert_eq!(fields[0].1, format!("({} bytes left out)", with.len()));
        let known = "v4.channel.k8s.io, SPDY/3.1+portforward.k8s.io";
        let fields = head(&[("Sec-WebSocket-Protocol", known)]).fields;
        assert_eq!(fields[0].1, known);
    }

    #[test]
    fn odd_values_are_counted_only() {
        let long = "x".repeat(VALUE + 1);
        for odd in [long.as_str(), "caf\u{e9}", ""] {
            let fields = head(&[("date", odd)]).fields;
            assert_eq!(fields[0].1, format!("({} bytes left out)", odd.len()));
        }
    }

    #[test]
    fn prefix_and_query_of_a_target_are_left_out() {
        let line =
            |target: &str| Head::of_request(&RequestHead::new("POST", target, Fields::new())).line;
        let path = "/api/v1/namespaces/n/pods/p/portforward";
        let expected = format!("POST {path} HTTP/1.1");
        assert_eq!(line(path), expected);
        assert_eq!(line(&format!("/t0ken{path}?token=t0ken")), expected);
        let behind = format!("/api/v1/namespaces/t0ken/proxy{path}");
        assert_eq!(line(&behind), expected);
        assert_eq!(line("/t0ken"), "POST /(left-out) HTTP/1.1");
    }

    #[test]
    fn a_phrase_is_not_the_peers() {
        let mut head = ResponseHead::new(101, Fields::new());
        "c4nary".clone_into(&mut head.reason);
        assert_eq!(
            Head::of_response(&head).line,
            "HTTP/1.1 101 Switching Protocols"
        );
    }
}
