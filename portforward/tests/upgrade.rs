//! The client's side of the upgrade against a scripted server.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests: a panic is the verdict, tables are long"
)]

use portforward::http1::{BodyLimits, HeadLimits};
use portforward::upgrade::{UpgradeError, UpgradeRequest, Upgraded, spdy, spdy_within};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
    X-Stream-Protocol-Version: portforward.k8s.io\r\nDate: Sat, 21 Nov 2026 12:22:45 GMT\r\n\r\n";

fn request() -> UpgradeRequest {
    UpgradeRequest::new(
        "/api/v1/namespaces/ns/pods/p/portforward",
        "example.org:6443",
    )
    .with_field("Authorization", "Bearer canary-token")
}

/// Reads a request head, answers, keeps the connection for as long as the client wants.
async fn serve(mut io: DuplexStream, answer: Vec<u8>, close: bool) -> Vec<u8> {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        let mut b = [0];
        io.read_exact(&mut b).await.unwrap();
        seen.push(b[0]);
    }
    // A client that has seen enough closes in the middle.
    let _gone = io.write_all(&answer).await;
    if !close {
        let mut rest = Vec::new();
        let _gone = io.read_to_end(&mut rest).await;
        assert_eq!(rest, b"", "the client sent something behind its request");
    }
    seen
}

async fn ask(
    answer: impl Into<Vec<u8>>,
    close: bool,
) -> Result<Upgraded<DuplexStream>, UpgradeError> {
    let (client, server) = duplex(1 << 20);
    let server = tokio::spawn(serve(server, answer.into(), close));
    let result = spdy(client, &request()).await;
    if result.is_err() || close {
        server.await.unwrap();
    }
    result
}

#[tokio::test]
async fn the_request_is_that_of_the_protocol() {
    let (client, server) = duplex(1 << 16);
    let server = tokio::spawn(serve(server, GOOD.into(), true));
    spdy(client, &request()).await.unwrap();
    assert_eq!(
        String::from_utf8(server.await.unwrap()).unwrap(),
        "POST /api/v1/namespaces/ns/pods/p/portforward HTTP/1.1\r\nHost: example.org:6443\r\nContent-Length: 0\r\n\
         Authorization: Bearer canary-token\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n"
    );
}

#[tokio::test]
async fn a_good_101_keeps_early_bytes() {
    let variants = [
        GOOD.to_owned(),
        GOOD.replace("\r\n", "\n"),
        GOOD.to_lowercase().replace("http/1.1", "HTTP/1.1"),
        GOOD.replace("Connection: Upgrade", "Connection: keep-alive, Upgrade"),
        format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n{GOOD}"),
        GOOD.replace("Date", "Content-Length: 0\r\nDate"),
    ];
    for head in variants {
        let upgraded = ask(format!("{head}\u{1}early"), true)
            .await
            .unwrap_or_else(|e| panic!("{head}: {e}"));
        assert_eq!(&upgraded.early[..], b"\x01early");
    }
}

/// T14: every 101 that does not agree to what was asked is refused, and says why.
#[tokio::test]
async fn wrong_101() {
    let protocol = |got: &str| {
        format!(
            "unable to negotiate protocol: client supports \"portforward.k8s.io\", server returned \"{got}\""
        )
    };
    let table = [
        (
            GOOD.replace("Connection: Upgrade\r\n", ""),
            "the answer's Connection should contain".to_owned(),
        ),
        (
            GOOD.replace("Connection: Upgrade", "Connection: close"),
            "the server sent \"close\"".to_owned(),
        ),
        (
            GOOD.replace(
                "Connection: Upgrade",
                "Connection: x\r\nConnection: Upgrade",
            ),
            "the server sent \"x\"".to_owned(),
        ),
        (
            GOOD.replace("Upgrade: SPDY/3.1\r\n", ""),
            "the answer's Upgrade should contain \"spdy/3.1\"".to_owned(),
        ),
        (
            GOOD.replace("SPDY/3.1", "websocket"),
            "the server sent \"websocket\"".to_owned(),
        ),
        (
            GOOD.replace("SPDY/3.1", "SPDY/3"),
            "the server sent \"SPDY/3\"".to_owned(),
        ),
        (
            GOOD.replace("SPDY/3.1", "h2c"),
            "the server sent \"h2c\"".to_owned(),
        ),
        (
            GOOD.replace("portforward.k8s.io", "v4.channel.k8s.io"),
            protocol("v4.channel.k8s.io"),
        ),
        (
            GOOD.replace("X-Stream-Protocol-Version: portforward.k8s.io\r\n", ""),
            protocol(""),
        ),
        (GOOD.replace("portforward.k8s.io", ""), protocol("")),
        (
            GOOD.replace("portforward.k8s.io", "portforward.k8s.io, x"),
            protocol("portforward.k8s.io, x"),
        ),
        (
            GOOD.replace("portforward.k8s.io", "PORTFORWARD.K8S.IO"),
            protocol("PORTFORWARD.K8S.IO"),
        ),
        (
            GOOD.replace("portforward.k8s.io", "caf\u{e9}\u{202e}"),
            protocol("caf\u{e9}\\u{202e}"),
        ),
        (
            GOOD.replace("Date", "X-Stream-Protocol-Version: other\r\nDate"),
            protocol("portforward.k8s.io"),
        ),
        (GOOD.replace("HTTP/1.1", "HTTP/1.0"), "HTTP/1.0".to_owned()),
        (
            GOOD.replace("Date", "Content-Length: 5\r\nDate"),
            "announces a body".to_owned(),
        ),
        (
            GOOD.replace("Date", "Transfer-Encoding: chunked\r\nDate"),
            "announces a body".to_owned(),
        ),
        (
            GOOD.replace("Date", "A: b\r\n c\r\nDate"),
            "folded header field (byte 127 of the head)".to_owned(),
        ),
        (
            GOOD.replace("101 Switching", "999 Switching"),
            "malformed status line".to_owned(),
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\n".repeat(7) + GOOD,
            "too many interim answers".to_owned(),
        ),
        (
            "SSH-2.0-x\r\n\r\n".to_owned(),
            "malformed status line".to_owned(),
        ),
        (
            format!("HTTP/1.1 101 x\r\nA: {}", "x".repeat(20_000)),
            "head too large".to_owned(),
        ),
        (
            format!("HTTP/1.1 101 x\r\n{}", "A: b\r\n".repeat(65)),
            "too many header fields".to_owned(),
        ),
    ];
    for (answer, expected) in table {
        match ask(answer.clone(), false).await {
            Err(UpgradeError::BadResponse(text)) => {
                assert!(text.contains(&expected), "{answer:?}: {text}");
            }
            other => panic!("{answer:?}: {other:?}"),
        }
    }
}

/// PROTOCOL.md 2.4, the column of 1.36 and later.
#[tokio::test]
async fn refusals() {
    let body = |status: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let forbidden = r#"{"kind":"Status","message":"pods \"p\" is forbidden: no","reason":"Forbidden","code":403}"#;
    let table = [
        (body("403 Forbidden", forbidden), 403, "Forbidden", "pods \"p\" is forbidden: no"),
        (body("400 Bad Request", r#"{"error":"e"}"#), 400, "Bad Request", "e"),
        (body("404 Not Found", "404 page not found\n"), 404, "Not Found", "404 page not found"),
        (body("500 x", "a\u{1b}[2J\u{9b}\u{7f}\u{202e}b"), 500, "x", "a\\x1b[2J\\x9b\\x7f\\u{202e}b"),
        (body("502 Bad Gateway", ""), 502, "Bad Gateway", "empty server response"),
        (body("503 x", "  \n "), 503, "x", "empty server response"),
        (body("200 OK", "hello"), 200, "OK", "hello"),
        (
            "HTTP/1.1 429 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsl\n\r\n3\r\now \r\n0\r\n\r\n".to_owned(),
            429,
            "x",
            "sl\now",
        ),
        ("HTTP/1.0 503 Service Unavailable\r\n\r\nno server".to_owned(), 503, "Service Unavailable", "no server"),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), 204, "No Content", "empty server response"),
        (
            "HTTP/1.1 403 x\r\nContent-Length: 9\r\n\r\nshort".to_owned(),
            403,
            "x",
            "unable to read error from server response",
        ),
        (
            "HTTP/1.1 403 x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
            403,
            "x",
            "unable to read error from server response",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\nContent-Length: 4\r\n\r\nevil".to_owned(),
            302,
            "Found",
            "redirects are not followed (302)",
        ),
    ];
    for (answer, status, reason, text) in table {
        let error = ask(answer.clone(), true).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("unable to upgrade connection: {text}"),
            "{answer:?}"
        );
        match error {
            UpgradeError::Refused {
                status: s,
                reason: r,
                ..
            } => assert_eq!((s, r.as_str()), (status, reason)),
            other => panic!("{answer:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn long_bodies_are_cut() {
    let answer = format!("HTTP/1.1 500 x\r\n\r\n{}", "y".repeat(1 << 18));
    let text = ask(answer, false).await.unwrap_err().to_string();
    assert!(
        text.ends_with("yyy...") && text.len() < 5000,
        "{}",
        text.len()
    );
}

#[tokio::test(start_paused = true)]
async fn each_phase_has_its_deadline() {
    // Nothing comes at all; then a head and half a body.
    let (client, _server) = duplex(1 << 16);
    assert!(matches!(
        spdy(client, &request()).await,
        Err(UpgradeError::Timeout(10))
    ));

    let (client, server) = duplex(1 << 16);
    let start = tokio::time::Instant::now();
    tokio::spawn(serve(
        server,
        b"HTTP/1.1 500 x\r\nContent-Length: 9\r\n\r\nhalf".to_vec(),
        false,
    ));
    let text = spdy(client, &request()).await.unwrap_err().to_string();
    assert_eq!(
        text,
        "unable to upgrade connection: unable to read error from server response"
    );
    assert_eq!(start.elapsed(), Duration::from_secs(10));

    // A server that takes no byte of the request.
    let (client, _server) = duplex(8);
    let limits = HeadLimits::default().with_time(Duration::from_secs(3));
    let result = spdy_within(client, &request(), &limits, &BodyLimits::default()).await;
    assert!(matches!(result, Err(UpgradeError::Timeout(3))));
}

#[tokio::test]
async fn a_closed_connection_is_no_answer() {
    assert!(matches!(ask("", true).await, Err(UpgradeError::Closed)));
    let error = ask("HTTP/1.1 1", true).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid answer to the upgrade: head cut short (byte 10 of the head)"
    );
}

#[tokio::test]
async fn requests_that_must_not_go_out() {
    let table = [
        (
            request().with_field("Connection", "x"),
            "field Connection is not the caller's to set",
        ),
        (
            request().with_field("upgrade", "x"),
            "field upgrade is not the caller's to set",
        ),
        (
            request().with_field("X", "canary\r\nHost: evil"),
            "invalid value of header field X",
        ),
        (
            request().with_field("X Y", "canary"),
            "invalid header field name",
        ),
        (UpgradeRequest::new("/a b", "x"), "invalid request target"),
        (UpgradeRequest::new("a", "x"), "invalid request target"),
        (
            UpgradeRequest::new("/a", "x\r\nX: y"),
            "invalid value of header field Host",
        ),
    ];
    for (request, expected) in table {
        let (client, mut server) = duplex(1 << 16);
        let error = spdy(client, &request).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the upgrade request is invalid: {expected}")
        );
        let mut sent = Vec::new();
        server.read_to_end(&mut sent).await.unwrap();
        assert!(sent.is_empty());
    }
}

/// T36.
#[tokio::test]
async fn secrets_do_not_show() {
    let shown = format!("{:?}", request().with_field("Impersonate-User", "canary"));
    assert!(
        shown.contains("Authorization") && !shown.contains("canary"),
        "{shown}"
    );
    let error = spdy(duplex(64).0, &request().with_field("X", "canary\n"))
        .await
        .unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary"));
}
