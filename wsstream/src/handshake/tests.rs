use super::*;
use AnswerError as A;
use Refusal as R;

const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

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

fn request<'a>(changes: &[Field<'a>]) -> Vec<Field<'a>> {
    let good: [Field<'a>; 6] = [
        ("Host", b"h:1"),
        ("Connection", b"Upgrade"),
        ("Upgrade", b"websocket"),
        ("Sec-WebSocket-Version", b"13"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Protocol", b"a, b"),
    ];
    let changed = |name: &str| changes.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let kept = good.into_iter().filter(|(name, _)| !changed(name));
    kept.chain(changes.iter().copied().filter(|(_, v)| *v != b"-"))
        .collect()
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn requests_by_both_rules() {
    type Row<'a> = (&'a [Field<'a>], Result<usize, R>, Result<usize, R>);
    let table: &[Row<'_>] = &[
        (&[], Ok(2), Ok(2)),
        (&[("Connection", b"keep-alive, Upgrade")], Ok(2), Ok(2)),
        (
            &[("Connection", b"keep-alive"), ("Connection", b"UPGRADE")],
            Ok(2),
            Ok(2),
        ),
        (
            &[("Connection", b"no-upgrade-please")],
            Err(R::Connection),
            Ok(2),
        ),
        (
            &[("Connection", b"close")],
            Err(R::Connection),
            Err(R::Connection),
        ),
        (
            &[("Connection", b"-")],
            Err(R::Connection),
            Err(R::Connection),
        ),
        (&[("Upgrade", b"WebSocket")], Ok(2), Ok(2)),
        (&[("Upgrade", b"h2c, websocket")], Ok(2), Err(R::Upgrade)),
        (
            &[("Upgrade", b"h2c"), ("Upgrade", b"websocket")],
            Ok(2),
            Err(R::Upgrade),
        ),
        (
            &[("Upgrade", b"websockets")],
            Err(R::Upgrade),
            Err(R::Upgrade),
        ),
        (
            &[("Sec-WebSocket-Version", b"8")],
            Err(R::Version),
            Err(R::Version),
        ),
        (
            &[("Sec-WebSocket-Version", b"-")],
            Err(R::Version),
            Err(R::Version),
        ),
        (&[("Sec-WebSocket-Key", b"-")], Err(R::Key), Err(R::Key)),
        (&[("Sec-WebSocket-Key", b"\xFF")], Err(R::Key), Err(R::Key)),
        (
            &[("Sec-WebSocket-Key", KEY), ("Sec-WebSocket-Key", KEY)],
            Err(R::Key),
            Ok(2),
        ),
        (&[("Sec-WebSocket-Protocol", b"-")], Ok(0), Ok(0)),
        (&[("Sec-WebSocket-Protocol", b", a ,,")], Ok(1), Ok(1)),
        (
            &[
                ("Sec-WebSocket-Protocol", b"a"),
                ("sec-websocket-protocol", b"b"),
            ],
            Ok(2),
            Ok(1),
        ),
        (&[("Sec-WebSocket-Protocol", b"\xFF, b")], Ok(1), Ok(1)),
        (
            &[("Sec-WebSocket-Protocol", b"a\x0B, b c, d")],
            Ok(1),
            Ok(1),
        ),
        // T31: the six forms of Origin.
        (&[("Origin", b"http://h:1")], Ok(2), Ok(2)),
        (&[("Origin", b"HTTPS://H:1")], Ok(2), Ok(2)),
        (&[("Origin", b"http://evil.example")], Err(R::Origin), Ok(2)),
        (&[("Origin", b"null")], Err(R::Origin), Ok(2)),
        (&[("Origin", b"http://h:2")], Err(R::Origin), Ok(2)),
        (&[("Origin", b"")], Err(R::Origin), Ok(2)),
        (
            &[("Origin", b"http://h:1"), ("Origin", b"http://h:1")],
            Err(R::Origin),
            Ok(2),
        ),
        (
            &[("Origin", b"http://"), ("Host", b"")],
            Err(R::Origin),
            Ok(2),
        ),
        (
            &[("Origin", b"http://h:1"), ("Host", b"-")],
            Err(R::Origin),
            Ok(2),
        ),
    ];
    for (changes, strict, deployed) in table {
        for (rules, expected) in [(Rules::Strict, strict), (Rules::Deployed, deployed)] {
            let offer = Offer::read("GET", true, &request(changes), rules);
            let found = offer.as_ref().map(|o| o.protocols.len()).map_err(|e| *e);
            assert_eq!(found, *expected, "{changes:?} {rules:?}");
            if let Ok(offer) = offer {
                assert_eq!(offer.accept.as_bytes(), ACCEPT);
            }
        }
    }
    for (method, http11, expected) in [
        ("POST", true, Refusal::Method),
        ("get", true, Refusal::Method),
        ("GET", false, Refusal::HttpVersion),
    ] {
        let found = Offer::read(method, http11, &request(&[]), Rules::Strict);
        assert_eq!(found, Err(expected));
    }
    let statuses = [R::Method, R::Origin, R::Key, R::Version].map(R::status);
    assert_eq!(statuses, [405, 403, 400, 400]);
}

#[test]
fn what_is_selected_was_offered() {
    let offer = Offer::read("GET", true, &request(&[]), Rules::Strict).unwrap();
    let named = |protocol| {
        let fields = offer.accepted(protocol)?;
        let last = fields.last()?;
        Some((last.0 == "Sec-WebSocket-Protocol").then(|| last.1.clone()))
    };
    assert_eq!(named(Some("b")), Some(Some("b".to_owned())));
    assert_eq!(named(Some("c")), None);
    assert_eq!(named(None), Some(None));
}

/// What would be another field, or several names, is none; a browser's token is not shown.
#[test]
fn names_of_subprotocols() {
    let bad = ["", "a, b", "a\r\nX-Evil: 1", "a b", "\u{fc}"];
    for (at, bad) in bad.into_iter().enumerate() {
        let mut names = vec!["a"; 5];
        names.insert(at, bad);
        let opening = Opening::new(&names);
        assert_eq!(opening.err(), Some(OpeningError::Protocol(at)), "{bad:?}");
    }
    let token = "base64url.bearer.authorization.k8s.io.Y2FuYXJ5";
    let offered: &[Field<'_>] = &[("Sec-WebSocket-Protocol", token.as_bytes())];
    let offer = Offer::read("GET", true, &request(offered), Rules::Strict).unwrap();
    assert_eq!(offer.protocols, [token]);
    let opening = Opening::new(&[token]).unwrap();
    let parsed = crate::Subprotocol::parse(token);
    let shown = format!("{offer:?} {opening:?} {parsed:?}");
    assert!(!shown.contains("Y2FuYXJ5"), "{shown}");
}

fn answer<'a>(changes: &[Field<'a>]) -> Vec<Field<'a>> {
    let good: [Field<'a>; 4] = [
        ("Connection", b"Upgrade"),
        ("Upgrade", b"websocket"),
        ("Sec-WebSocket-Accept", ACCEPT),
        ("Sec-WebSocket-Protocol", b"b"),
    ];
    let changed = |name: &str| changes.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let kept = good.into_iter().filter(|(name, _)| !changed(name));
    kept.chain(changes.iter().copied().filter(|(_, v)| *v != b"-"))
        .collect()
}

#[test]
fn answers() {
    type Row<'a> = (&'a [Field<'a>], Result<Option<String>, A>);
    let key: [u8; 16] = *b"the sample nonce";
    let opening = Opening::with_key(key, &["a", "b"]).unwrap();
    let none = Opening::with_key(key, &[]).unwrap();
    let other = |name: &str| Err(A::Protocol(Some(name.into())));
    let table: &[Row<'_>] = &[
        (&[], Ok(Some("b".into()))),
        (
            &[("connection", b"keep-alive, upgrade")],
            Ok(Some("b".into())),
        ),
        (&[("Connection", b"-")], Err(A::Connection)),
        (&[("Upgrade", b"SPDY/3.1")], Err(A::Upgrade)),
        (&[("Sec-WebSocket-Accept", b"-")], Err(A::Accept)),
        (&[("Sec-WebSocket-Accept", KEY)], Err(A::Accept)),
        (
            &[
                ("Sec-WebSocket-Accept", ACCEPT),
                ("Sec-WebSocket-Accept", ACCEPT),
            ],
            Err(A::Accept),
        ),
        (
            &[("Sec-WebSocket-Extensions", b"permessage-deflate")],
            Err(A::Extension),
        ),
        (&[("Sec-WebSocket-Protocol", b"-")], Err(A::Protocol(None))),
        (&[("Sec-WebSocket-Protocol", b"")], Err(A::Protocol(None))),
        (&[("Sec-WebSocket-Protocol", b"c")], other("c")),
        (&[("Sec-WebSocket-Protocol", b"a, b")], other("a, b")),
        (
            &[
                ("Sec-WebSocket-Protocol", b"a"),
                ("Sec-WebSocket-Protocol", b"b"),
            ],
            other("a"),
        ),
    ];
    for (changes, expected) in table {
        let found = opening.check(101, true, &answer(changes));
        assert_eq!(&found, expected, "{changes:?}");
    }
    for status in [200, 301, 400, 401, 403, 404, 426, 500, 502, 503] {
        assert_eq!(
            opening.check(status, true, &answer(&[])),
            Err(A::Status(status))
        );
    }
    assert_eq!(opening.check(101, false, &answer(&[])), Err(A::HttpVersion));
    // Nothing offered: the empty field of real servers means nothing, a name is one too many.
    let empty: &[Field<'_>] = &[("Sec-WebSocket-Protocol", b"")];
    assert_eq!(none.check(101, true, &answer(empty)), Ok(None));
    assert_eq!(none.check(101, true, &answer(&[])), other("b"));
}

#[test]
fn both_halves_agree() {
    let opening = Opening::new(&["v4.channel.k8s.io"]).unwrap();
    let sent = opening.fields();
    let fields: Vec<Field<'_>> = sent.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
    let offer = Offer::read("GET", true, &fields, Rules::Strict).unwrap();
    let sent = offer.accepted(Some("v4.channel.k8s.io")).unwrap();
    let fields: Vec<Field<'_>> = sent.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
    let selected = opening.check(101, true, &fields);
    assert_eq!(selected, Ok(Some("v4.channel.k8s.io".to_owned())));
    let another = Opening::new(&["v4.channel.k8s.io"]).unwrap();
    assert_eq!(another.check(101, true, &fields), Err(AnswerError::Accept));
}
