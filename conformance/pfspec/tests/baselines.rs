//! What each server is known to do, in `baselines/`: every verdict that is no plain PASS has an entry with its
//! reason, and an entry that no longer holds fails. The servers of other people are judged where they are there
//! (`conformance/peers/go/build`, `conformance/cluster/up`).
#![cfg(unix)]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{directory, pfspec, said, text};
use conformance::cluster::{self, Cluster};
use conformance::peers::Peer;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What these tests share the processors with: the other tests.
const PATIENCE: &str = "15";

/// Judges a target, named by words, and compares with its baseline.
fn judge(target: &[&str], baseline: &str) {
    // Who stalls whom, and for how long, depends on what else runs here.
    let without = ["-x", "load/*", "-x", "pf/backpressure/*"];
    let count = compare(target, baseline, &without);
    assert!(count > 500, "{count}");
}

/// The same by the cases that more words choose; how many results there are.
fn compare(target: &[&str], baseline: &str, cases: &[&str]) -> usize {
    let directory = directory();
    let report = directory.path().join("report.json");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("baselines/{baseline}.toml"));
    let json = format!("json={}", report.display());
    let how = [
        "--strict",
        "--jobs",
        "4",
        "--patience",
        PATIENCE,
        "--timeout",
        "150",
        // What differs once and not twice is said to be flaky, and is the machine's more often than the server's.
        "--retries",
        "1",
    ];
    let output = pfspec(target)
        .args(how)
        .args(cases)
        .args(["--quiet", "--expect", &text(&file), "--report", &json])
        .output()
        .unwrap();
    let (code, out, err) = said(&output);
    assert_eq!(code, 0, "{baseline}: {out}{err}");
    let report = std::fs::read_to_string(report).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let results = report.get("results").unwrap().as_array().unwrap();
    let of = |result: &serde_json::Value, key: &str| {
        let value = result.get(key).unwrap();
        value.as_str().unwrap_or_default().to_owned()
    };
    for result in results {
        let known =
            of(result, "verdict") == "PASS" || !result.get("expectation").unwrap().is_null();
        assert!(
            known,
            "{baseline} says nothing of {}: {} {}",
            of(result, "name"),
            of(result, "verdict"),
            of(result, "seen")
        );
    }
    results.len()
}

/// A peer that runs until this is dropped, and its first line.
struct Running(Child, String);

impl Running {
    fn new(program: PathBuf, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let said = child.stdout.take().unwrap();
        BufReader::new(said).read_line(&mut line).unwrap();
        Self(child, line.trim().to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn embedded() {
    judge(&["server", "--embedded"], "embedded");
}

/// Of cases that abuse a server, the file needs no entry. No file says them of the servers of other people.
#[test]
fn embedded_abused() {
    let abuse = ["--hostile", "--slow", "--tag", "hostile"];
    let count = compare(&["server", "--embedded"], "embedded", &abuse);
    assert!(count > 70, "{count}");
}

#[test]
fn streaming_server() {
    let Some(server) = Peer::Server.find("streaming_server").unwrap() else {
        return;
    };
    let directory = directory();
    let kubeconfig = text(&directory.path().join("peer.yaml"));
    let server = Running::new(server, &["-demo", "-kubeconfig-out", &kubeconfig]);
    assert_eq!(server.1, "ready");
    let target = [
        "apiserver",
        "--kubeconfig",
        &kubeconfig,
        "--pod",
        "default/peer",
    ];
    judge(&target, "cri-streaming-0.37");
}

#[test]
fn older_streaming_server() {
    let Some(server) = Peer::Older030.find("older_streaming_server").unwrap() else {
        return;
    };
    let server = Running::new(server, &[]);
    judge(&["runtime", &server.1], "kubelet-streaming-0.30");
}

/// Finds the cluster, and how `kube/` and `pki/` of it are named.
fn found(test: &str) -> Option<impl Fn(&str) -> String> {
    Cluster::find(test).unwrap()?;
    let directory = cluster::directory().unwrap();
    Some(move |file: &str| text(&directory.join(file)))
}

#[test]
fn api_server() {
    let Some(file) = found("api_server") else {
        return;
    };
    let admin = file("kube/admin.yaml");
    let mut target = vec!["apiserver", "--kubeconfig", &admin, "--pod", "default/bare"];
    let others = ["viewer", "nobody", "get-only", "create-only"].map(|who| {
        [
            format!("--{who}-kubeconfig"),
            file(&format!("kube/{who}.yaml")),
        ]
    });
    target.extend(others.iter().flatten().map(String::as_str));
    judge(&target, "apiserver-1.37");
}

#[test]
fn kubelet() {
    let Some(file) = found("kubelet") else {
        return;
    };
    let (ca, cert, key) = (
        file("pki/ca.crt"),
        file("pki/apiserver-to-kubelet.crt"),
        file("pki/apiserver-to-kubelet.key"),
    );
    let target = [
        "kubelet",
        "https://10.244.0.1:10250",
        "--pod",
        "default/bare",
    ];
    let known = ["--ca", &ca, "--cert", &cert, "--key", &key];
    judge(&[&target[..], &known[..]].concat(), "kubelet-1.37");
}

#[test]
fn containerd() {
    let Some(file) = found("containerd") else {
        return;
    };
    let socket = format!("unix://{}", file("containerd/containerd.sock"));
    let target = ["runtime", "--cri", &socket, "--pod", "default/bare"];
    judge(&target, "containerd-2.3");
}
