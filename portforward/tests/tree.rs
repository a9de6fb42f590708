//! What the crates may stand on, read from `cargo tree`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::process::Command;

/// Crates that `package` is built from, itself not counted.
fn tree(package: &str) -> BTreeSet<String> {
    tree_to(package, "100")
}

/// The same, so many arrows deep.
fn tree_to(package: &str, depth: &str) -> BTreeSet<String> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--manifest-path",
            manifest,
            "-p",
            package,
        ])
        .args([
            "--all-features",
            "--depth",
            depth,
            "-e",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let mut all: BTreeSet<_> = text.lines().map(name).collect();
    assert!(all.remove(package), "{text}");
    all.remove("");
    all
}

#[test]
fn the_library_knows_no_kube_hyper_or_clap() {
    let all = tree("portforward");
    for banned in [
        "kube",
        "kube-client",
        "k8s-openapi",
        "hyper",
        "hyper-util",
        "clap",
        "tower",
        "reqwest",
    ] {
        assert!(
            !all.contains(banned),
            "{banned} is in the tree of portforward: {all:?}"
        );
    }
    assert!(all.contains("tokio"), "the list is real: {all:?}");
    assert!(all.len() <= 80, "{} crates: {all:?}", all.len());
}

#[test]
fn the_protocol_crates_are_pure() {
    let set = |names: &[&str]| {
        names
            .iter()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
    };
    let spdy = tree("spdy");
    assert!(
        spdy.is_subset(&set(&["bytes", "flate2", "zlib-rs", "crc32fast", "cfg-if"])),
        "{spdy:?}"
    );
    assert_eq!(
        tree_to("wsstream", "1"),
        set(&["base64", "bytes", "chacha20", "getrandom", "sha1"])
    );
    let wsstream = tree("wsstream");
    for banned in [
        "tokio",
        "mio",
        "futures-core",
        "log",
        "tracing",
        "rustls",
        "spdy",
    ] {
        assert!(!wsstream.contains(banned), "{banned}: {wsstream:?}");
    }
    assert!(wsstream.len() <= 14, "{wsstream:?}");
}
