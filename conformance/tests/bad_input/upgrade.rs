//! API servers that find the pod and then answer the upgrade wrongly, or speak no SPDY behind it.

use conformance::script::Play;

use crate::Row;

fn row(name: &'static str, code: i32, says: &[&str], answer: Play) -> Row {
    Row::new(name, code, &[&["http://{SERVER}"], says].concat()).upgrade(answer)
}

/// A refusal that comes from behind the API server.
fn node_row(name: &'static str, says: &[&str], answer: Play) -> Row {
    Row::new(name, 1, &[&["node of pod/web"], says].concat()).upgrade(answer)
}

/// A head that is no good, or a 101 that is not the right one.
fn head_row(name: &'static str, says: &[&str], head: impl Into<Vec<u8>>) -> Row {
    row(
        name,
        1,
        &[&["error upgrading connection"], says].concat(),
        Play::Hold(head.into()),
    )
}

fn switching(fields: &[&str]) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\n{}\r\n\r\n",
        fields.join("\r\n")
    )
    .into_bytes()
}

/// Bytes behind a right 101.
/// Ends by closing: the reason is how it closed.
fn ended(name: &'static str, bytes: &[u8], why: &'static str) -> Row {
    Row::new(name, 1, &["error: lost connection to pod", why])
        .upgrade(Play::Close(Play::upgraded(bytes)))
}

/// Stays open behind what is wrong: the reason can only be the bytes themselves.
fn broken(name: &'static str, bytes: &[u8], why: &'static str) -> Row {
    Row::new(
        name,
        1,
        &["error: lost connection to pod", "broke the protocol", why],
    )
    .upgrade(Play::Hold(Play::upgraded(bytes)))
}

/// A head of 4 or more fields, cut short where the name says.
fn status(code: u16, reason: &str, message: &str) -> String {
    format!(
        r#"{{"kind":"Status","status":"Failure","message":"{message}","reason":"{reason}","code":{code}}}"#
    )
}

pub(crate) fn rows() -> Vec<Row> {
    [silences(), heads(), refusals(), after()]
        .into_iter()
        .flatten()
        .collect()
}

fn silences() -> Vec<Row> {
    vec![
        row(
            "silence",
            1,
            &["error upgrading connection", "10 s"],
            Play::Hold(Vec::new()),
        ),
        row(
            "half a head, then silence",
            1,
            &["10 s"],
            Play::Hold(b"HTTP/1.1 101 Switching".to_vec()),
        ),
        node_row(
            "refusal with half a body, then silence",
            &["500"],
            Play::Hold(b"HTTP/1.1 500 Oh\r\nContent-Length: 1000\r\n\r\n{\"kind\":".to_vec()),
        ),
        row(
            "closes",
            1,
            &["error upgrading connection"],
            Play::Close(Vec::new()),
        ),
        row("resets", 1, &["error upgrading connection"], Play::Reset),
        row(
            "half a head, then closes",
            1,
            &["error upgrading connection"],
            Play::Close(b"HTTP/1.1 101 Sw".to_vec()),
        ),
        row(
            "fields without end",
            1,
            &["error upgrading connection"],
            Play::Endless(
                b"HTTP/1.1 101 Switching Protocols\r\n".to_vec(),
                b"A: b\r\n".repeat(1000),
            ),
        ),
        row(
            "one field without end",
            1,
            &["error upgrading connection"],
            Play::Endless(
                b"HTTP/1.1 101 Switching Protocols\r\nA: ".to_vec(),
                vec![b'b'; 8192],
            ),
        ),
        row(
            "first line without end",
            1,
            &["error upgrading connection"],
            Play::Endless(b"HTTP/1.1 101 ".to_vec(), vec![b'b'; 8192]),
        ),
        row(
            "interim answers without end",
            1,
            &["error upgrading connection"],
            Play::Endless(Vec::new(), b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        ),
        node_row(
            "refusal without end",
            &["500"],
            Play::Endless(
                b"HTTP/1.1 500 Oh\r\nContent-Type: text/plain\r\n\r\n".to_vec(),
                vec![b'x'; 8192],
            ),
        ),
    ]
}

fn heads() -> Vec<Row> {
    let (connection, upgrade) = ("Connection: Upgrade", "Upgrade: SPDY/3.1");
    let version = "X-Stream-Protocol-Version: portforward.k8s.io";
    let many: Vec<_> = (0..500).map(|nth| format!("X-{nth}: y")).collect();
    let many: Vec<_> = many
        .iter()
        .map(String::as_str)
        .chain([connection, upgrade, version])
        .collect();
    vec![
        head_row("zero bytes", &[], vec![0; 100]),
        head_row("no HTTP", &[], "SSH-2.0-OpenSSH_9.9\r\n\r\n"),
        head_row(
            "SPDY without a head",
            &[],
            [0x80, 3, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0].repeat(10),
        ),
        head_row("HTTP/2", &[], "HTTP/2 101 Switching Protocols\r\n\r\n"),
        head_row(
            "no number for a status",
            &[],
            "HTTP/1.1 abc Switching Protocols\r\n\r\n",
        ),
        head_row(
            "a status of one digit",
            &[],
            "HTTP/1.1 1 Switching Protocols\r\n\r\n",
        ),
        head_row(
            "field without a colon",
            &[],
            switching(&[connection, upgrade, version, "no colon"]),
        ),
        head_row(
            "field with a zero byte",
            &[],
            switching(&[connection, upgrade, version, "A: \0"]),
        ),
        head_row(
            "field name with a blank",
            &[],
            switching(&[connection, "Upgrade : SPDY/3.1", version]),
        ),
        head_row(
            "folded field",
            &[],
            switching(&[connection, upgrade, version, "A: b", " c"]),
        ),
        head_row("500 fields", &[], switching(&many)),
        head_row("no Upgrade", &["pgrade"], switching(&[connection, version])),
        head_row(
            "no Connection",
            &["onnection"],
            switching(&[upgrade, version]),
        ),
        head_row(
            "Upgrade to another protocol",
            &["websocket"],
            switching(&[connection, "Upgrade: websocket", version]),
        ),
        head_row(
            "another protocol version",
            &["v9.portforward.k8s.io"],
            switching(&[
                connection,
                upgrade,
                "X-Stream-Protocol-Version: v9.portforward.k8s.io",
            ]),
        ),
    ]
}

fn refusals() -> Vec<Row> {
    let bare = |line: &str, fields: &str| {
        Play::Close(format!("HTTP/1.1 {line}\r\n{fields}\r\n\r\n").into_bytes())
    };
    vec![
        row(
            "200",
            1,
            &["200"],
            Play::answer("200 OK", "text/html", "<h1>welcome</h1>"),
        ),
        row(
            "204",
            1,
            &["204"],
            bare("204 No Content", "Connection: close"),
        ),
        row(
            "302",
            1,
            &["302"],
            bare(
                "302 Found",
                "Location: http://127.0.0.1:1/\r\nContent-Length: 0",
            ),
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
            "403",
            3,
            &["you may not", "apiGroups:", "pods/portforward"],
            Play::json("403 Forbidden", &status(403, "Forbidden", "you may not")),
        ),
        row(
            "403 as half a Status",
            3,
            &["403"],
            Play::json("403 Forbidden", r#"{"kind":"Status","mess"#),
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
            &["pod is gone"],
            Play::json("404 Not Found", &status(404, "NotFound", "pod is gone")),
        ),
        row(
            "404 as text",
            4,
            &["no page"],
            Play::answer("404 Not Found", "text/plain", "404 no page"),
        ),
        node_row(
            "500",
            &["it broke"],
            Play::json("500 Oh", &status(500, "InternalError", "it broke")),
        ),
        node_row(
            "500 as an empty Status",
            &["500"],
            Play::json("500 Oh", r#"{"kind":"Status"}"#),
        ),
        node_row(
            "500 as a Status of wrong types",
            &["500"],
            Play::json("500 Oh", r#"{"kind":"Status","message":7,"code":"x"}"#),
        ),
        node_row(
            "500 as deep nesting",
            &["500"],
            Play::json("500 Oh", &"[".repeat(100_000)),
        ),
        node_row(
            "502 as HTML",
            &["502"],
            Play::answer("502 Bad Gateway", "text/html", "<h1>proxy</h1>"),
        ),
        node_row(
            "500 with escape sequences",
            &["broke"],
            Play::json("500 Oh", &status(500, "x", "\\u001b[2J it broke")),
        ),
        node_row(
            "500 with escape sequences as text",
            &["broke"],
            Play::answer("500 Oh", "text/plain", "\u{1b}[2J it broke"),
        ),
        node_row(
            "500 that is not UTF-8",
            &["500"],
            Play::Close(b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\n\xff\xfe\xfd\xfc".to_vec()),
        ),
        row(
            "escape sequence in the reason",
            1,
            &["error upgrading connection", "control character"],
            bare("500 \u{1b}[2JOh", "Content-Length: 0"),
        ),
        row(
            "bad Content-Length",
            1,
            &["error upgrading connection", "Content-Length"],
            bare("500 Oh", "Content-Length: many"),
        ),
        row(
            "two Content-Lengths",
            1,
            &["error upgrading connection", "Content-Length"],
            bare("500 Oh", "Content-Length: 1\r\nContent-Length: 2"),
        ),
        node_row(
            "bad chunks",
            &["500"],
            bare("500 Oh", "Transfer-Encoding: chunked\r\n\r\nzz"),
        ),
        node_row(
            "less than Content-Length",
            &["500"],
            bare("500 Oh", "Content-Length: 1000"),
        ),
    ]
}

fn after() -> Vec<Row> {
    let ping = [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 2];
    let goaway = [0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    vec![
        ended(
            "closes behind the 101",
            &[],
            "the peer closed the connection",
        ),
        ended("closes within a frame", &ping[..7], "cut inside a frame"),
        ended(
            "closes behind a frame",
            &ping,
            // Our answer may meet the closed socket before its end is read.
            "why: the ",
        ),
        ended("GOAWAY", &goaway, "GOAWAY OK, last stream 0"),
        ended(
            "text",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "cut inside a frame",
        ),
        ended(
            "another SPDY version",
            &[0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 2],
            "why: the ",
        ),
        broken(
            "PING of 5 bytes",
            &[0x80, 3, 0, 6, 0, 0, 0, 5, 0, 0, 0, 2, 0],
            "PING of 5 bytes: wrong length (frame at byte 0)",
        ),
        broken(
            "SYN_STREAM that does not inflate",
            &[
                0x80, 3, 0, 1, 0, 0, 0, 14, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
            ],
            "header block does not inflate",
        ),
        broken(
            "SYN_REPLY to nothing, that does not inflate",
            &[
                0x80, 3, 0, 2, 0, 0, 0, 8, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff,
            ],
            "header block does not inflate",
        ),
        broken(
            "SETTINGS that count wrongly",
            &[0x80, 3, 0, 4, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff],
            "SETTINGS of 4 bytes: wrong length",
        ),
        broken(
            "control frame of 16 MiB",
            &[0x80, 3, 0, 4, 0, 0xff, 0xff, 0xff, 0, 0, 0, 1],
            "more than the 4096 allowed",
        ),
        broken(
            "RST_STREAM of status 0",
            &[0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0],
            "RST_STREAM with status 0",
        ),
    ]
}
