//! Each frame of the list to each peer's decoder and from its encoder; alone, where a peer refuses it. An
//! entry of a peer's list in `quirks` that is no longer true fails the test.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use spdy::{Dialect, HeaderEncoding};

use crate::{
    frames::{self, Case, ENCODINGS, line},
    peer::{Program, find},
    quirks::{self, Codec, Made},
};

/// A frame may become several lines, as an array.
fn lines(value: Value) -> Vec<Value> {
    match value {
        Value::Array(lines) => lines,
        line => vec![line],
    }
}

/// DATA frames that follow each other on a stream as one: where a decoder cuts them is its own affair when
/// it gets them in pieces.
fn joined(lines: &[Value]) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for line in lines {
        let text = |line: &Value| line["data"].as_str().unwrap_or_default().to_owned();
        match out.last_mut() {
            Some(last)
                if last["type"] == "DATA"
                    && line["type"] == "DATA"
                    && last["id"] == line["id"]
                    && last["fin"] == json!(false) =>
            {
                last["data"] = Value::from(text(last) + &text(line));
                last["fin"] = line["fin"].clone();
            }
            _ => out.push(line.clone()),
        }
    }
    out
}

/// Fails with the first lines that differ.
fn compare(names: &[&str], got: &[Value], wanted: &[Value]) -> anyhow::Result<()> {
    for (nth, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let name = names.get(nth).copied().unwrap_or("?");
        let cut = |v: &Value| v.to_string().chars().take(600).collect::<String>();
        ensure!(
            got == wanted,
            "{name}: {} instead of {}",
            cut(got),
            cut(wanted)
        );
    }
    ensure!(
        got.len() == wanted.len(),
        "{} frames instead of {}; the last: {:?}",
        got.len(),
        wanted.len(),
        got.last()
    );
    Ok(())
}

impl Codec {
    fn we_encode(&self, program: &Program, encoding: HeaderEncoding) -> anyhow::Result<()> {
        let (mut taken, mut names, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        let list = (self.cases)();
        for case in &list {
            let want = match (self.sees)(case, &line(&case.frame), encoding) {
                Made::Same => line(&case.frame),
                Made::Other(value, why) => {
                    ensure!(
                        value != line(&case.frame),
                        "{}: no longer: {why}",
                        case.name
                    );
                    value
                }
                Made::Unreadable(why) => anyhow::bail!("{}: {why}", case.name),
                Made::Refused(why) => {
                    let bytes = frames::encode(encoding, [&case.frame])?;
                    let got = program.run(&["decode"], &bytes)?;
                    let lines = frames::parse(&got.stdout)?;
                    let refused = !got.well || lines.iter().any(|l| l.get("error").is_some());
                    ensure!(
                        refused,
                        "{}: taken, in spite of: {why}: {lines:?}",
                        case.name
                    );
                    continue;
                }
            };
            taken.push(&case.frame);
            let want = lines(want);
            names.extend(want.iter().map(|_| case.name.as_str()));
            wanted.extend(want);
        }
        let bytes = frames::encode(encoding, taken)?;
        let whole = program.run(&["decode"], &bytes)?.good()?;
        compare(&names, &frames::parse(&whole)?, &wanted).context("all at once")?;
        let pieces = program.run(&["decode", self.piece], &bytes)?.good()?;
        compare(&[], &joined(&frames::parse(&pieces)?), &joined(&wanted)).context("in pieces")
    }

    fn they_encode(&self, program: &Program) -> anyhow::Result<()> {
        let (mut asked, mut names, mut wanted) = (String::new(), Vec::new(), Vec::new());
        let list = (self.cases)();
        for case in &list {
            let want = match (self.says)(case, &line(&case.frame)) {
                Made::Same => line(&case.frame),
                Made::Other(value, why) => {
                    ensure!(
                        value != line(&case.frame),
                        "{}: no longer: {why}",
                        case.name
                    );
                    value
                }
                Made::Refused(_) => continue,
                Made::Unreadable(why) => {
                    let asked = line(&case.frame).to_string() + "\n";
                    let bytes = program.run(&["encode"], asked.as_bytes())?.good()?;
                    let found = frames::decode(Dialect::Kubernetes, &bytes, bytes.len().max(1));
                    ensure!(found.is_err(), "{}: read, in spite of: {why}", case.name);
                    continue;
                }
            };
            asked.push_str(&line(&case.frame).to_string());
            asked.push('\n');
            names.push(case.name.as_str());
            wanted.push(want);
        }
        let bytes = program.run(&["encode"], asked.as_bytes())?.good()?;
        for dialect in [Dialect::Kubernetes, Dialect::Spdy31] {
            for chunk in [bytes.len().max(1), 1, 7] {
                let frames = frames::decode(dialect, &bytes, chunk)
                    .with_context(|| format!("{dialect:?}, {chunk} bytes at a time"))?;
                let got: Vec<Value> = frames.iter().map(line).collect();
                compare(&names, &got, &wanted)?;
            }
        }
        self.split_everywhere(program, &list)
    }

    /// Two frames that share the context, split at every byte.
    fn split_everywhere(&self, program: &Program, list: &[Case]) -> anyhow::Result<()> {
        let small =
            |case: &&Case| matches!(case.name.as_str(), "block again" | "reply" | "data fin");
        let (mut asked, mut wanted) = (String::new(), Vec::new());
        for case in list.iter().filter(small) {
            let want = match (self.says)(case, &line(&case.frame)) {
                Made::Same => line(&case.frame),
                Made::Other(value, _) => value,
                Made::Refused(_) | Made::Unreadable(_) => continue,
            };
            asked.push_str(&line(&case.frame).to_string());
            asked.push('\n');
            wanted.push(want);
        }
        ensure!(wanted.len() >= 2, "too little to split");
        let bytes = program.run(&["encode"], asked.as_bytes())?.good()?;
        for at in 1..bytes.len() {
            let (first, rest) = bytes.split_at(at);
            let frames = frames::decode_parts(Dialect::Spdy31, &[first, rest])?;
            let got: Vec<Value> = frames.iter().map(line).collect();
            compare(&[], &got, &wanted).with_context(|| format!("split at {at}"))?;
        }
        Ok(())
    }

    fn test(&self) -> anyhow::Result<()> {
        let Some(program) = find(self.peer)? else {
            return Ok(());
        };
        for encoding in ENCODINGS {
            self.we_encode(&program, encoding)
                .with_context(|| format!("we encode, {encoding:?}"))?;
        }
        self.they_encode(&program).context("they encode")
    }
}

#[test]
fn go_0_5_1() -> anyhow::Result<()> {
    quirks::GO_0_5_1.test()
}

#[test]
fn go_0_2_0() -> anyhow::Result<()> {
    quirks::GO_0_2_0.test()
}

#[test]
fn node() -> anyhow::Result<()> {
    quirks::NODE.test()
}

#[test]
fn netty() -> anyhow::Result<()> {
    quirks::NETTY.test()
}

#[test]
fn rust() -> anyhow::Result<()> {
    quirks::RUST.test()?;
    let Some(program) = find(quirks::RUST.peer)? else {
        return Ok(());
    };
    // Why its list has no names that begin with a colon.
    let first = &frames::cases()[0].frame;
    let output = program.run(
        &["decode"],
        &frames::encode(HeaderEncoding::Stored, [first])?,
    )?;
    let lines = frames::parse(&output.good()?)?;
    let refused = lines.len() == 1 && lines[0].get("error").is_some();
    ensure!(refused, "a colon is taken: {lines:?}");
    Ok(())
}
