//! The same by HTTP/2: objects, rights, refusals, and no forwarding.

use super::*;
use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use http::{Request, Response};

const PODS: &str = "/api/v1/namespaces/ns/pods";
const FORWARD: &str = "/api/v1/namespaces/ns/pods/web/portforward";

/// The client's half of a connection past its handshake.
fn connect(gateway: &Gateway) -> DuplexStream {
    let (near, far, _) = pipe(1 << 16);
    let peer = SocketAddr::from(([192, 0, 2, 1], 4711));
    let place = Counter::<IpAddr>::new(1, 1).enter(peer.ip()).unwrap();
    let client = request::Client::new(Arc::clone(&gateway.0), peer, None);
    tokio::spawn(crate::gateway::http2::serve(client, far, place));
    near
}

type Run = tokio::task::JoinHandle<Result<(), h2::Error>>;

async fn client(gateway: &Gateway) -> (SendRequest<Bytes>, Run) {
    let (send, connection) = h2::client::handshake(connect(gateway)).await.unwrap();
    (send, tokio::spawn(connection))
}

fn request(user: &str, method: &str, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("https://gateway{path}"))
        .header("authorization", format!("Bearer {user}-canary"))
        .body(())
        .unwrap()
}

async fn send(client: &mut SendRequest<Bytes>, request: Request<()>) -> Response<h2::RecvStream> {
    let mut ready = client.clone().ready().await.unwrap();
    ready.send_request(request, true).unwrap().0.await.unwrap()
}

async fn ask(client: &mut SendRequest<Bytes>, request: Request<()>) -> (u16, String) {
    let (head, mut body) = send(client, request).await.into_parts();
    let mut all = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        all.extend_from_slice(&chunk);
    }
    (head.status.as_u16(), String::from_utf8(all).unwrap())
}

#[tokio::test(start_paused = true)]
async fn looks_up_and_is_refused() {
    let gateway = gateway(no_node());
    let (mut client, run) = client(&gateway).await;
    let refused = "cannot list resource \\\"pods\\\"";
    for (user, method, path, status, part) in [
        ("admin", "GET", "/version", 200, "\"major\":\"1\""),
        ("admin", "GET", PODS, 200, "\"kind\":\"PodList\""),
        (
            "viewer",
            "GET",
            "/api/v1/pods?fieldSelector=metadata.name%3Dweb",
            200,
            "\"web\"",
        ),
        (
            "admin",
            "GET",
            "/api/v1/namespaces/ns/pods/none",
            404,
            "not found",
        ),
        (
            "admin",
            "GET",
            "/api/v1/namespaces/ns/./pods",
            400,
            "BadRequest",
        ),
        (
            "admin",
            "GET",
            "/api/v1/namespaces/ns//pods",
            400,
            "BadRequest",
        ),
        (
            "admin",
            "GET",
            "/api/v1/namespaces/ns/pods/%77eb",
            400,
            "BadRequest",
        ),
        ("nobody", "GET", PODS, 403, refused),
        // Not over HTTP/2, whoever asks and however; and nobody learns by it what is there.
        (
            "admin",
            "POST",
            FORWARD,
            400,
            "\"message\":\"Upgrade request required\"",
        ),
        (
            "admin",
            "GET",
            FORWARD,
            400,
            "\"message\":\"Upgrade request required\"",
        ),
        ("viewer", "POST", FORWARD, 403, "pods/portforward"),
    ] {
        let (got, body) = ask(&mut client, request(user, method, path)).await;
        assert_eq!(got, status, "{path}: {body}");
        assert!(body.contains(part), "{path}: {body}");
        assert!(!body.contains("canary"), "{path}: {body}");
    }
    let head = send(&mut client, request("admin", "GET", PODS)).await;
    assert_eq!(head.headers()["content-type"], "application/json");
    assert!(head.headers().contains_key("date") && !head.headers().contains_key("connection"));
    // The stranger is answered and shown the door.
    let (status, body) = ask(&mut client, request("stranger", "GET", PODS)).await;
    assert_eq!(status, 401, "{body}");
    assert!(body.contains("\"message\":\"Unauthorized\""), "{body}");
    run.await.unwrap().unwrap();
}

/// The crate at the client's end sends no such thing, so the frames are made by hand.
#[tokio::test(start_paused = true)]
async fn an_upgrade_field_is_malformed() {
    let upgrade = Request::builder()
        .method("POST")
        .uri(format!("https://gateway{FORWARD}"))
        .header("upgrade", "SPDY/3.1")
        .body(())
        .unwrap();
    let gateway = gateway(no_node());
    let (mut client, _run) = client(&gateway).await;
    assert!(client.send_request(upgrade, true).is_err());

    let mut io = connect(&gateway);
    io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    io.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    // :method POST, :scheme https, :path and upgrade as literals.
    let mut block = vec![0x83, 0x87, 0x04, u8::try_from(FORWARD.len()).unwrap()];
    block.extend_from_slice(FORWARD.as_bytes());
    block.extend_from_slice(b"\0\x07upgrade\x08SPDY/3.1");
    let length = u8::try_from(block.len()).unwrap();
    // HEADERS, END_STREAM and END_HEADERS, stream 1.
    io.write_all(&[0, 0, length, 1, 5, 0, 0, 0, 1])
        .await
        .unwrap();
    io.write_all(&block).await.unwrap();
    let (kind, payload) = loop {
        let mut head = [0; 9];
        io.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[2])];
        io.read_exact(&mut payload).await.unwrap();
        // Not its SETTINGS, nor its word on ours.
        if head[8] == 1 {
            break (head[3], payload);
        }
    };
    // RST_STREAM, PROTOCOL_ERROR.
    assert_eq!((kind, payload), (3, vec![0, 0, 0, 1]));
}

/// Who is nobody keeps no connection, even if it hears no goodbye and takes no answer.
#[tokio::test(start_paused = true)]
async fn a_stranger_that_answers_nothing_is_gone() {
    for window in [65_535u32, 0] {
        let gateway = gateway(no_node());
        let mut io = connect(&gateway);
        io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        // SETTINGS_INITIAL_WINDOW_SIZE.
        io.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4])
            .await
            .unwrap();
        io.write_all(&window.to_be_bytes()).await.unwrap();
        let mut block = vec![0x82, 0x87, 0x04, u8::try_from(PODS.len()).unwrap()];
        block.extend_from_slice(PODS.as_bytes());
        let length = u8::try_from(block.len()).unwrap();
        io.write_all(&[0, 0, length, 1, 5, 0, 0, 0, 1])
            .await
            .unwrap();
        io.write_all(&block).await.unwrap();
        let begun = tokio::time::Instant::now();
        // Reads what comes and says nothing to it: no acknowledgement, no PING back.
        let mut rest = Vec::new();
        drop(io.read_to_end(&mut rest).await);
        assert!(begun.elapsed() < Duration::from_secs(15), "window {window}");
    }
}

#[tokio::test(start_paused = true)]
async fn watches() {
    let gateway = gateway(no_node());
    let (mut client, _run) = client(&gateway).await;
    let path = format!("{PODS}?watch=true&timeoutSeconds=60");
    let mut events = send(&mut client, request("admin", "GET", &path))
        .await
        .into_body();
    let mut next = async || {
        let chunk = events.data().await?.unwrap();
        events.flow_control().release_capacity(chunk.len()).unwrap();
        if chunk.is_empty() {
            return None;
        }
        Some(serde_json::from_slice::<serde_json::Value>(&chunk).unwrap())
    };
    for name in ["pending", "web"] {
        let event = next().await.unwrap();
        assert_eq!(
            (&event["type"], &event["object"]["metadata"]["name"]),
            (&json!("ADDED"), &json!(name))
        );
    }
    assert!(gateway.0.store.delete(Kind::Pod, "ns", "web"));
    // Others are answered meanwhile.
    assert_eq!(ask(&mut client, request("admin", "GET", PODS)).await.0, 200);
    assert_eq!(next().await.unwrap()["type"], "DELETED");
    let begun = tokio::time::Instant::now();
    assert_eq!(next().await, None);
    assert_eq!(begun.elapsed().as_secs(), 60);

    let (status, body) = ask(&mut client, request("nobody", "GET", &path)).await;
    assert_eq!(status, 403);
    assert!(body.contains("cannot watch resource"), "{body}");
}

/// A client that takes nothing of a watch loses it, and nobody else does.
#[tokio::test(start_paused = true)]
async fn a_watcher_that_does_not_read() {
    let gateway = gateway(no_node());
    let (mut client, _run) = client(&gateway).await;
    let path = format!("{PODS}?watch=true");
    let mut events = send(&mut client, request("admin", "GET", &path))
        .await
        .into_body();
    for i in 0..2000 {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p{i}"), "namespace": "ns"}});
        gateway.0.store.put(pod).unwrap();
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(11)).await;
    let error = loop {
        if let Err(error) = events.data().await.unwrap() {
            break error;
        }
    };
    assert!(error.is_reset());
    // What it left unread was of the window of all.
    drop(events);
    assert_eq!(
        ask(&mut client, request("admin", "GET", "/version"))
            .await
            .0,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn limits() {
    let gateway = gateway(no_node());
    let (send, connection): (SendRequest<Bytes>, Connection<_>) =
        h2::client::handshake(connect(&gateway)).await.unwrap();
    let mut client = send;
    let run = tokio::spawn(connection);
    assert_eq!(
        ask(&mut client, request("admin", "GET", "/version"))
            .await
            .0,
        200
    );
    assert_eq!(client.current_max_send_streams(), 100);
    let mut large = request("admin", "GET", PODS);
    large
        .headers_mut()
        .insert("x", "x".repeat(20_000).parse().unwrap());
    assert_eq!(ask(&mut client, large).await.0, 431);
    let mut many = request("admin", "GET", PODS);
    for i in 0..100 {
        let name: http::HeaderName = format!("x-{i}").parse().unwrap();
        many.headers_mut().insert(name, "x".parse().unwrap());
    }
    assert_eq!(ask(&mut client, many).await.0, 431);
    // A body is nothing that anybody waits for.
    let mut ready = client.clone().ready().await.unwrap();
    let (answer, mut body) = ready
        .send_request(request("viewer", "GET", PODS), false)
        .unwrap();
    body.send_data(Bytes::from_static(&[0; 1000]), false)
        .unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    // Idle for too long, it ends in order.
    let begun = tokio::time::Instant::now();
    run.await.unwrap().unwrap();
    assert_eq!(begun.elapsed().as_secs(), 90);

    // Nothing at all, and a beginning without a request.
    for hello in [
        &b""[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ] {
        let begun = tokio::time::Instant::now();
        let mut io = connect(&gateway);
        io.write_all(hello).await.unwrap();
        io.read_to_end(&mut Vec::new()).await.unwrap();
        assert!((10..=11).contains(&begun.elapsed().as_secs()), "{hello:?}");
    }
}
