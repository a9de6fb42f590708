//! What the real proxy and the real streaming server answered, against our gateway in front of our
//! node.

use super::*;
use crate::node::{Front, FrontConfig, NodeRefusal, PodRef, Pods};
use serde_json::Value;

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
            let agreed = front
                .agree(&mut io, &mut BytesMut::new(), Some("gateway"))
                .await;
            if matches!(agreed, Ok(Some(_))) {
                let _gone = io.read_to_end(&mut Vec::new()).await;
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
        } else {
            assert_eq!(normal(&ours), normal(theirs), "{name}");
        }
        let open = exchange["connection_after_0.8s"] == "still open";
        assert_eq!(is_closed(&mut io).await, !open, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 6);
}
