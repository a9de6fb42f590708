//! The node's front over in-memory pipes.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

struct OnePod;

impl Pods for OnePod {
    fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Result<PodRef, NodeRefusal> {
        match (namespace, name, uid) {
            ("ns", "web", None | Some("uid-1")) => Ok(PodRef::new("ns", "web", "uid-1")),
            ("ns", "web", Some(_)) => Err(NodeRefusal::OtherUid),
            ("ns", "stopped", _) => Err(NodeRefusal::Runtime(
                "sandbox container is not running".into(),
            )),
            ("ns", "busy", _) => Err(NodeRefusal::Busy),
            _ => Err(NodeRefusal::NoPod),
        }
    }
}

const GOOD: &str = "POST /portForward/ns/web HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
    X-Stream-Protocol-Version: portforward.k8s.io\r\nContent-Length: 0\r\n\r\n";

fn front() -> Front {
    Front::new(FrontConfig::new("gateway"), Arc::new(OnePod))
}

/// What the client saw up to its own end, what the front agreed to, and the early bytes.
async fn ask(
    front: &Front,
    client: Option<&str>,
    request: &str,
) -> (String, Option<PodRef>, Vec<u8>) {
    let (mut near, mut far) = duplex(1 << 16);
    near.write_all(request.as_bytes()).await.unwrap();
    near.shutdown().await.unwrap();
    let mut early = BytesMut::new();
    let agreed = front
        .agree(&mut far, &mut early, client)
        .await
        .unwrap()
        .map(|(agreed, _place)| agreed.pod);
    drop(far);
    let mut seen = String::new();
    near.read_to_string(&mut seen).await.unwrap();
    (seen, agreed, early.to_vec())
}

/// Status and body.
fn read(answer: &str) -> (u16, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body)
}

#[tokio::test]
async fn agreeing() {
    let variants = [
        GOOD.to_owned(),
        GOOD.replacen("POST", "GET", 1),
        GOOD.replacen("/web ", "/web/uid-1 ", 1),
        GOOD.replacen("Connection: Upgrade", "connection: keep-alive, upgrade", 1),
        GOOD.replacen("SPDY/3.1", "spdy/3.1", 1),
        GOOD.replacen("portforward.k8s.io", "foo, portforward.k8s.io", 1),
        GOOD.replacen("X-Stream", "X-Stream-Protocol-Version: foo\r\nX-Stream", 1),
        GOOD.replacen("/web ", "/web?port=80 ", 1),
    ];
    for request in variants {
        let (seen, pod, early) =
            ask(&front(), Some("gateway"), &format!("{request}\u{1}early")).await;
        assert_eq!(
            pod,
            Some(PodRef::new("ns", "web", "uid-1")),
            "{request}: {seen}"
        );
        assert_eq!(early, b"\x01early");
        let lines: Vec<&str> = seen.split("\r\n").collect();
        assert_eq!(
            lines[..4],
            [
                "HTTP/1.1 101 Switching Protocols",
                "Connection: Upgrade",
                "Upgrade: SPDY/3.1",
                "X-Stream-Protocol-Version: portforward.k8s.io"
            ]
        );
        // Trap 1 of PROTOCOL.md 2.2: nothing behind the head.
        assert!(seen.ends_with(" GMT\r\n\r\n"), "{seen:?}");
    }
}

/// PROTOCOL.md 2.3, and what a real kubelet answered.
#[tokio::test]
#[allow(clippy::too_many_lines, reason = "a table")]
async fn refusing() {
    let no_protocol = GOOD.replacen("X-Stream-Protocol-Version: portforward.k8s.io\r\n", "", 1);
    let table: Vec<(String, u16, &str)> = vec![
        (
            GOOD.replacen("/ns/web", "/ns/none", 1),
            404,
            "pod does not exist",
        ),
        (
            GOOD.replacen("/ns/web", "/other/web", 1),
            404,
            "pod does not exist",
        ),
        (
            GOOD.replacen("/web ", "/web/uid-2 ", 1),
            404,
            "pod not found",
        ),
        (
            GOOD.replacen("/ns/web", "/ns/stopped", 1),
            500,
            "sandbox container is not running",
        ),
        (
            GOOD.replacen("/ns/web", "/ns/busy", 1),
            429,
            "maximum number of in-flight requests exceeded",
        ),
        (
            GOOD.replacen("/portForward", "/portforward", 1),
            404,
            "404 page not found\n",
        ),
        (
            GOOD.replacen("/portForward/ns/web", "/exec/ns/web/c", 1),
            404,
            "404 page not found\n",
        ),
        (
            GOOD.replacen("/web ", "/web/uid-1/x ", 1),
            404,
            "404 page not found\n",
        ),
        (
            GOOD.replacen("POST", "PUT", 1),
            405,
            "405: Method Not Allowed",
        ),
        (
            GOOD.replacen("Connection: Upgrade\r\n", "", 1),
            500,
            "Upgrade request required\n",
        ),
        (
            no_protocol.clone(),
            400,
            "unable to upgrade: header X-Stream-Protocol-Version does not exist in request with 3 headers\n",
        ),
        (
            GOOD.replacen("portforward.k8s.io", " , ", 1),
            400,
            "unable to upgrade: header X-Stream-Protocol-Version contains [], but no valid protocols\n",
        ),
        (
            GOOD.replacen(
                "portforward.k8s.io",
                "foo, bar\r\nX-Stream-Protocol-Version: baz",
                1,
            ),
            403,
            "unable to upgrade: unable to negotiate protocol: client supports [foo bar baz], \
             server accepts [portforward.k8s.io]\n",
        ),
        (
            GOOD.replacen("SPDY/3.1", "h2c", 1),
            400,
            "unable to upgrade: missing upgrade headers in request: http.Header{\"Connection\":[]string{\"Upgrade\"}, \
             \"Content-Length\":[]string{\"0\"}, \"Upgrade\":[]string{\"h2c\"}, \
             \"X-Stream-Protocol-Version\":[]string{\"portforward.k8s.io\"}}\n",
        ),
        (
            GOOD.replacen("SPDY/3.1", "websocket", 1),
            400,
            "query parameter \"port\" is required\n",
        ),
        (
            GOOD.replacen("Length: 0", "Length: 5", 1),
            400,
            "an upgrade request has no body\n",
        ),
        (
            GOOD.replacen("Host: x\r\n", "", 1),
            400,
            "no Host (byte 0 of the head)\n",
        ),
        (
            GOOD.replacen("/ns/web", "/ns/../ns/web", 1),
            400,
            "dot segment in the path (byte 21 of the head)\n",
        ),
        (
            GOOD.replacen("/ns/web", "/ns%2fweb", 1),
            400,
            "escape in the path (byte 20 of the head)\n",
        ),
    ];
    for (request, status, body) in table {
        let (seen, pod, _) = ask(&front(), Some("gateway"), &format!("{request}early")).await;
        assert_eq!((read(&seen), pod), ((status, body), None), "{request}");
        assert!(seen.contains("\r\nConnection: close\r\n"), "{seen}");
    }
    let (seen, ..) = ask(&front(), Some("gateway"), &GOOD.replacen("k8s.io", "x", 1)).await;
    assert!(
        seen.contains("\r\nX-Accepted-Stream-Protocol-Versions: portforward.k8s.io\r\n"),
        "{seen}"
    );
    let (seen, ..) = ask(
        &front(),
        Some("gateway"),
        &GOOD.replacen("/ns/web", "/ns/busy", 1),
    )
    .await;
    assert!(seen.contains("\r\nRetry-After: 60\r\n"), "{seen}");
}

/// T23: whoever is not the gateway is not even listened to.
#[tokio::test]
async fn only_the_gateway_may_come_in() {
    for client in [
        None,
        Some(""),
        Some("Gateway"),
        Some("gateway "),
        Some("gateway.evil"),
        Some("node"),
        Some("admin"),
    ] {
        let (seen, pod, early) = ask(&front(), client, GOOD).await;
        assert_eq!(
            (read(&seen), pod),
            ((401, "Unauthorized"), None),
            "{client:?}"
        );
        assert!(early.is_empty());
    }
}

/// B25: a place is held until it is given back.
#[tokio::test]
async fn sessions_are_counted() {
    let mut config = FrontConfig::new("gateway");
    config.sessions = 1;
    let front = Front::new(config, Arc::new(OnePod));
    let open = async || {
        let (mut near, mut far): (DuplexStream, _) = duplex(1 << 16);
        near.write_all(GOOD.as_bytes()).await.unwrap();
        near.shutdown().await.unwrap();
        front
            .agree(&mut far, &mut BytesMut::new(), Some("gateway"))
            .await
            .unwrap()
    };
    let first = open().await;
    assert!(first.is_some() && open().await.is_none());
    drop(first);
    assert!(open().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn slow_heads_end() {
    let (mut near, mut far) = duplex(64);
    near.write_all(b"POST /port").await.unwrap();
    let begun = tokio::time::Instant::now();
    let agreed = front()
        .agree(&mut far, &mut BytesMut::new(), Some("gateway"))
        .await
        .unwrap();
    assert!(agreed.is_none());
    assert_eq!(begun.elapsed().as_secs(), 10);
}

/// T11: a WebSocket has numbers for so many ports; one more is refused, whatever the format.
#[tokio::test]
async fn ports_beyond_what_channels_can_be_numbered() {
    for (protocol, most) in [
        ("v4.channel.k8s.io", wsstream::MAX_PORTS),
        ("v4.base64.channel.k8s.io", wsstream::MAX_PORTS_BASE64),
    ] {
        for count in [most, most + 1] {
            let ports: Vec<String> = (1..=count).map(|port| port.to_string()).collect();
            let request = format!(
                "GET /portForward/ns/web?port={} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Protocol: {protocol}\r\n\r\n",
                ports.join(",")
            );
            let (answer, agreed, _) = ask(&front(), Some("gateway"), &request).await;
            let status = if count == most { 101 } else { 400 };
            assert_eq!(read(&answer).0, status, "{protocol}, {count}: {answer}");
            assert_eq!(agreed.is_some(), count == most);
        }
    }
}
