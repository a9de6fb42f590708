//! The capture, as Wireshark reads it.

use super::common::{directory, run, said, text};
use std::collections::BTreeMap;
use std::process::Command;

#[test]
fn wireshark_dissects_it() {
    let version = Command::new("tshark").arg("--version").output();
    if let Err(error) = version {
        let why = anyhow::anyhow!("tshark: {error}");
        conformance::skip(
            "wireshark_dissects_it",
            "PFSPEC_TSHARK",
            &why,
            "install tshark",
        )
        .unwrap();
        return;
    }
    let directory = directory();
    let file = text(&directory.path().join("a.pcapng"));
    let (code, ..) = said(&run(&[
        "server",
        "spdy/frame/joined",
        "spdy/frame/data-of-any-length@spdy",
        "--pcapng",
        &file,
    ]));
    assert_eq!(code, 0);
    let fields = |filter: &str, field: &str| {
        let output = Command::new("tshark")
            .args(["-r", &file, "-Y", filter, "-T", "fields", "-e", field])
            .output()
            .unwrap();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for value in String::from_utf8_lossy(&output.stdout)
            .lines()
            .flat_map(|line| line.split(','))
        {
            *counts.entry(value.to_owned()).or_default() += 1;
        }
        counts
    };
    let count =
        |counts: &BTreeMap<String, usize>, key: &str| counts.get(key).copied().unwrap_or_default();
    let types = fields("spdy", "spdy.type");
    // Two pairs over plain SPDY: SYN_STREAM, SYN_REPLY; PING both ways.
    assert_eq!(
        (count(&types, "1"), count(&types, "2"), count(&types, "6")),
        (4, 4, 2),
        "{types:?}"
    );
    let values = fields("spdy.type == 1", "spdy.header.value");
    assert!(
        count(&values, "error") >= 2 && count(&values, "data") >= 2,
        "{values:?}"
    );
    let codes = fields("http", "http.response.code");
    assert_eq!(count(&codes, "101"), 3, "{codes:?}");
    assert!(count(&fields("websocket", "websocket.opcode"), "2") >= 2);
    let broken = "_ws.malformed || ip.checksum.status == 0 || tcp.analysis.flags";
    let bad = fields(broken, "frame.number");
    assert_eq!(bad, BTreeMap::new());
    let comments = fields("frame.comment", "frame.comment");
    assert_eq!(
        count(&comments, "PASS spdy/frame/joined@tunnel"),
        1,
        "{comments:?}"
    );
}
