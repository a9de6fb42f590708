//! What the real client-go and its server said to each other (`transcripts.json` of the vectors): our client goes
//! through it again, in client-go's place. What it sends on each stream must be the same, and what its local
//! sockets come to what the server said.
//!
//! Differences: client-go says GOAWAY behind the Close of a tunnel, where nobody reads it, ours in front of it; pings
//! come by a clock (`client_reactions.rs` of `portforward` has them); a refused port ends client-go's forward, and
//! here the recorded end of it is repeated.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use anyhow::{Context as _, bail, ensure};
use conformance::transcript::{Outcome, hex, reenact_client_go};
use portforward::{
    transcript::Transcript,
    upgrade::{self, TUNNEL, UpgradeRequest},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

const PATH: &str = "/api/v1/namespaces/ns1/pods/pod1/portforward";

/// What went one way at once; empty at the end.
struct Said {
    client: bool,
    ms: u64,
    bytes: Vec<u8>,
}

struct Row {
    name: String,
    said: Vec<Said>,
}

impl Row {
    fn is_tunnel(&self) -> bool {
        self.name.starts_with("ws_")
    }

    /// The first head of one side, and what came with it.
    fn head(&self, client: bool) -> anyhow::Result<(String, Vec<u8>)> {
        let first = self.said.iter().find(|said| said.client == client);
        let bytes = &first.context("nothing was said")?.bytes;
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.context("a cut head")?;
        let head = String::from_utf8(bytes[..end].to_vec())?;
        Ok((head, bytes[end + 4..].to_vec()))
    }
}

fn rows() -> anyhow::Result<Vec<Row>> {
    let all: Value = serde_json::from_str(include_str!("testdata/client-go-0.37.2.json"))?;
    let mut rows = Vec::new();
    for row in all["transcripts"].as_array().context("no list")? {
        let mut said = Vec::new();
        for event in row["events"].as_array().context("no events")? {
            let text = |name: &str| event[name].as_str().context("no text");
            said.push(Said {
                client: text("dir")?.starts_with('C'),
                ms: event["ms"].as_u64().context("no time")?,
                bytes: unhex(text("hex")?)?,
            });
        }
        let name = row["name"].as_str().context("no name")?.to_owned();
        rows.push(Row { name, said });
    }
    Ok(rows)
}

fn unhex(text: &str) -> anyhow::Result<Vec<u8>> {
    let pair = |at: usize| Ok(u8::from_str_radix(&text[at..at + 2], 16)?);
    (0..text.len()).step_by(2).map(pair).collect()
}

/// The local connections of a row, as the server's frames have them: each data stream's port, bytes and end.
fn expected(row: &Row) -> Vec<Outcome> {
    let pattern = |length: usize| "0123456789abcdef".repeat(length / 16);
    let one = |request, port, text: String| Outcome {
        request,
        port,
        received: text.into_bytes(),
        end: Ok(()),
    };
    let kind = row.name.split_once('_').map_or("", |(_, kind)| kind);
    match kind {
        "echo" => vec![one(0, 41_225, "echo:hi".to_owned())],
        "big" => vec![one(0, 41_225, pattern(12_000))],
        "mid" => vec![one(0, 41_225, pattern(6_000))],
        "twoconns" => vec![
            one(0, 41_225, "echo:a".to_owned()),
            one(1, 41_225, "echo:b".to_owned()),
        ],
        "half_close_slow_pod" | "half_close_pod_answers_after_2.5s" => {
            vec![one(0, 41_225, String::new())]
        }
        "refused" => {
            let refused = "error forwarding port 1 to pod SANDBOXID, uid : failed to execute portforward in \
                network namespace \"/var/run/netns/cni-x\": failed to connect to localhost:1 inside namespace \
                \"SANDBOXID\", IPv4: dial tcp4 127.0.0.1:1: connect: connection refused IPv6 v6err";
            vec![Outcome {
                end: Err(refused.to_owned()),
                ..one(0, 1, String::new())
            }]
        }
        // Nothing is forwarded.
        _ => Vec::new(),
    }
}

/// The row in the form of this project's transcripts. Heads have the fields that those keep.
fn transcript(row: &Row) -> anyhow::Result<Transcript> {
    let mut text = "pft 1\n".to_owned();
    for key in ["peer", "command", "client", "server"] {
        writeln!(text, "{key}: client-go v0.37.2")?;
    }
    text += "date: 2026-11-21T12:22:03Z\ntool: a relay\nredacted: credentials\n";
    for outcome in expected(row) {
        writeln!(text, "expect: {outcome}")?;
    }
    text.push('\n');
    let mut count = 0;
    let mut line = |ms: u64, client: bool, what: &str| {
        let way = if client { "c>s" } else { "s>c" };
        count += 1;
        format!("{way} +{}.{:03}000 {what}\n", ms / 1000, ms % 1000)
    };
    for client in [true, false] {
        let (head, _) = row.head(client)?;
        let mut lines = head.split("\r\n");
        text += &line(
            0,
            client,
            &format!("head {}", lines.next().unwrap_or_default()),
        );
        let mut fields: BTreeMap<String, &str> = BTreeMap::new();
        for field in lines {
            let (name, value) = field.split_once(": ").context("no field")?;
            fields.insert(name.to_lowercase(), value);
        }
        // In our client's order.
        for name in [
            "content-length",
            "connection",
            "upgrade",
            "sec-websocket-protocol",
            "x-stream-protocol-version",
        ] {
            if let Some(value) = fields.get(name) {
                writeln!(text, "| {name}: {value}")?;
            }
        }
    }
    let mut begun = [false; 2];
    for Said { client, ms, bytes } in &row.said {
        let bytes = if std::mem::replace(&mut begun[usize::from(*client)], true) {
            bytes.clone()
        } else {
            let (_, behind) = row.head(*client)?;
            if behind.is_empty() {
                continue;
            }
            behind
        };
        text += &if bytes.is_empty() {
            line(*ms, *client, "end")
        } else {
            line(*ms, *client, &format!("{} {}", bytes.len(), hex(&bytes)))
        };
    }
    writeln!(text, "pft end {count}")?;
    Transcript::read(text.as_bytes()).with_context(|| row.name.clone())
}

#[tokio::test]
async fn sessions() -> anyhow::Result<()> {
    let mut done = Vec::new();
    for row in rows()? {
        let (answer, _) = row.head(false)?;
        if !answer.starts_with("HTTP/1.1 101 ") {
            continue;
        }
        let transcript = transcript(&row)?;
        let replayed = reenact_client_go(&transcript, row.is_tunnel()).await;
        replayed.with_context(|| row.name.clone())?;
        done.push(row.name);
    }
    ensure!(done.len() == 12, "only {done:?}");
    Ok(())
}

/// A replay that cannot fail proves nothing: what the server says in the tunnel, what the client said, and the kind of
/// a message.
#[tokio::test]
async fn a_false_session_does_not_pass() -> anyhow::Result<()> {
    let false_ones: [(bool, &[u8], &[u8], &str); 3] = [
        (false, b"echo:hi", b"echo:ha", "the local sockets came to"),
        // FIN of the error stream, in a message of its own.
        (
            false,
            &[0x82, 4, 1, 0, 0, 0],
            &[0x81, 4, 1, 0, 0, 0],
            "message type",
        ),
        (
            true,
            &[0x3f, 0x26, 0xd2, 0xde],
            &[0x3f, 0x26, 0xd2, 0xdf],
            "the client sent stream 3",
        ),
    ];
    for (client, from, to, words) in false_ones {
        let mut rows = rows()?;
        let row = rows.iter_mut().find(|row| row.name == "ws_echo");
        let row = row.context("no ws_echo")?;
        let mut found = 0;
        for said in row.said.iter_mut().filter(|said| said.client == client) {
            let at = said.bytes.windows(from.len()).position(|part| part == from);
            if let Some(at) = at {
                said.bytes[at..at + from.len()].copy_from_slice(to);
                found += 1;
            }
        }
        ensure!(found == 1, "{from:?} is there {found} times");
        let error = reenact_client_go(&transcript(row)?, true).await.err();
        let error = format!("{:#}", error.context("it passes")?);
        ensure!(error.contains(words), "{error}");
    }
    Ok(())
}

/// What the server says instead of 101 reaches the user.
#[tokio::test]
async fn refusals() -> anyhow::Result<()> {
    let mut done = 0;
    for row in rows()? {
        let (answer, body) = row.head(false)?;
        if answer.starts_with("HTTP/1.1 101 ") {
            continue;
        }
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let asked = UpgradeRequest::new(PATH, "replay");
        let serve = async {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                far.read_buf(&mut request).await?;
            }
            far.write_all(&[answer.as_bytes(), b"\r\n\r\n", &body].concat())
                .await?;
            far.shutdown().await
        };
        let ask = async {
            if row.is_tunnel() {
                let asked = upgrade::websocket(near, &asked, &[TUNNEL], None).await;
                asked.err().map(|e| e.to_string())
            } else {
                upgrade::spdy(near, &asked)
                    .await
                    .err()
                    .map(|e| e.to_string())
            }
        };
        let both = async { tokio::join!(ask, serve) };
        let (error, served) = timeout(Duration::from_secs(5), both).await?;
        served?;
        let Some(error) = error else {
            bail!("{}: no error", row.name);
        };
        let said = match serde_json::from_slice::<Value>(&body) {
            Ok(status) => status["message"].as_str().unwrap_or_default().to_owned(),
            Err(_) => String::from_utf8(body)?.trim().to_owned(),
        };
        ensure!(
            error.contains(&said),
            "{}: {error} without {said}",
            row.name
        );
        done += 1;
    }
    ensure!(done == 5, "only {done}");
    Ok(())
}
