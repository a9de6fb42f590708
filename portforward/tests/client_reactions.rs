//! What kubectl's client does in answer to a server's WebSocket (client-go 0.37.2, measured), and what
//! ours does. Every difference is listed with its reason.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::option_option,
    reason = "a test"
)]

use bytes::{Buf as _, BytesMut};
use portforward::session::{self, CloseReason, Config};
use portforward::upgrade::{self, UpgradeRequest};
use portforward::websocket::WsByteStream;
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::time::timeout;
use wsstream::{CloseCode, Connection, Event, Kind, Role};

fn rows(prefix: &str) -> Vec<Value> {
    let text = include_str!("testdata/client_reactions.json");
    let vectors: Value = serde_json::from_str(text).unwrap();
    let rows = vectors["client"].as_array().unwrap().iter();
    let of = |row: &&Value| row["scenario"].as_str().unwrap().starts_with(prefix);
    rows.filter(of).cloned().collect()
}

/// What a client sent, by meaning: SPDY bytes, pongs, Close.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    spdy: Vec<u8>,
    pongs: Vec<Vec<u8>>,
    close: Option<Option<u16>>,
}

impl Sent {
    fn read(bytes: &[u8]) -> Self {
        let mut conn = Connection::new(wsstream::Config::stream(Role::Server)).unwrap();
        let (mut input, mut sent) = (BytesMut::from(bytes), Self::default());
        while let Some(event) = conn
            .poll_event(std::time::Instant::now(), &mut input)
            .unwrap()
        {
            match event {
                Event::Message { payload, .. } => sent.spdy.extend_from_slice(&payload),
                Event::Pong(payload) => sent.pongs.push(payload.to_vec()),
                Event::Closed(frame) => sent.close = Some(frame.code.map(CloseCode::get)),
                other => panic!("{other:?}"),
            }
        }
        sent
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

/// SPDY PING 2 and 4, of the server.
const PING: &[u8] = b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x02";
const PING_4: &[u8] = b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x04";
const GOAWAY: &[u8] = b"\x80\x03\0\x07\0\0\0\x08\0\0\0\0\0\0\0\0";

/// The bytes that the scripted server sends, by the scenario's name, and whether it then closes.
fn script(scenario: &str) -> (Vec<u8>, bool) {
    let message =
        |payload: &[u8]| [&[0x82, u8::try_from(payload.len()).unwrap()], payload].concat();
    match scenario {
        "ws: close 1000" => (b"\x88\x02\x03\xe8".to_vec(), false),
        "ws: close 1011" => (b"\x88\x02\x03\xf3".to_vec(), false),
        "ws: close without code" => (b"\x88\x00".to_vec(), false),
        "ws: TCP EOF without close" => (Vec::new(), true),
        "ws: text message" => (b"\x81\x02hi".to_vec(), false),
        "ws: ping from server" => (b"\x89\x01x".to_vec(), false),
        "ws: empty binary message" => (b"\x82\x00".to_vec(), false),
        "ws: masked server frame" => (b"\x82\x81\x01\x02\x03\x04x".to_vec(), false),
        "ws: fragmented SPDY PING incl. empty final" => {
            let frames = [
                b"\x02\x05",
                &PING[..5],
                b"\x00\x07",
                &PING[5..],
                b"\x80\x00",
            ];
            (frames.concat(), false)
        }
        "ws: two SPDY PINGs in one message" => (message(&[PING, PING_4].concat()), false),
        "ws: bytes glued behind 101" => (message(PING), false),
        other => panic!("no script for {other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn tunnels() {
    let mut seen = 0;
    for row in rows("ws:") {
        let scenario = row["scenario"].as_str().unwrap();
        let observed = row["observations"][0].as_str().unwrap();
        let theirs = observed.strip_prefix("client bytes: ").unwrap();
        let theirs = Sent::read(&hex(theirs.split(' ').next().unwrap()));
        let (bytes, close) = script(scenario);

        let (near, mut far) = duplex(1 << 16);
        // Glued: read together with the head.
        let glued = scenario.ends_with("behind 101");
        let early = if glued { &bytes[..] } else { &[] };
        let io = WsByteStream::client(near, BytesMut::from(early)).unwrap();
        let (session, driver) = session::client(io, BytesMut::new(), Config::default()).unwrap();
        let driver = tokio::spawn(driver);
        if !glued {
            far.write_all(&bytes).await.unwrap();
        }
        if close {
            far.shutdown().await.unwrap();
        }
        let mut sent = BytesMut::new();
        let read = async { while far.read_buf(&mut sent).await.unwrap() > 0 {} };
        // As long as the real one was watched; longer, it would ping.
        let ended = timeout(Duration::from_millis(1200), read).await.is_ok();
        let ours = Sent::read(&sent);

        match scenario {
            // A reason that RFC 6455 has a code for, and no SPDY behind what is lost anyway.
            "ws: text message" => {
                assert_eq!(
                    (theirs.spdy.as_slice(), theirs.close),
                    (GOAWAY, Some(Some(1000)))
                );
                assert_eq!((ours.spdy.len(), ours.close), (0, Some(Some(1003))));
            }
            // In the order in which they came.
            "ws: two SPDY PINGs in one message" => {
                assert_eq!(theirs.spdy, [PING_4, PING].concat());
                assert_eq!(ours.spdy, [PING, PING_4].concat());
            }
            _ => {
                assert_eq!(ours.spdy, theirs.spdy, "{scenario}");
                assert_eq!(ours.pongs, theirs.pongs, "{scenario}");
                assert_eq!(ours.close, theirs.close, "{scenario}");
            }
        }
        let over = !matches!(
            scenario,
            "ws: ping from server" | "ws: empty binary message"
        ) && !scenario.contains("PING")
            && !glued;
        assert_eq!(ended, over, "{scenario}");
        if over {
            let reason = driver.await.unwrap();
            // Close 1000 is the end; everything else an error that says why.
            match scenario {
                "ws: close 1000" => assert_eq!(reason, CloseReason::Eof),
                _ => assert!(
                    matches!(reason, CloseReason::Transport(_)),
                    "{scenario}: {reason}"
                ),
            }
            assert!(session.reason().is_some());
        }
        seen += 1;
    }
    assert_eq!(seen, 11);
}

/// PROTOCOL.md 5.5: after which answers kubectl asks for SPDY, and ours.
#[tokio::test]
async fn falling_back() {
    let mut seen = 0;
    for row in rows("fallback?") {
        let scenario = row["scenario"].as_str().unwrap();
        let requests = row["requests_seen_by_server"].as_str().unwrap();
        let falls_back = requests.contains("POST");
        let name = scenario.strip_prefix("fallback? ").unwrap();
        let good = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io\r\n\r\n";
        let answer = match name {
            "ws 101 wrong accept key" => good.replace("ACCEPT", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "ws 101 no subprotocol" => good.replace("Sec-WebSocket-Protocol", "X-Nothing"),
            "ws 101 other subprotocol" => good.replace("SPDY/3.1+", "other."),
            "TCP closed without answer" => String::new(),
            "garbage answer" => "SSH-2.0-x\r\n".to_owned(),
            _ if name.starts_with("ws 101 then SPDY 101") => {
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\r\n".to_owned()
            }
            _ => {
                let status = name.strip_prefix("ws answered ").unwrap();
                format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\nbody")
            }
        };
        let (near, mut far) = duplex(1 << 16);
        let request = UpgradeRequest::new("/p", "h");
        let client = tokio::spawn(async move {
            upgrade::websocket(near, &request, &[upgrade::TUNNEL], None)
                .await
                .map(drop)
        });
        let mut head = BytesMut::new();
        while !head.ends_with(b"\r\n\r\n") {
            far.read_buf(&mut head).await.unwrap();
        }
        let head = String::from_utf8(head.to_vec()).unwrap();
        let key = head.split("Sec-WebSocket-Key: ").nth(1).unwrap();
        let accept = wsstream::accept_key(key.split('\r').next().unwrap()).unwrap();
        far.write_all(answer.replace("ACCEPT", &accept).as_bytes())
            .await
            .unwrap();
        far.shutdown().await.unwrap();
        let error = client.await.unwrap().unwrap_err();
        assert_eq!(error.allows_fallback(), falls_back, "{scenario}: {error}");
        seen += 1;
    }
    assert_eq!(seen, 16);
}

/// The tunnel's bytes of recorded sessions, both ways and both ends: the same SPDY in another cut.
#[test]
fn messages_of_both_real_ends_are_one_stream() {
    // PROTOCOL.md 5.3: eight messages for a SYN_STREAM, masked; one for what a read gave, not masked.
    let client = hex(
        "8282c0e0d09f40e382821e1bac431e1a8284ae3046c1ae3046fe82843800d76f3800d76e828447e4137a47e4137a",
    );
    let sent = Sent::read(&client);
    assert_eq!(sent.spdy, hex("800300010000003f0000000100000000"));
    let mut conn = Connection::new(wsstream::Config::stream(Role::Client)).unwrap();
    let mut input = BytesMut::from(
        &hex("82028003821a0002000000140000000178f9e3c6a7c26260606000000000ffff")[..],
    );
    let mut spdy = Vec::new();
    while let Some(event) = conn
        .poll_event(std::time::Instant::now(), &mut input)
        .unwrap()
    {
        if let Event::Message {
            kind: Kind::Binary,
            payload,
            ..
        } = event
        {
            spdy.extend_from_slice(&payload);
        }
    }
    assert_eq!(
        spdy,
        hex("80030002000000140000000178f9e3c6a7c26260606000000000ffff")
    );
    assert_eq!(conn.outgoing().remaining(), 0);
}
