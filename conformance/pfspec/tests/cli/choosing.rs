//! Which cases run: lists, dry runs, shards.

use super::common::{ONE, run, said};
use serde_json::Value;

#[test]
fn a_dry_run_says_nothing_of_what_nobody_asked_for() {
    let (code, out, error) = said(&run(&["server", "--dry-run", ONE]));
    assert_eq!(code, 0, "{error}");
    assert!(!out.contains("SKIP"), "{out}");
    // Who asks for what is not for this target hears it.
    let other = "http/upgrade/pod-unknown-to-node";
    let (_, out, _) = said(&run(&["server", "--dry-run", other]));
    assert!(
        out.contains(&format!("SKIP {other}@http: not for this kind")),
        "{out}"
    );
}

#[test]
fn shards() {
    let lines = |more: &[&str]| {
        let (code, out, error) = said(&run(&[&["server", "--dry-run"][..], more].concat()));
        assert_eq!(code, 0, "{error}");
        let lines = out.lines().filter(|line| line.starts_with("RUN "));
        lines.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let mut whole = lines(&[]);
    let mut parts = Vec::new();
    for shard in ["1/3", "2/3", "3/3"] {
        let part = lines(&["--shard", shard]);
        assert!(part.len() >= whole.len() / 3, "{shard}");
        parts.extend(part);
    }
    whole.sort();
    parts.sort();
    assert_eq!(whole, parts);
}

#[test]
fn lists() {
    let (code, out, _) = said(&run(&["list", "spdy/frame/*", "-x", "*joined"]));
    assert_eq!(code, 0);
    assert!(
        out.lines().all(|line| line.starts_with("spdy/frame/")),
        "{out}"
    );
    assert!(
        out.contains("spdy/frame/byte-by-byte") && !out.contains("spdy/frame/joined "),
        "{out}"
    );
    let (code, out, _) = said(&run(&[
        "list", "--json", "--tag", "observed", "--way", "tunnel",
    ]));
    assert_eq!(code, 0);
    let listed: Value = serde_json::from_str(&out).unwrap();
    let listed = listed.as_array().unwrap();
    assert!(!listed.is_empty());
    for case in listed {
        assert_eq!(case["level"], "OBSERVED");
        assert_eq!(case["ways"], serde_json::json!(["tunnel"]));
    }
    let (code, out, _) = said(&run(&["spec", "2.4"]));
    assert_eq!(code, 0);
    assert!(out.starts_with("2.4 Frames may arrive cut"), "{out}");
}

/// What the server in front answers is not asked about, whatever the target is.
#[test]
fn the_profile_of_a_runtime() {
    let runs = |words: &[&str]| {
        let more = ["--profile", "runtime", "--dry-run"];
        let (code, out, error) = said(&run(&[words, &more].concat()));
        assert_eq!(code, 0, "{error}");
        out
    };
    let front = runs(&["server", "--embedded"]);
    for part in [
        "RUN spdy/frame/joined@spdy",
        "RUN chan/preface/every-channel@v4 ",
        "SKIP spdy/frame/joined@tunnel: not answered by a runtime's streaming server",
        "SKIP http/negotiation/missing@http: not answered by a runtime's streaming server",
    ] {
        assert!(front.contains(part), "{part}: {front}");
    }
    for way in ["@tunnel", "@http"] {
        let asked = front.lines().filter(|line| line.starts_with("RUN "));
        assert_eq!(asked.filter(|line| line.contains(way)).count(), 0, "{way}");
    }
    // Its own requests are a runtime's to answer.
    let own = runs(&["server", "http://127.0.0.1:1/p", "--serves", "spdy"]);
    assert!(own.contains("RUN http/negotiation/missing@http"), "{own}");
    // Each departure can be run again in the same way.
    let (_, out, _) = said(&run(&[
        "server",
        "http://127.0.0.1:1/p",
        "--serves",
        "spdy",
        "--no-preflight",
        "--profile",
        "runtime",
        ONE,
    ]));
    assert!(out.contains("--profile runtime "), "{out}");
}
