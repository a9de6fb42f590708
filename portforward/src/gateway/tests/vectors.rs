//! What the real proxy and the real streaming server answered, against our gateway in front of our
//! node.

use super::*;
use crate::node::{self, Dial, Front, FrontConfig, NodeRefusal, PodRef, Pods};
use serde_json::Value;
use std::io;
use std::pin::Pin;
use tokio::net::TcpStream;

/// The pod that was measured: one port answers nothing, port 1 is refused. Connected beforehand,
/// since the clock of the test stands still.
struct Measured(std::net::TcpListener);

impl Dial for Measured {
    fn dial(
        &self,
        _: &PodRef,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>> {
        let connected = if port == 41225 {
            self.0.local_addr().and_then(std::net::TcpStream::connect)
        } else {
            Err(io::Error::other("connection refused"))
        };
        Box::pin(async move {
            let connected = connected?;
            connected.set_nonblocking(true)?;
            TcpStream::from_std(connected)
        })
    }
}

struct AnyPod;
impl Pods for AnyPod {
    fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Result<PodRef, NodeRefusal> {
        Ok(PodRef::new(namespace, name, uid.unwrap_or_default()))
    }
}

/// Without what differs by design: the date, the word that the connection ends, and the number of
/// headers, which in the original counts one that its proxy adds.
fn normal(answer: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head
        .lines()
        .filter(|l| !l.starts_with("Date:") && *l != "Connection: close")
        .collect();
    let status = lines.remove(0);
    lines.sort_unstable();
    let body = body.split(" in request with ").next().unwrap();
    let body = body.split("http.Header{").next().unwrap();
    if body != answer.split_once("\r\n\r\n").unwrap().1 {
        lines.retain(|l| !l.starts_with("Content-Length"));
    }
    format!("{status}\n{}\n\n{body}", lines.join("\n"))
}

#[tokio::test(start_paused = true)]
async fn exchanges_as_measured() {
    let text = include_str!("../../../tests/testdata/http_exchanges.json");
    let vectors: Value = serde_json::from_str(text).unwrap();
    let mut seen = 0;
    for exchange in vectors["exchanges"].as_array().unwrap() {
        let name = exchange["name"].as_str().unwrap();
        let backend = Scripted::new(|mut io| async move {
            let front = Front::new(FrontConfig::new("gateway"), Arc::new(AnyPod));
            let mut early = BytesMut::new();
            let agreed = front.agree(&mut io, &mut early, Some("gateway")).await;
            if let Ok(Some((agreed, _place))) = agreed {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let pod: Arc<dyn Dial> = Arc::new(Measured(listener));
                let never = std::future::pending();
                node::serve_with(io, early, agreed, pod, never, None).await;
            }
        });
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": "node-1"},
            "metadata": {"name": "pod1", "namespace": "ns1"},
        });
        let store = store();
        store.put(pod).unwrap();
        let gateway = Gateway::new(Config::default(), users(), store, Arc::new(backend));
        let subject = Subject {
            name: "admin".into(),
            groups: vec![],
        };
        let (mut io, _) = connect_as(&gateway, Some(subject));
        io.write_all(exchange["request"].as_str().unwrap().as_bytes())
            .await
            .unwrap();
        let answer = read_answer(&mut io).await;
        let ours = format!("{}{}", answer.head, answer.body);
        let theirs = exchange["response_text_or_prefix"].as_str().unwrap();
        let first_messages = theirs
            .split_once("\r\n\r\n")
            .is_some_and(|(head, rest)| head.starts_with("HTTP/1.1 101") && !rest.is_empty());
        if name == "no_upgrade" {
            // A Status: the same object, in the full form of a whole API server.
            let object = |text: &str| {
                serde_json::from_str::<Value>(text.split_once("\r\n\r\n").unwrap().1).unwrap()
            };
            for (key, value) in object(theirs).as_object().unwrap() {
                assert_eq!(object(&ours)[key], *value, "{key}");
            }
            assert!(
                ours.starts_with("HTTP/1.1 400 Bad Request\r\n")
                    && ours.contains("Content-Type: application/json\r\n")
            );
        } else if name == "ws_legacy_channel" {
            // A status line and nothing else there; here a text that says what is served.
            assert!(ours.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{ours}");
            assert!(answer.body.contains("v4.channel.k8s.io"), "{ours}");
        } else if first_messages {
            // An empty subprotocol, which breaks clients, is left out.
            let theirs = theirs.replace("Sec-WebSocket-Protocol: \r\n", "");
            let head = theirs.split_once("\r\n\r\n").unwrap().0;
            assert_eq!(normal(&ours), normal(&format!("{head}\r\n\r\n")), "{name}");
            check_first_messages(&mut io, exchange, name).await;
        } else {
            assert_eq!(normal(&ours), normal(theirs), "{name}");
        }
        let mut open = exchange["connection_after_0.8s"] == "still open";
        // Behind a refused upgrade no request is read, also where the refusal is our own (T12).
        open &= !matches!(
            name,
            "ws_tunnel_badver" | "ws_tunnel_nokey" | "ws_tunnel_post"
        );
        assert_eq!(is_closed(&mut io).await, !open, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 19);
}

#[allow(clippy::arithmetic_side_effects, reason = "a test")]
/// The bytes behind the head; of an error text, its beginning.
async fn check_first_messages(io: &mut DuplexStream, exchange: &Value, name: &str) {
    let hex = exchange["response_hex"].as_str().unwrap();
    let bytes: Vec<u8> = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let head = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let mut theirs = &bytes[head + 4..];
    if let Some(at) = theirs.windows(5).position(|w| w == b"error") {
        // Without the length of the text.
        theirs = &theirs[..at - 5];
        let mut ours = vec![0; theirs.len()];
        io.read_exact(&mut ours).await.unwrap();
        assert_eq!(ours, theirs, "{name}");
        let mut head = [0; 3];
        io.read_exact(&mut head).await.unwrap();
        assert_eq!((head[0], head[2]), (0x82, 3));
        let mut text = vec![0; usize::from(head[1]) - 1];
        io.read_exact(&mut text).await.unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.starts_with("error forwarding port 1 to pod pod1, uid"),
            "{text}"
        );
    } else {
        let mut ours = vec![0; theirs.len()];
        io.read_exact(&mut ours).await.unwrap();
        assert_eq!(ours, theirs, "{name}");
    }
}
