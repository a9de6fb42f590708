//! REST and refusals that never reach a node.

use super::*;
use crate::http1::tests::malformed::REQUESTS;

#[tokio::test(start_paused = true)]
async fn looking_up() {
    let gateway = gateway(no_node());
    let (mut io, _) = connect(&gateway);
    // One connection, many requests.
    let table = [
        ("/version", 200, "\"major\":\"1\""),
        ("/api", 200, "\"versions\":[\"v1\"]"),
        ("/apis", 200, "\"apps/v1\""),
        ("/apis/apps", 200, "\"kind\":\"APIGroup\""),
        ("/api/v1", 200, "\"pods/portforward\""),
        ("/apis/batch/v1", 200, "\"jobs\""),
        ("/readyz", 200, "ok"),
        (
            "/api/v1/namespaces/ns/pods/web",
            200,
            "\"nodeName\":\"node-1\"",
        ),
        (
            "/api/v1/namespaces/ns/pods/none",
            404,
            "pods \\\"none\\\" not found",
        ),
        (
            "/apis/apps/v1/namespaces/ns/deployments/web",
            200,
            "\"kind\":\"Deployment\"",
        ),
        (
            "/apis/apps/v1/namespaces/ns/deployments/none",
            404,
            "deployments.apps \\\"none\\\" not found",
        ),
        (
            "/api/v1/namespaces/ns/pods?labelSelector=app%3Dweb",
            200,
            "\"kind\":\"PodList\"",
        ),
        (
            "/api/v1/pods?fieldSelector=metadata.name%3Dpending",
            200,
            "\"pending\"",
        ),
        (
            "/api/v1/namespaces/ns/pods?labelSelector=%3D",
            400,
            "unable to parse requirement",
        ),
        (
            "/api/v1/namespaces/ns/pods?watch=true&timeoutSeconds=x",
            400,
            "timeoutSeconds",
        ),
        (
            "/api/v1/namespaces/ns/secrets",
            404,
            "could not find the requested resource",
        ),
        (
            "/api/v1/namespaces/ns/pods/WEB",
            400,
            "invalid namespace or name",
        ),
        ("/", 404, "could not find"),
    ];
    for (path, status, part) in table {
        io.write_all(as_user("admin", &format!("GET {path} HTTP/1.1\r\n\r\n")).as_bytes())
            .await
            .unwrap();
        let seen = read_answer(&mut io).await;
        assert_eq!(seen.status, status, "{path}: {seen:?}");
        assert!(seen.body.contains(part), "{path}: {seen:?}");
        assert!(!format!("{seen:?}").contains("canary"));
    }
    assert!(!is_closed(&mut io).await);
    // ... until it is idle for too long.
    tokio::time::sleep(Duration::from_secs(91)).await;
    assert!(is_closed(&mut io).await);
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_and_a_watch_between() {
    let gateway = gateway(no_node());
    let (mut io, _) = connect(&gateway);
    let get = as_user(
        "admin",
        "GET /api/v1/namespaces/ns/pods/web HTTP/1.1\r\n\r\n",
    );
    let watch = as_user(
        "admin",
        "GET /api/v1/namespaces/ns/pods?watch=true&timeoutSeconds=5 HTTP/1.1\r\n\r\n",
    );
    io.write_all(format!("{get}{watch}{get}").as_bytes())
        .await
        .unwrap();
    assert_eq!(read_answer(&mut io).await.status, 200);
    let head = read_head(&mut io).await;
    assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
    let mut events = Vec::new();
    while !events.ends_with(b"\r\n0\r\n\r\n") {
        events.push(io.read_u8().await.unwrap());
    }
    assert_eq!(
        String::from_utf8(events).unwrap().matches("ADDED").count(),
        2
    );
    assert_eq!(read_answer(&mut io).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn who_may_what() {
    let gateway = gateway(no_node());
    let get = "GET /api/v1/namespaces/ns/pods/web HTTP/1.1\r\n\r\n";
    let list = "GET /apis/apps/v1/namespaces/ns/deployments HTTP/1.1\r\n\r\n";
    let watch = "GET /api/v1/pods?watch=1 HTTP/1.1\r\n\r\n";
    for user in ["nobody", "forwarder", "getter"] {
        for (request, verb, rest) in [
            (
                get,
                "get",
                "resource \"pods\" in API group \"\" in the namespace \"ns\"",
            ),
            (
                list,
                "list",
                "resource \"deployments\" in API group \"apps\" in the namespace \"ns\"",
            ),
            (
                watch,
                "watch",
                "resource \"pods\" in API group \"\" at the cluster scope",
            ),
        ] {
            let (seen, closed) = ask(&gateway, &as_user(user, request)).await;
            assert_eq!((seen.status, closed), (403, false));
            let text = format!("is forbidden: User \"{user}\" cannot {verb} {rest}");
            assert!(seen.message().ends_with(&text), "{seen:?}");
        }
    }
    assert_eq!(ask(&gateway, &as_user("viewer", get)).await.0.status, 200);
    let anonymous = get.replacen("\r\n", "\r\nHost: x\r\n", 1);
    for request in [anonymous.clone(), as_user("stranger", get)] {
        let (seen, closed) = ask(&gateway, &request).await;
        assert_eq!(
            (seen.status, seen.message().as_str(), closed),
            (401, "Unauthorized", true)
        );
    }
    // A certificate is an identity too; its name has no rights of its own.
    for (name, status) in [("viewer", 200), ("somebody", 403)] {
        let (mut io, _) = connect_as(
            &gateway,
            Some(Subject {
                name: name.into(),
                groups: vec![],
            }),
        );
        io.write_all(anonymous.as_bytes()).await.unwrap();
        assert_eq!(read_answer(&mut io).await.status, status, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn methods_bodies_and_representations() {
    let gateway = gateway(no_node());
    let path = "/api/v1/namespaces/ns/pods/web";
    for method in ["POST", "PUT", "PATCH", "DELETE", "HEAD", "TRACE"] {
        let (seen, closed) = ask(
            &gateway,
            &as_user("admin", &format!("{method} {path} HTTP/1.1\r\n\r\n")),
        )
        .await;
        assert_eq!((seen.status, closed), (405, true), "{method}");
    }
    let request = format!("GET {path} HTTP/1.1\r\nAccept: text/html\r\n\r\n");
    assert_eq!(
        ask(&gateway, &as_user("admin", &request)).await.0.status,
        406
    );
    let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n");
    let (seen, closed) = ask(&gateway, &as_user("admin", &request)).await;
    assert_eq!((seen.status, closed), (200, true));
    // A body nobody reads must not be taken for a request.
    let request = format!(
        "GET {path} HTTP/1.1\r\nContent-Length: 40\r\n\r\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n"
    );
    assert_eq!(
        ask(&gateway, &as_user("admin", &request)).await,
        ask(&gateway, &as_user("admin", &request)).await
    );
    assert!(ask(&gateway, &as_user("admin", &request)).await.1);
}

/// T16: each of these is answered and the connection closed; no node hears of it.
#[tokio::test(start_paused = true)]
async fn malformed_heads() {
    let gateway = gateway(no_node());
    for (input, kind, offset) in REQUESTS {
        let (seen, closed) = ask(
            &gateway,
            &format!("{input}GET /version HTTP/1.1\r\nHost: x\r\n\r\n"),
        )
        .await;
        assert_eq!((seen.status, closed), (400, true), "{input:?}");
        assert_eq!(
            seen.message(),
            format!("{kind} (byte {offset} of the head)")
        );
        assert!(seen.head.contains("Connection: close\r\n"));
    }
    let (seen, closed) = ask(
        &gateway,
        &format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(20_000)),
    )
    .await;
    assert_eq!((seen.status, closed), (431, true));
}

/// T34: a head that does not come ends the connection.
#[tokio::test(start_paused = true)]
async fn slow_heads_end() {
    let gateway = gateway(no_node());
    let (mut io, _) = connect(&gateway);
    let begun = tokio::time::Instant::now();
    for b in "GET /aaaaaaaa".bytes() {
        if io.write_u8(b).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(is_closed(&mut io).await);
    assert!(begun.elapsed() < Duration::from_secs(14));
}

/// T31.
#[tokio::test(start_paused = true)]
async fn web_pages_may_not_forward() {
    let config = Config {
        origins: vec!["https://console.example".into()],
        ..Config::default()
    };
    let (backend, _) = Scripted::answering(GOOD);
    let gateway = Gateway::new(config, users(), store(), Arc::new(backend.clone()));
    let table = [
        ("Origin: http://evil.example", 403),
        ("Origin: null", 403),
        ("Origin: http://localhost:8080", 403),
        ("Origin: https://console.example.evil.example", 403),
        (
            "Origin: https://console.example\r\nOrigin: http://evil.example",
            403,
        ),
        ("Origin: https://console.example", 101),
        ("X-Not-Origin: x", 101),
    ];
    for (line, status) in table {
        // Refused before identity is looked at, so that it costs nothing.
        for user in ["admin", "stranger"] {
            let request = upgrade(user).replacen("Connection", &format!("{line}\r\nConnection"), 1);
            let (mut io, _) = connect(&gateway);
            io.write_all(request.as_bytes()).await.unwrap();
            let expected = if status == 101 && user == "stranger" {
                401
            } else {
                status
            };
            assert_eq!(read_answer(&mut io).await.status, expected, "{line} {user}");
        }
    }
    assert_eq!(backend.connections(), 2);
    // Nobody keeps a connection by it.
    let page = "POST /api/v1/namespaces/ns/pods/web/portforward HTTP/1.1\r\nHost: x\r\n\
                Origin: http://evil.example\r\n\r\n";
    let (seen, closed) = ask(&gateway, page).await;
    assert_eq!((seen.status, closed), (403, true));
}

#[tokio::test(start_paused = true)]
async fn connections_are_counted_by_user() {
    let config = Config {
        connections_per_user: 1,
        ..Config::default()
    };
    let gateway = Gateway::new(
        config,
        users(),
        store(),
        Arc::new(Scripted::answering(GOOD).0),
    );
    let request = |user| as_user(user, "GET /api/v1/namespaces/ns/pods/web HTTP/1.1\r\n\r\n");
    let (mut first, _) = connect(&gateway);
    first.write_all(request("admin").as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut first).await.status, 200);
    let (seen, closed) = ask(&gateway, &request("admin")).await;
    assert_eq!((seen.status, closed), (429, true));
    assert_eq!(ask(&gateway, &request("viewer")).await.0.status, 200);
    // The one that is counted goes on, and its place comes back.
    first.write_all(request("admin").as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut first).await.status, 200);
    drop(first);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ask(&gateway, &request("admin")).await.0.status, 200);
}

/// T17: only `create` forwards, whatever the method and the kind of upgrade, and GET needs `get` as well.
#[tokio::test(start_paused = true)]
async fn only_create_forwards() {
    let websocket = |protocol: &str| {
        format!(
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: {protocol}\r\n"
        )
    };
    let kinds = [
        "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n".to_owned(),
        websocket("v4.channel.k8s.io"),
        websocket("SPDY/3.1+portforward.k8s.io"),
    ];
    let mut cells = 0;
    for method in ["GET", "POST"] {
        for (i, kind) in kinds.iter().enumerate() {
            for user in ["getter", "creator", "forwarder", "nobody"] {
                let channels = GOOD.replace("SPDY/3.1", "websocket");
                let good = if i == 1 { &channels } else { GOOD };
                let (backend, _) = Scripted::answering(good);
                let gateway = gateway(backend.clone());
                let path = "/api/v1/namespaces/ns/pods/web/portforward?ports=80";
                let request =
                    format!("{method} {path} HTTP/1.1\r\nConnection: Upgrade\r\n{kind}\r\n");
                let (mut io, _) = connect(&gateway);
                io.write_all(as_user(user, &request).as_bytes())
                    .await
                    .unwrap();
                let seen = read_answer(&mut io).await;
                let expected = match (user, i) {
                    // What is no GET is no tunnel; what is no channel the node says.
                    ("forwarder" | "creator", 2) if method == "POST" => 405,
                    ("creator", _) if method == "GET" => 403,
                    ("forwarder" | "creator", _) => 101,
                    _ => 403,
                };
                assert_eq!(seen.status, expected, "{method} {kind} {user}");
                assert_eq!(backend.connections(), usize::from(expected == 101));
                if expected == 403 {
                    let verb = match (method, user) {
                        ("GET", "creator" | "nobody") => "get",
                        _ => "create",
                    };
                    let text = format!(
                        "pods \"web\" is forbidden: User \"{user}\" cannot {verb} resource \"pods/portforward\" \
                         in API group \"\" in the namespace \"ns\""
                    );
                    assert_eq!(seen.message(), text);
                }
                cells += 1;
            }
        }
    }
    assert_eq!(cells, 24);
}

/// A malformed port is the gateway's to refuse, whatever the way; nothing of it reaches a node, and rights come first.
#[tokio::test(start_paused = true)]
async fn malformed_ports() {
    let websocket = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ";
    let ways = [
        "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n".to_owned(),
        format!("{websocket}v4.channel.k8s.io\r\n"),
        format!("{websocket}SPDY/3.1+portforward.k8s.io\r\n"),
    ];
    let gateway = gateway(no_node());
    for way in ways {
        for (user, pod, query, status, reason, part) in [
            (
                "admin",
                "web",
                "ports=x",
                400,
                "BadRequest",
                "parse \"x\" as a port: ",
            ),
            (
                "admin",
                "web",
                "ports=80,65536",
                400,
                "BadRequest",
                "\"65536\"",
            ),
            ("admin", "web", "ports=80&ports=", 400, "BadRequest", "\"\""),
            // As at a real API server, which reads the query before it looks for the pod.
            ("admin", "none", "ports=x", 400, "BadRequest", "\"x\""),
            ("admin", "none", "ports=80", 404, "NotFound", "none"),
            ("nobody", "web", "ports=x", 403, "Forbidden", "nobody"),
        ] {
            let path = format!("/api/v1/namespaces/ns/pods/{pod}/portforward?{query}");
            let request = format!("GET {path} HTTP/1.1\r\nConnection: Upgrade\r\n{way}\r\n");
            let (mut io, _) = connect(&gateway);
            io.write_all(as_user(user, &request).as_bytes())
                .await
                .unwrap();
            let seen = read_answer(&mut io).await;
            let object: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
            assert_eq!(seen.status, status, "{way} {query} {seen:?}");
            assert_eq!(
                (&object["kind"], &object["reason"]),
                (&"Status".into(), &reason.into())
            );
            assert!(seen.message().contains(part), "{way} {query} {seen:?}");
        }
    }
}
