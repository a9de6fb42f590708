//! The upgrade through the gateway: what a node may answer, and what reaches it.

use super::*;

/// T12: early bytes reach the node only behind a good 101, and then all of them.
#[tokio::test(start_paused = true)]
async fn early_bytes() {
    let pipelined = "GET /version HTTP/1.1\r\nHost: x\r\n\r\n";
    for early in ["", "\u{1}early body", pipelined] {
        for answer in [
            GOOD,
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 403 No\r\n\r\nno",
            "stall",
        ] {
            let (backend, mut node) = if answer == "stall" {
                let (seen, out) = tokio::sync::mpsc::unbounded_channel();
                let script = move |mut io: DuplexStream| {
                    let seen = seen.clone();
                    async move {
                        let head = read_head(&mut io).await;
                        let mut rest = Vec::new();
                        let _gone = io.read_to_end(&mut rest).await;
                        let _nobody = seen.send((head, rest));
                    }
                };
                (Scripted::new(script), out)
            } else {
                Scripted::answering(answer)
            };
            let gateway = gateway(backend.clone());
            let (mut io, _) = connect(&gateway);
            io.write_all(format!("{}{early}", upgrade("admin")).as_bytes())
                .await
                .unwrap();
            let seen = read_answer(&mut io).await;
            let label = format!("{early:?} {answer:?}");
            if answer == GOOD {
                assert_eq!(seen.status, 101, "{label}");
                io.write_all(b"later").await.unwrap();
                io.shutdown().await.unwrap();
                let (_, rest) = node.recv().await.unwrap();
                assert_eq!(
                    String::from_utf8(rest).unwrap(),
                    format!("{early}later"),
                    "{label}"
                );
            } else {
                assert!(matches!(seen.status, 403 | 500), "{label}: {seen:?}");
                assert!(seen.head.contains("Connection: close\r\n"), "{label}");
                // T13: nothing further is served on this connection, nor asked of the node.
                let _gone = io.write_all(as_user("admin", pipelined).as_bytes()).await;
                assert!(is_closed(&mut io).await, "{label}");
                let (head, rest) = node.recv().await.unwrap();
                assert!(
                    head.starts_with("POST /portForward/ns/web HTTP/1.1\r\n"),
                    "{label}"
                );
                assert!(rest.is_empty(), "{label}: {rest:?}");
            }
            assert_eq!(backend.connections(), 1, "{label}");
        }
    }
}

/// More than is kept ahead waits in the socket; nothing of it is lost.
#[tokio::test(start_paused = true)]
async fn many_early_bytes_wait() {
    let (answer_now, waiting) = tokio::sync::oneshot::channel::<()>();
    let waiting = Arc::new(Mutex::new(Some(waiting)));
    let (seen, mut node) = tokio::sync::mpsc::unbounded_channel();
    let backend = Scripted::new(move |mut io| {
        let (waiting, seen) = (waiting.lock().unwrap().take(), seen.clone());
        async move {
            read_head(&mut io).await;
            let _ok = waiting.unwrap().await;
            io.write_all(GOOD.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            let _gone = io.read_to_end(&mut rest).await;
            let _nobody = seen.send(rest);
        }
    });
    let gateway = gateway(backend);
    let (mut io, _) = connect(&gateway);
    let early: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    io.write_all(upgrade("admin").as_bytes()).await.unwrap();
    let (mut read, mut write) = tokio::io::split(io);
    let sent = early.clone();
    let writer = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(
        !writer.is_finished(),
        "200 000 numbers were swallowed before the 101"
    );
    answer_now.send(()).unwrap();
    let mut all = Vec::new();
    read.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, GOOD.as_bytes());
    writer.await.unwrap();
    assert!(node.recv().await.unwrap() == early);
}

/// T14, PROTOCOL.md 2.3: every answer that is not the 101 that was asked for.
#[tokio::test(start_paused = true)]
async fn wrong_answers_of_a_node() {
    let wrong = "unable to upgrade: missing upgrade headers in response";
    let invalid = |n: u16| format!("invalid upgrade response: status code {n}");
    let table: Vec<(String, String)> = vec![
        (GOOD.replace("Connection: Upgrade\r\n", ""), wrong.into()),
        (
            GOOD.replace("Connection: Upgrade", "Connection: close"),
            wrong.into(),
        ),
        (GOOD.replace("Upgrade: SPDY/3.1\r\n", ""), wrong.into()),
        (GOOD.replace("SPDY/3.1", "websocket"), wrong.into()),
        (GOOD.replace("SPDY/3.1", "h2c"), wrong.into()),
        (GOOD.replace("SPDY/3.1", "SPDY/3.1, h2c"), wrong.into()),
        (GOOD.replace("HTTP/1.1", "HTTP/1.0"), wrong.into()),
        (
            GOOD.replace("\r\n\r\n", "\r\nContent-Length: 7\r\n\r\n"),
            wrong.into(),
        ),
        (
            GOOD.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n"),
            wrong.into(),
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\n".to_owned() + GOOD,
            invalid(100),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".into(),
            invalid(200),
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n".into(), invalid(204)),
        (
            "HTTP/1.1 301 Moved\r\nLocation: https://evil.example/\r\n\r\n".into(),
            invalid(301),
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\n\r\n".into(),
            invalid(302),
        ),
        (
            "HTTP/1.1 307 x\r\nLocation: /portForward/ns/other\r\n\r\n".into(),
            invalid(307),
        ),
        (
            "nonsense\r\n\r\n".into(),
            "invalid answer from the node: malformed status line (byte 0 of the head)".into(),
        ),
        (
            "HTTP/1.1 101 x\r\nA: b\r\n c\r\n\r\n".into(),
            "invalid answer from the node: folded header field (byte 22 of the head)".into(),
        ),
        (
            format!("HTTP/1.1 101 x\r\nA: {}", "x".repeat(30_000)),
            "invalid answer from the node: head too large (byte 16384 of the head)".into(),
        ),
    ];
    assert!(table.len() >= 12);
    for (answer, message) in table {
        let (backend, _) = Scripted::answering(answer.clone());
        let (seen, closed) = ask(&gateway(backend.clone()), &upgrade("admin")).await;
        assert_eq!(
            (seen.status, seen.message(), closed),
            (500, message, true),
            "{answer:?}"
        );
        assert!(!seen.head.contains("evil") && !seen.head.contains("Location"));
        assert!(backend.watcher().resets());
    }
}

/// PROTOCOL.md 2.5: a refusal comes through with its body, and nothing else of the node's.
#[tokio::test(start_paused = true)]
async fn refusals_come_through() {
    let answer = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 60\r\nLocation: /x\r\nSet-Cookie: a=b\r\n\
        Connection: keep-alive, x-hop\r\nX-Hop: y\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nslow \r\n4\r\ndown\r\n0\r\n\r\n";
    let (backend, _) = Scripted::answering(answer);
    let (seen, closed) = ask(&gateway(backend), &upgrade("admin")).await;
    assert_eq!(
        seen.head,
        "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Length: 9\r\nRetry-After: 60\r\n\r\n"
    );
    assert_eq!((seen.body.as_str(), closed), ("slow down", true));

    // B22: long bodies are cut, endless ones end.
    let (backend, _) =
        Scripted::answering(format!("HTTP/1.1 500 x\r\n\r\n{}", "y".repeat(100_000)));
    assert_eq!(
        ask(&gateway(backend), &upgrade("admin")).await.0.body.len(),
        64 * 1024
    );
    let (backend, _) = Scripted::answering("HTTP/1.1 500 x\r\nContent-Length: 9\r\n\r\nhalf");
    let begun = tokio::time::Instant::now();
    let (seen, _) = ask(&gateway(backend), &upgrade("admin")).await;
    assert_eq!(
        (seen.body.as_str(), begun.elapsed().as_secs()),
        ("half", 10)
    );
}

#[tokio::test(start_paused = true)]
async fn nodes_that_cannot_be_reached() {
    struct Failing(Option<io::ErrorKind>);
    impl Backend for Failing {
        fn connect(&self, _: &str) -> Connected {
            let kind = self.0;
            Box::pin(async move {
                match kind {
                    Some(kind) => Err(io::Error::new(
                        kind,
                        "dial tcp 192.0.2.1:10250: connect: refused\x1b[2J",
                    )),
                    None => std::future::pending().await,
                }
            })
        }
    }
    let (seen, closed) = ask(
        &gateway(Failing(Some(io::ErrorKind::ConnectionRefused))),
        &upgrade("admin"),
    )
    .await;
    let text = "error dialing backend: dial tcp 192.0.2.1:10250: connect: refused\\x1b[2J";
    assert_eq!(
        (seen.status, seen.message().as_str(), closed),
        (500, text, true)
    );

    let begun = tokio::time::Instant::now();
    let (seen, _) = ask(&gateway(Failing(None)), &upgrade("admin")).await;
    assert_eq!(
        (seen.message().as_str(), begun.elapsed().as_secs()),
        ("error dialing backend: i/o timeout", 5)
    );

    // It takes the request and says nothing: B21.
    let (backend, _) = Scripted::answering("");
    let begun = tokio::time::Instant::now();
    let (seen, _) = ask(&gateway(backend), &upgrade("admin")).await;
    let text = "error sending request: no answer from the node in time";
    assert_eq!(
        (
            seen.status,
            seen.message().as_str(),
            begun.elapsed().as_secs()
        ),
        (500, text, 10)
    );

    // It closes at once.
    let backend = Scripted::new(|mut io| async move { drop(read_head(&mut io).await) });
    let (seen, _) = ask(&gateway(backend), &upgrade("admin")).await;
    assert_eq!(
        seen.message(),
        "invalid answer from the node: connection closed"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_no_forwarding() {
    let gateway = gateway(no_node());
    let table: &[(&str, &str, u16, &str)] = &[
        ("pods/web/", "pods/none/", 404, "pods \"none\" not found"),
        (
            "pods/web/",
            "pods/pending/",
            400,
            "pod pending does not have a host assigned",
        ),
        (
            "POST",
            "PUT",
            405,
            "the server does not allow this method on the requested resource",
        ),
        (
            "Content-Length: 0\r\n\r\n",
            "Content-Length: 5\r\n\r\n12345",
            400,
            "an upgrade request has no body",
        ),
    ];
    for (from, to, status, message) in table {
        let (seen, closed) = ask(&gateway, &upgrade("admin").replacen(from, to, 1)).await;
        assert_eq!(
            (seen.status, seen.message().as_str(), closed),
            (*status, *message, true),
            "{to}"
        );
    }
    let (seen, closed) = ask(
        &gateway,
        &upgrade("admin").replacen("Upgrade: SPDY/3.1", "Upgrade: h2c", 1),
    )
    .await;
    assert_eq!((seen.status, closed), (400, true));
    assert!(
        seen.body
            .starts_with("unable to upgrade: missing upgrade headers in request: http.Header{"),
        "{}",
        seen.body
    );
    assert!(!seen.body.contains("canary"));
    // Without a wish to upgrade, it is a request like any other.
    let (seen, closed) = ask(
        &gateway,
        &upgrade("admin").replacen("Connection: Upgrade\r\n", "", 1),
    )
    .await;
    assert_eq!(
        (seen.message().as_str(), closed),
        ("Upgrade request required", false)
    );
}

/// B25.
#[tokio::test(start_paused = true)]
async fn forwardings_of_a_user_are_counted() {
    let (backend, _) = Scripted::answering(GOOD);
    let config = Config {
        sessions: 3,
        sessions_per_user: 2,
        ..Config::default()
    };
    let gateway = Gateway::new(config, users(), store(), Arc::new(backend));
    let open = async |user: &str| {
        let (mut io, _) = connect(&gateway);
        io.write_all(upgrade(user).as_bytes()).await.unwrap();
        let seen = read_answer(&mut io).await;
        (io, seen.status)
    };
    let (first, status) = open("admin").await;
    let (_second, again) = open("admin").await;
    assert_eq!((status, again, open("admin").await.1), (101, 101, 429));
    let (_third, status) = open("forwarder").await;
    assert_eq!((status, open("forwarder").await.1), (101, 429));
    assert_eq!(gateway.counts().sessions, 3);
    drop(first);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(gateway.counts().sessions, 2);
    assert_eq!(open("admin").await.1, 101);
}
