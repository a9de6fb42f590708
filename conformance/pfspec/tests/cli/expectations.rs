//! `--expect` and `--write-expect`.

use super::common::{Fake, ONE, SEVEN, directory, judge, run, said, text};
use std::fs;

#[test]
fn expectations() {
    let directory = directory();
    let file = directory.path().join("expect.toml");
    let broken = Fake::saying("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
    let path = text(&file);
    let entry = |verdict: &str, more: &str| {
        let text = format!(
            "[[expect]]\ncase = 'spdy/frame/*@spdy'\nverdict = '{verdict}'\nreason = 'we know'\n{more}"
        );
        fs::write(&file, text).unwrap();
    };
    let bad = |more: &[&str]| {
        judge(
            &broken,
            &[&["--no-preflight", ONE, "--expect", &path][..], more].concat(),
        )
    };
    let good = |more: &[&str]| {
        said(&run(
            &[&["server", ONE, "--expect", &path][..], more].concat()
        ))
    };
    entry(
        "FAIL",
        "issue = 'https://example.com/1'\nexpires = 9999-12-31\n",
    );
    let (code, out, error) = bad(&[]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(
        out.starts_with("FAIL ") && out.contains("[as expected: we know]"),
        "{out}"
    );
    let (code, out, error) = good(&[]);
    assert_eq!(code, 1, "{out}{error}");
    assert!(
        out.starts_with("PASS ") && out.contains("unexpected, FAIL is: we know"),
        "{out}"
    );
    assert!(out.contains(": 1 unexpected pass\n1 result in "), "{out}");
    // Without the file it would pass again, and no more be said.
    let again = format!(" --expect {path} --case {ONE}\n");
    let (_, again_of) = out.split_once("\nAgain: pfspec ").expect(&out);
    assert!(again_of.ends_with(&again), "{out}");
    let words: Vec<&str> = again_of.split_whitespace().collect();
    assert_eq!(said(&run(&words)).0, 1);
    let (code, out, error) = good(&["--allow-unexpected-pass"]);
    assert_eq!(code, 0, "{out}{error}");
    entry("FAIL", "expires = 2020-01-01\n");
    let (code, out, error) = bad(&[]);
    assert_eq!(code, 1, "{out}{error}");
    assert!(error.contains("has expired on 2020-01-01"), "{error}");
    // What it says nothing of departs without it too.
    assert!(
        out.contains(": 1 departure\n") && !out.contains("--expect"),
        "{out}"
    );
    entry("PASS", "");
    assert_eq!(good(&[]).0, 0);
    entry("UNSUPPORTED", "");
    assert_eq!(bad(&[]).0, 1);
    // What is written is what comes: the same run is as expected.
    let written = text(&directory.path().join("written.toml"));
    // Of the others there is nothing to know of a server that serves nothing.
    let must = ["--no-preflight", "--tag", "must"];
    let seven = |more: &[&str]| judge(&broken, &[&SEVEN[..], &must, more].concat());
    let (code, _, _) = seven(&["--write-expect", &written]);
    assert_eq!(code, 1);
    let (code, out, error) = seven(&["--expect", &written]);
    assert_eq!(code, 0, "{out}{error}");
    // What did not run this time is kept, whichever file says it.
    let all = fs::read_to_string(&written).unwrap();
    assert!(all.matches("[[expect]]").count() >= 7, "{all}");
    for more in [&["--expect", &written][..], &[]] {
        let again = ["--no-preflight", ONE, "--write-expect", &written];
        judge(&broken, &[&again[..], more].concat());
        let (code, out, error) = seven(&["--expect", &written]);
        assert_eq!(code, 0, "{out}{error}");
    }
}

#[test]
fn what_is_seen_is_compared() {
    let directory = directory();
    let path = text(&directory.path().join("expect.toml"));
    let arguments = [
        "server",
        "spdy/frame/data-on-stream-0@spdy",
        "--expect",
        &path,
    ];
    let one = "[[expect]]\ncase = 'spdy/frame/data-on-stream-0'\nverdict = 'PASS'\nreason = 'r'\n";
    for (seen, code) in [("ends-session", 0), ("something-else", 1)] {
        fs::write(&path, format!("{one}seen = '{seen}'\n")).unwrap();
        assert_eq!(said(&run(&arguments)).0, code, "{seen}");
    }
}
