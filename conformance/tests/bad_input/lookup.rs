//! API servers that answer the question for the pod wrongly. What they are called is in every error.

use std::time::Duration;

use conformance::script::Play;

use crate::Row;

/// A server without the pod.
fn row(name: &'static str, code: i32, says: &[&str], lookup: Play) -> Row {
    let says = [&["http://{SERVER}"], says].concat();
    Row::new(name, code, &says).server(lookup, Play::Close(Vec::new()))
}

/// An answer of 200 that is not what it should be.
fn body_row(name: &'static str, body: &str) -> Row {
    row(name, 1, &[], Play::json("200 OK", body))
}

/// A pod in another phase.
fn phase_row(name: &'static str, says: &str, status: &str) -> Row {
    let pod = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"web","namespace":"default"}},"spec":
        {{"containers":[{{"name":"web","image":"web:1"}}]}},"status":{status}}}"#
    );
    Row::new(name, 4, &[says]).server(Play::json("200 OK", &pod), Play::Close(Vec::new()))
}

fn status(code: u16, reason: &str, message: &str) -> String {
    format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure",
        "message":"{message}","reason":"{reason}","code":{code}}}"#
    )
}

pub(crate) fn rows() -> Vec<Row> {
    let silence = Duration::from_secs(40); // a look-up may take 30 s
    vec![
        row("silence", 1, &["30 s"], Play::Hold(Vec::new())).within(silence),
        row(
            "half a body, then silence",
            1,
            &["30 s"],
            Play::Hold(
                b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"kind\":\"Pod\",".to_vec(),
            ),
        )
        .within(silence),
        Row::new("nobody listens", 1, &["127.0.0.1:1", "refused"])
            .with("server: http://127.0.0.1:1", "{}"),
        row("closes", 1, &[], Play::Close(Vec::new())),
        row("resets", 1, &[], Play::Reset),
        row(
            "speaks another protocol",
            1,
            &[],
            Play::Hold(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
        ),
        row(
            "speaks HTTP/2",
            1,
            &[],
            Play::Close(b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80".to_vec()),
        ),
        row(
            "head without end",
            1,
            &[],
            Play::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"A: b\r\n".repeat(1000)),
        ),
        row(
            "one header without end",
            1,
            &[],
            Play::Endless(b"HTTP/1.1 200 OK\r\nA: ".to_vec(), vec![b'b'; 8192]),
        ),
        row(
            "less than Content-Length",
            1,
            &[],
            Play::Close(
                b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"kind\":\"Pod\",".to_vec(),
            ),
        ),
        row(
            "bad chunks",
            1,
            &[],
            Play::Close(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"
                    .to_vec(),
            ),
        ),
        row(
            "body without end",
            1,
            &[],
            Play::Endless(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n\"".to_vec(),
                vec![b'x'; 64 << 10],
            ),
        ),
        body_row("no JSON", "hello"),
        body_row("empty body", ""),
        body_row(
            "half of the JSON",
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"na"#,
        ),
        body_row("a list", "[]"),
        body_row(
            "a wrong type inside",
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":[1]}}"#,
        ),
        body_row("deep nesting", &"[".repeat(100_000)),
        phase_row(
            "pod pending",
            "Current status=Pending",
            r#"{"phase":"Pending"}"#,
        ),
        phase_row("pod without a status", "pod is not running", "{}"),
        phase_row(
            "pod with a strange phase",
            "Current status=",
            "{\"phase\":\"\\u001b[2J\"}",
        ),
        row(
            "401",
            3,
            &["Unauthorized"],
            Play::json(
                "401 Unauthorized",
                &status(401, "Unauthorized", "Unauthorized"),
            ),
        ),
        row(
            "401 without a body",
            3,
            &["Unauthorized"],
            Play::json("401 Unauthorized", ""),
        ),
        row(
            "403",
            3,
            &["Forbidden", "you may not", "apiGroups:"],
            Play::json("403 Forbidden", &status(403, "Forbidden", "you may not")),
        ),
        row(
            "403 as text",
            3,
            &["you may not"],
            Play::answer("403 Forbidden", "text/plain", "you may not"),
        ),
        row(
            "404",
            4,
            &["not here"],
            Play::json("404 Not Found", &status(404, "NotFound", "not here")),
        ),
        row(
            "404 as HTML",
            4,
            &["404"],
            Play::answer("404 Not Found", "text/html", "<h1>404</h1>"),
        ),
        row(
            "500",
            1,
            &["it broke"],
            Play::json(
                "500 Internal Server Error",
                &status(500, "InternalError", "it broke"),
            ),
        ),
        row(
            "500 as half a Status",
            1,
            &[],
            Play::json("500 Internal Server Error", r#"{"kind":"Status","mess"#),
        ),
        row(
            "503 as HTML",
            1,
            &["503"],
            Play::answer("503 Service Unavailable", "text/html", "<h1>later</h1>"),
        ),
        row(
            "escape sequence in the message",
            4,
            &["not here"],
            Play::json(
                "404 Not Found",
                &status(404, "NotFound", "\\u001b[2J not here"),
            ),
        ),
        row(
            "very long message",
            1,
            &[],
            Play::json(
                "500 Internal Server Error",
                &status(500, "x", &"y".repeat(1 << 20)),
            ),
        ),
        row(
            "redirect",
            1,
            &[],
            Play::Close(
                b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
                    .to_vec(),
            ),
        ),
    ]
}
