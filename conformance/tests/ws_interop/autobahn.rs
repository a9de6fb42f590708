//! The Autobahn TestSuite, every case that is not about compression, in both roles. What each case gives
//! is in `autobahn-expected.txt`; any change fails.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, thread};

use anyhow::{Context as _, bail, ensure};
use conformance::{peers::Peer, say};
use serde_json::Value;

use crate::{
    Running, find, listen,
    socket::{Message, Socket},
};

const AGENT: &str = "wsstream";
const EXPECTED: &str = include_str!("autobahn-expected.txt");

/// Echoes every message until the end.
fn echo(mut socket: Socket) {
    while let Ok(message) = socket.next() {
        match message {
            // A case may end the connection at any time.
            Message::Whole(kind, payload) => {
                if socket.send(kind, payload).is_err() {
                    return;
                }
            }
            Message::Pong(_) => {}
            _ => return,
        }
    }
}

#[test]
fn as_a_server() -> anyhow::Result<()> {
    let Some(program) = find(Peer::WsAutobahn)? else {
        return Ok(());
    };
    let (listener, at) = listen()?;
    // Ends with the process: the suite's client says nothing when it is done.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || Socket::accept(stream, &[]).map(echo));
        }
    });
    let reports = tempfile::tempdir()?;
    let url = format!("ws://{at}");
    let directory = reports.path().to_string_lossy().into_owned();
    Running::start(&program, &["fuzzingclient", &url, &directory])?.end()?;
    judge("server", reports.path())
}

#[test]
fn as_a_client() -> anyhow::Result<()> {
    let Some(program) = find(Peer::WsAutobahn)? else {
        return Ok(());
    };
    let reports = tempfile::tempdir()?;
    let directory = reports.path().to_string_lossy().into_owned();
    let mut suite = Running::start(&program, &["fuzzingserver", "0", &directory])?;
    let at = suite.port()?;
    let mut counting = Socket::connect(at, "/getCaseCount", &[])?;
    let Message::Whole(_, count) = counting.next()? else {
        bail!("no number of cases");
    };
    let count: usize = String::from_utf8(count)?.parse()?;
    ensure!(count >= 300, "only {count} cases");
    for case in 1..=count {
        run_case(at, case).with_context(|| format!("case {case}"))?;
    }
    let path = format!("/updateReports?agent={AGENT}");
    echo(Socket::connect(at, &path, &[])?);
    judge("client", reports.path())
}

fn run_case(at: SocketAddr, case: usize) -> anyhow::Result<()> {
    let path = format!("/runCase?case={case}&agent={AGENT}");
    echo(Socket::connect(at, &path, &[])?);
    Ok(())
}

/// Compares behaviour and behaviour at close of every case with what is written down.
fn judge(role: &str, reports: &Path) -> anyhow::Result<()> {
    let index: Value = serde_json::from_str(&fs::read_to_string(reports.join("index.json"))?)?;
    let agents = index.as_object().context("no agents")?;
    let cases = agents.values().next().and_then(Value::as_object);
    let mut found = BTreeMap::new();
    let mut counts = BTreeMap::new();
    for (id, case) in cases.context("no cases")? {
        let word = |key: &str| {
            case.get(key)
                .and_then(Value::as_str)
                .unwrap_or("-")
                .to_owned()
        };
        let (behaviour, close) = (word("behavior"), word("behaviorClose"));
        *counts.entry(behaviour.clone()).or_insert(0) += 1;
        if (behaviour.as_str(), close.as_str()) != ("OK", "OK") {
            found.insert(id.clone(), format!("{behaviour} {close}"));
        }
    }
    say(&format!("Autobahn, {role}: {counts:?}"));
    let expected: BTreeMap<String, String> = EXPECTED
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (of, id) = (words.next()?, words.next()?);
            let result = format!("{} {}", words.next()?, words.next()?);
            (of == role).then(|| (id.to_owned(), result))
        })
        .collect();
    ensure!(
        found == expected,
        "not OK were {found:#?}\nbut expected were {expected:#?}"
    );
    let all: usize = counts.values().sum();
    ensure!(all >= 300, "only {all} cases were run");
    Ok(())
}
