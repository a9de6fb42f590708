//! What heads must not look like, what is said about it, and where.

use super::super::HeadErrorKind as K;
use super::super::TargetFault as F;
use super::{request, response};

/// T16, T18: what a request must not look like, what is said, and where.
pub(crate) const REQUESTS: &[(&str, K, usize)] = &[
    // Start line.
    ("\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", K::EmptyStart, 0),
    ("GET / HTTP/1.1\nHost: x\r\n\r\n", K::BareLf, 14),
    ("GET /\r\n\r\n", K::RequestLine, 0),
    ("GET\r\n\r\n", K::RequestLine, 0),
    (" GET / HTTP/1.1\r\nHost: x\r\n\r\n", K::RequestLine, 0),
    ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", K::RequestLine, 0),
    ("GET / HTTP/1.1 \r\nHost: x\r\n\r\n", K::RequestLine, 0),
    ("GET / a HTTP/1.1\r\nHost: x\r\n\r\n", K::RequestLine, 0),
    ("GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", K::RequestLine, 0),
    ("G(T / HTTP/1.1\r\nHost: x\r\n\r\n", K::RequestLine, 0),
    ("GET / http/1.1\r\nHost: x\r\n\r\n", K::RequestLine, 6),
    ("GET / HTTP/1.\r\nHost: x\r\n\r\n", K::RequestLine, 6),
    ("GET / HTTP/1.0\r\nHost: x\r\n\r\n", K::Version, 6),
    ("GET / HTTP/1.2\r\nHost: x\r\n\r\n", K::Version, 6),
    ("GET / HTTP/0.9\r\nHost: x\r\n\r\n", K::Version, 6),
    ("PRI * HTTP/2.0\r\n\r\n", K::Version, 6),
    ("GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", K::Nul, 5),
    ("GET /\x0b HTTP/1.1\r\nHost: x\r\n\r\n", K::Control, 5),
    ("GET /\rx HTTP/1.1\r\nHost: x\r\n\r\n", K::BareCr, 5),
    ("\x16\x03\x01\x02\n\r\n", K::BareLf, 4),
    // Target.
    (
        "GET http://x/api HTTP/1.1\r\nHost: x\r\n\r\n",
        K::Target(F::Form),
        4,
    ),
    (
        "CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        K::Target(F::Form),
        8,
    ),
    (
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        K::Target(F::Form),
        8,
    ),
    (
        "GET /api//v1 HTTP/1.1\r\nHost: x\r\n\r\n",
        K::Target(F::EmptySegment),
        9,
    ),
    (
        "GET /api/v1/ HTTP/1.1\r\nHost: x\r\n\r\n",
        K::Target(F::EmptySegment),
        12,
    ),
    (
        "GET /api/../x HTTP/1.1\r\nHost: x\r\n\r\n",
        K::Target(F::DotSegment),
        9,
    ),
    (
        "GET /api/%2e%2e/x HTTP/1.1\r\nHost: x\r\n\r\n",
        K::Target(F::Escape),
        9,
    ),
    (
        "GET /api%2fv1 HTTP/1.1\r\nHost: x\r\n\r\n",
        K::Target(F::Escape),
        8,
    ),
    (
        "GET /api;a=b HTTP/1.1\r\nHost: x\r\n\r\n",
        K::Target(F::Path),
        8,
    ),
    (
        "GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
        K::Target(F::Path),
        6,
    ),
    (
        "GET /a?b#c HTTP/1.1\r\nHost: x\r\n\r\n",
        K::Target(F::Query),
        8,
    ),
    // Field lines.
    ("GET / HTTP/1.1\r\nHost: x\n\r\n", K::BareLf, 23),
    ("GET / HTTP/1.1\r\nHost: x\r\n\n", K::BareLf, 25),
    (
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        K::SpaceBeforeColon,
        20,
    ),
    (
        "GET / HTTP/1.1\r\nHost\t: x\r\n\r\n",
        K::SpaceBeforeColon,
        20,
    ),
    ("GET / HTTP/1.1\r\nHo st: x\r\n\r\n", K::FieldName, 18),
    ("GET / HTTP/1.1\r\n: x\r\n\r\n", K::FieldName, 16),
    ("GET / HTTP/1.1\r\nHost\r\n\r\n", K::NoColon, 16),
    ("GET / HTTP/1.1\r\n Host: x\r\n\r\n", K::Folded, 16),
    (
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
        K::Folded,
        31,
    ),
    (
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n\r\n",
        K::Folded,
        31,
    ),
    ("GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", K::Nul, 29),
    ("GET / HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n", K::Nul, 26),
    (
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
        K::BareCr,
        29,
    ),
    ("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\r\n\r\n", K::BareCr, 29),
    (
        "GET / HTTP/1.1\r\nHost: x\r\nA: \x1b[0m\r\n\r\n",
        K::Control,
        28,
    ),
    (
        "GET / HTTP/1.1\r\nHost: x\r\nA: \x7f\r\n\r\n",
        K::Control,
        28,
    ),
    (
        "GET / HTTP/1.1\r\nHost: x\r\n\u{e9}: b\r\n\r\n",
        K::FieldName,
        25,
    ),
    // Host.
    ("GET / HTTP/1.1\r\nA: b\r\n\r\n", K::NoHost, 0),
    (
        "GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n",
        K::SecondHost,
        25,
    ),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", K::HostValue, 16),
    ("GET / HTTP/1.1\r\nHost: x, y\r\n\r\n", K::HostValue, 16),
    ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", K::HostValue, 16),
    ("GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", K::HostValue, 16),
    // Length.
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        K::SecondLength,
        45,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n",
        K::SecondLength,
        45,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\n",
        K::LengthValue,
        26,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n",
        K::LengthValue,
        26,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        K::LengthValue,
        26,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x1\r\n\r\n",
        K::LengthValue,
        26,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n",
        K::LengthValue,
        26,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775808\r\n\r\n",
        K::LengthValue,
        26,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        K::LengthValue,
        26,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        K::LengthAndEncoding,
        45,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        K::LengthAndEncoding,
        54,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        K::Encoding,
        26,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n",
        K::Encoding,
        26,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
        K::Encoding,
        26,
    ),
];

#[test]
fn malformed_requests() {
    assert!(
        REQUESTS.len() >= 60,
        "T16 asks for 60, there are {}",
        REQUESTS.len()
    );
    for (input, kind, offset) in REQUESTS {
        let (verdict, _) = request(input.as_bytes());
        assert_eq!(verdict, Err((*kind, *offset)), "{input:?}");
    }
}

#[test]
fn malformed_responses() {
    let table: &[(&str, K, usize)] = &[
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", K::EmptyStart, 0),
        ("HTTP/2 200\r\n\r\n", K::StatusLine, 0),
        ("HTTP/2.0 200 OK\r\n\r\n", K::Version, 0),
        ("HTTP/1.3 200 OK\r\n\r\n", K::Version, 0),
        ("HTTPS/1.1 200 OK\r\n\r\n", K::StatusLine, 0),
        ("HTTP/1.1\r\n\r\n", K::StatusLine, 8),
        ("HTTP/1.1 \r\n\r\n", K::StatusLine, 8),
        ("HTTP/1.1  200 OK\r\n\r\n", K::StatusLine, 8),
        ("HTTP/1.1 20 OK\r\n\r\n", K::StatusLine, 8),
        ("HTTP/1.1 2000 OK\r\n\r\n", K::StatusLine, 8),
        ("HTTP/1.1 099 OK\r\n\r\n", K::StatusLine, 9),
        ("HTTP/1.1 600 OK\r\n\r\n", K::StatusLine, 9),
        ("HTTP/1.1 +20 OK\r\n\r\n", K::StatusLine, 9),
        ("HTTP/1.1 abc OK\r\n\r\n", K::StatusLine, 9),
        ("HTTP/1.1 200\tOK\r\n\r\n", K::StatusLine, 8),
        ("SSH-2.0-OpenSSH_9.9\r\n\r\n", K::StatusLine, 0),
        ("HTTP/1.1 200 O\0K\r\n\r\n", K::Nul, 14),
        ("HTTP/1.1 200 O\x1bK\r\n\r\n", K::Control, 14),
        ("HTTP/1.1 200 O\rK\r\n\r\n", K::BareCr, 14),
        ("HTTP/1.1 200 OK\r\n A: b\r\n\r\n", K::Folded, 17),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", K::Folded, 23),
        ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", K::SpaceBeforeColon, 18),
        ("HTTP/1.1 200 OK\r\nA\r\n\r\n", K::NoColon, 17),
        ("HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", K::Nul, 20),
        ("HTTP/1.1 200 OK\r\nA: b\rc\n\n", K::BareCr, 21),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            K::SecondLength,
            36,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            K::LengthValue,
            17,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            K::LengthAndEncoding,
            36,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            K::LengthAndEncoding,
            45,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            K::Encoding,
            17,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            K::Encoding,
            45,
        ),
    ];
    for (input, kind, offset) in table {
        let (verdict, _) = response(input.as_bytes());
        assert_eq!(verdict, Err((*kind, *offset)), "{input:?}");
    }
}
