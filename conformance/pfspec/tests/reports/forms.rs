//! The other reports, and the wire log.

use super::common::{Fake, ONE, directory, files, judge, run, said, text};
use serde_json::Value;
use std::fs;

#[test]
fn other_reports_of_a_broken_server() {
    let fake =
        Fake::saying("HTTP/1.1 500 <b>|`@all`\u{1}\r\nContent-Length: 10\r\n\r\n]]></a>&\u{1b}[m");
    let directory = directory();
    let at = |name: &str| text(&directory.path().join(name));
    let reports = format!(
        "junit={},sarif={},md={},tap={}",
        at("xml"),
        at("sarif"),
        at("md"),
        at("tap")
    );
    let (code, ..) = judge(
        &fake,
        &[
            "--no-preflight",
            ONE,
            "spdy/frame/data-on-stream-0",
            "--report",
            &reports,
        ],
    );
    assert_eq!(code, 1);
    let read = |name: &str| fs::read_to_string(at(name)).unwrap();
    let xml = read("xml");
    assert!(
        xml.contains("failures=\"2\"") && xml.contains(&format!("name=\"{ONE}\"")),
        "{xml}"
    );
    assert!(
        !xml.contains(['\u{1}', '\u{1b}']) && !xml.contains("<b>"),
        "{xml}"
    );
    let sarif: Value = serde_json::from_str(&read("sarif")).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let result = results
        .iter()
        .find(|result| result["ruleId"] == "spdy/frame/joined");
    let result = result.unwrap();
    assert_eq!(result["level"], "error");
    let rules = sarif["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .unwrap();
    assert!(rules.iter().any(|rule| rule["id"] == "spdy/frame/joined"));
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(
        place["artifactLocation"]["uri"],
        "conformance/spec/02-spdy-frames.md"
    );
    let markdown = read("md");
    assert!(
        markdown.contains(&format!("| FAIL | `{ONE}` |")),
        "{markdown}"
    );
    // Between backticks nobody is called, nothing is linked, and nothing is HTML.
    assert!(markdown.contains("@all"), "{markdown}");
    for line in markdown.lines() {
        let outside = line.trim_start_matches('#').split('`').step_by(2);
        let steers = outside.filter(|part| part.contains(['<', '@', '#', '&']));
        assert_eq!(steers.count(), 0, "{line}");
        assert_eq!(line.matches('`').count() % 2, 0, "{line}");
    }
    let tap = read("tap");
    assert!(
        tap.starts_with("TAP version 14\n1..3\n") && tap.contains(&format!("not ok 1 - {ONE}\n")),
        "{tap}"
    );
}

#[test]
fn a_wire_log_is_of_one_run() {
    let directory = directory();
    let wire = text(directory.path());
    let own = directory.path().join("mine.txt");
    fs::write(&own, "").unwrap();
    for case in [ONE, "spdy/frame/empty-data@spdy"] {
        let (code, ..) = said(&run(&["server", case, "--wire-log", &wire]));
        assert_eq!(code, 0);
        let there = directory.path().join(format!("{case}.txt"));
        let mut left = files(directory.path());
        left.retain(|file| *file != own);
        assert_eq!(left, [there]);
        assert!(own.exists());
    }
}
