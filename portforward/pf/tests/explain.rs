//! `pf explain` against the wire log of the same forward: what is drawn is what passed, frame by
//! frame, in order, with the same ids, sizes and times.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use bytes::BytesMut;
use serde_json::{Value, json};
use spdy::{Decoder, Frame, Limits};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A file of its own, removed at the end.
struct Temp(PathBuf);

impl Temp {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pf-explain-{}-{n}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// Exit code, stdout, stderr.
fn pf(words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pf"));
    let output = command.args(words).stdin(Stdio::null()).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(!err.contains("panicked"), "{err}");
    let out = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), out, err)
}

/// A frame as the log has it: direction, name, stream, size, FIN, first and last byte's time.
type Logged = (&'static str, &'static str, Option<u64>, u64, bool, u64, u64);

/// One direction of a log.
struct Side {
    decoder: Decoder,
    input: BytesMut,
    begun: Option<(usize, u64)>,
    size: u64,
}

impl Side {
    fn new() -> Self {
        Self {
            decoder: Decoder::new(Limits::default()),
            input: BytesMut::new(),
            begun: None,
            size: 0,
        }
    }
}

/// Reads a log byte by byte, so that where a frame begins and ends needs no other arithmetic.
fn decode(log: &Path) -> Vec<Logged> {
    let text = std::fs::read_to_string(log).unwrap();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("# pf wire log 1"));
    let mut sides = [Side::new(), Side::new()];
    let mut frames: Vec<(usize, Logged)> = Vec::new();
    let (mut order, mut before) = (0, 0);
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let [direction, time, hex] = words.as_slice() else {
            panic!("{line}");
        };
        let direction = if *direction == "out" { "out" } else { "in" };
        let time: u64 = time.parse().unwrap();
        assert!(time >= before, "time runs backwards: {line}");
        before = time;
        let side = &mut sides[usize::from(direction == "in")];
        for digits in hex.as_bytes().chunks(2) {
            let byte = u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
            if side.begun.is_none() {
                order += 1;
                side.begun = Some((order, time));
            }
            side.size += 1;
            side.input.extend_from_slice(&[byte]);
            let Some(frame) = side.decoder.decode(&mut side.input).expect("SPDY") else {
                continue;
            };
            if matches!(&frame, Frame::Data(data) if data.remaining > 0) {
                continue;
            }
            let (kind, stream, fin) = name(&frame);
            let (order, at) = side.begun.take().unwrap();
            let bytes = std::mem::take(&mut side.size);
            frames.push((order, (direction, kind, stream, bytes, fin, at, time)));
        }
    }
    frames.sort_by_key(|(order, _)| *order);
    frames.into_iter().map(|(_, frame)| frame).collect()
}

fn name(frame: &Frame) -> (&'static str, Option<u64>, bool) {
    let id = |id: spdy::StreamId| Some(u64::from(id.get()));
    match frame {
        Frame::SynStream(f) => ("SYN_STREAM", id(f.id), f.fin),
        Frame::SynReply(f) => ("SYN_REPLY", id(f.id), f.fin),
        Frame::RstStream(f) => ("RST_STREAM", id(f.id), false),
        Frame::Data(f) => ("DATA", id(f.id), f.fin),
        Frame::GoAway(_) => ("GOAWAY", None, false),
        Frame::Ping(_) => ("PING", None, false),
        other => panic!("not expected here: {other:?}"),
    }
}

fn drawn(picture: &Value) -> Vec<Value> {
    let steps = picture["steps"].as_array().unwrap();
    let frames = steps.iter().filter(|step| step.get("frame").is_some());
    frames.cloned().collect()
}

/// Runs `pf explain ...` twice over: as JSON with a log; compares; gives the exit code and the JSON.
fn checked(words: &[&str]) -> (i32, Value) {
    let log = Temp::new();
    let mut all = vec!["explain", "--format", "json", "--wire-log"];
    all.push(log.0.to_str().unwrap());
    all.extend(words);
    let (exit, out, err) = pf(&all);
    let picture: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
    assert_eq!(picture["schema"], 1);
    assert_eq!(picture["exit"], exit);
    assert_eq!(picture["frames_not_drawn"], 0);
    let logged = decode(&log.0);
    let steps = drawn(&picture);
    assert!(logged.len() >= 4, "{logged:?}");
    assert_eq!(steps.len(), logged.len(), "{steps:#?}\n{logged:#?}");
    for (step, logged) in steps.iter().zip(&logged) {
        let (direction, kind, stream, bytes, fin, at, until) = *logged;
        let expected = json!({
            "direction": direction, "type": kind, "stream": stream, "fin": fin,
            "bytes": bytes, "at_ns": at, "until_ns": until,
        });
        assert_eq!(step["frame"], expected);
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let shown = (at as f64 / 10_000.0).round() / 100.0;
        assert!((step["at_ms"].as_f64().unwrap() - shown).abs() < 0.001);
        let ends = if direction == "out" {
            ("pf", "runtime")
        } else {
            ("runtime", "pf")
        };
        assert_eq!(
            (&step["from"], &step["to"]),
            (&json!(ends.0), &json!(ends.1))
        );
    }
    monotonic(&picture);
    (exit, picture)
}

/// Times grow from step to step; what is not visible has none.
fn monotonic(picture: &Value) {
    let mut before = 0.0;
    for step in picture["steps"].as_array().unwrap() {
        if step["visible"] == true {
            let at = step["at_ms"].as_f64().unwrap();
            assert!(at >= before, "{step}");
            before = at;
        } else {
            assert!(
                step["at_ms"].is_null() && step["took_ms"].is_null(),
                "{step}"
            );
        }
    }
}

/// Position of the first step whose text contains all of `words`.
fn find(picture: &Value, words: &[&str]) -> usize {
    let steps = picture["steps"].as_array().unwrap();
    let has = |step: &Value| {
        let text = step["text"].as_str().unwrap();
        words.iter().all(|word| text.contains(word))
    };
    let found = steps.iter().position(has);
    found.unwrap_or_else(|| panic!("no {words:?} in {steps:#?}"))
}

fn in_order(picture: &Value, words: &[&[&str]]) {
    let found: Vec<usize> = words.iter().map(|words| find(picture, words)).collect();
    assert!(found.is_sorted(), "{found:?} of {words:?}: {picture:#}");
}

#[test]
fn every_hop_of_the_embedded_cluster() {
    let (exit, picture) = checked(&["--embedded", "pod/web", "http"]);
    assert_eq!(exit, 0, "{picture:#}");
    let sides = &[
        &["GET /api/v1/namespaces/default/pods/web"][..],
        &["port http", "port 8080"],
        &["TCP to 127.0.0.1"],
        &["TLS 1.3", "ALPN http/1.1", "server name 127.0.0.1"],
        &["POST /api/v1", "SPDY/3.1", "portforward.k8s.io"],
        &["TCP and TLS"],
        &["POST /portForward/default/web"],
        &["101, passed on"],
        &["101: authorised"],
        &["SYN_STREAM 1: streamtype=error port=8080"],
        &["both streams are there"],
        &["TCP to port 8080"],
        &["no greeting"],
        &["sends 77 bytes"],
        &["HTTP/1.1 200 OK"],
        &["verdict: clean, 77 bytes out"],
        &["GOAWAY"],
        &["session over"],
    ];
    in_order(&picture, sides);
    let steps = picture["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["visible"] == true));
    assert_eq!(picture["port"], json!({ "asked": "http", "number": 8080 }));
}

#[test]
fn other_ends_on_the_embedded_cluster() {
    let (exit, picture) = checked(&["--embedded", "web", "closed"]);
    assert_eq!(exit, 1);
    find(&picture, &["failed to execute portforward", "refused"]);
    find(&picture, &["verdict: failed: error forwarding port 7999"]);
    assert_eq!(
        picture["steps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|s| s["failed"] == true)
            .count(),
        2
    );
    let (exit, picture) = checked(&["--embedded", "web", "reset"]);
    assert_eq!(exit, 1);
    find(&picture, &["verdict: failed", "reset by peer"]);
    // Much more than is wanted: cut off, which is no failure.
    let (exit, picture) = checked(&["--embedded", "web", "source"]);
    assert_eq!(exit, 0);
    in_order(
        &picture,
        &[&["has enough"], &["RST_STREAM 3 (data): CANCEL"]],
    );
    let (exit, picture) = checked(&["--embedded", "web", "echo", "--send", r"a\x00b\n"]);
    assert_eq!((exit, &picture["received"]), (0, &json!(4)));
    // The service's port 80 is an HTTP port, and another of the pod's.
    let (exit, picture) = checked(&["--embedded", "svc/web", "80"]);
    assert_eq!(exit, 0);
    in_order(
        &picture,
        &[
            &["/services/web"],
            &["pods?", "labelSelector"],
            &["HTTP/1.1 200"],
        ],
    );
}

#[test]
fn what_fails_is_drawn_up_to_there() {
    for format in ["text", "mermaid", "json"] {
        let (exit, out, err) = pf(&["explain", "--embedded", "none", "80", "--format", format]);
        assert_eq!(exit, 4);
        assert!(out.contains("404") && out.contains("not found"), "{out}");
        assert!(
            !out.contains("SYN_STREAM") && !out.contains("TLS 1"),
            "{out}"
        );
        assert!(err.contains("NotFound"), "{err}");
    }
    let (exit, out, _) = pf(&["explain", "--embedded", "web", "nosuch"]);
    assert_eq!(exit, 4);
    assert!(out.contains("does not have a named port 'nosuch'"), "{out}");
}

#[test]
fn mermaid_and_text() {
    let (exit, out, _) = pf(&["explain", "--embedded", "web", "7004", "--format=mermaid"]);
    assert_eq!(exit, 0);
    assert!(out.starts_with("sequenceDiagram\n    participant app as local app\n"));
    assert!(
        out.contains("    pf->>runtime: ") && out.contains("SYN_STREAM 1"),
        "{out}"
    );
    let (exit, out, _) = pf(&["explain", "--embedded", "web", "7004"]);
    assert_eq!(exit, 0);
    assert!(out.contains("greeting: 7 bytes, \"banner...\""), "{out}");
    assert!(
        out.contains("* API server and kubelet only copy bytes"),
        "{out}"
    );
}

#[test]
fn usage() {
    let table: [&[&str]; 10] = [
        &["explain"],
        &["explain", "web"],
        &["explain", "web", "0"],
        &["explain", "web", "80:80"],
        &["explain", "web", "80", "81"],
        &["explain", "web", "80", "--send", r"\q"],
        &["explain", "web", "80", "--format", "xml"],
        &["explain", "web", "80", "--address", "127.0.0.1"],
        &["web", "80", "explain", "web", "80"],
        &["--embedded", "explain", "web", "80", "--context", "c"],
    ];
    for words in table {
        let (exit, out, err) = pf(words);
        assert_eq!((exit, out.as_str()), (2, ""), "{words:?}: {err}");
    }
}

/// An API server that shows a pod and does not let anybody forward to it.
fn forbidding() -> SocketAddr {
    const POD: &str = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web","namespace":"ns"},
        "spec":{"nodeName":"n","containers":[{"name":"c"}]},"status":{"phase":"Running"}}"#;
    const NO: &str = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,
        "message":"pods \"web\" is forbidden: User \"u\" cannot create resource \"pods/portforward\""}"#;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut writer = stream.unwrap();
                let mut lines = BufReader::new(writer.try_clone().unwrap()).lines();
                while let Some(Ok(first)) = lines.next() {
                    while !lines.next().is_none_or(|line| line.unwrap().is_empty()) {}
                    let (status, body) = if first.starts_with("GET ") {
                        ("200 OK", POD)
                    } else {
                        ("403 Forbidden", NO)
                    };
                    let length = body.len();
                    write!(writer, "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
                }
            });
        }
    });
    address
}

#[test]
fn forbidden_and_no_secret_shown() {
    let kubeconfig = Temp::new();
    let text = format!(
        "current-context: c\n\
         contexts: [{{name: c, context: {{cluster: k, user: u, namespace: ns}}}}]\n\
         clusters: [{{name: k, cluster: {{server: 'http://{}'}}}}]\n\
         users: [{{name: u, user: {{token: canary-t0ken}}}}]\n",
        forbidding()
    );
    std::fs::write(&kubeconfig.0, text).unwrap();
    let file = kubeconfig.0.to_str().unwrap();
    for format in ["text", "mermaid", "json"] {
        let words = [
            "explain",
            "web",
            "80",
            "--kubeconfig",
            file,
            "--format",
            format,
            "-v",
            "9",
        ];
        let (exit, out, err) = pf(&words);
        assert_eq!(exit, 3, "{out}{err}");
        assert!(out.contains("a bearer token"), "{out}");
        assert!(out.contains("403: not authorised"), "{out}");
        assert!(out.contains("cannot create resource"), "{out}");
        assert!(err.contains("resources: [\"pods/portforward\"]"), "{err}");
        assert!(
            !out.contains("portForward/ns") && !out.contains("SYN_STREAM"),
            "{out}"
        );
        assert!(
            !out.contains("canary") && !err.contains("canary"),
            "{out}{err}"
        );
    }
}

/// Kubeconfigs of a real cluster that is up.
fn real_cluster() -> Result<PathBuf, String> {
    let directory = match (std::env::var_os("PF_CLUSTER_DIR"), std::env::home_dir()) {
        (Some(named), _) => PathBuf::from(named),
        (None, Some(home)) => home.join(".cache/pf-cluster"),
        (None, None) => return Err("neither PF_CLUSTER_DIR nor HOME is set".to_owned()),
    };
    let kube = directory.join("kube");
    let text = std::fs::read_to_string(kube.join("admin.yaml")).map_err(|e| e.to_string())?;
    let mut lines = text.lines();
    let server = lines.find_map(|line| line.trim().strip_prefix("server: https://"));
    let address: SocketAddr = server.and_then(|s| s.parse().ok()).ok_or("no server")?;
    TcpStream::connect_timeout(&address, Duration::from_secs(2))
        .map_err(|error| format!("API server {address}: {error}"))?;
    Ok(kube)
}

#[test]
fn a_real_cluster() {
    let kube = match real_cluster() {
        Ok(kube) => kube,
        Err(why) => {
            let required = std::env::var_os("CI").is_some_and(|value| !value.is_empty())
                || std::env::var_os("PF_REQUIRE_CLUSTER").is_some_and(|value| value == "1");
            assert!(!required, "no cluster, and this run requires one: {why}");
            // Past the harness, which hides what passing tests print.
            let mut err = std::io::stderr();
            writeln!(err, "SKIPPED a_real_cluster: no cluster ({why})").unwrap();
            return;
        }
    };
    let user = |name: &str| {
        kube.join(format!("{name}.yaml"))
            .to_str()
            .unwrap()
            .to_owned()
    };
    let forwarder = user("forwarder");
    for target in [["deployment/web", "http"], ["svc/web", "80"]] {
        let (exit, picture) = checked(&[target[0], target[1], "--kubeconfig", &forwarder]);
        assert_eq!(exit, 0, "{picture:#}");
        let sides: &[&[&str]] = &[
            &["a client certificate"],
            &["TLS 1.3", "ALPN http/1.1"],
            &["POST /api/v1", "portforward"],
            &["TLS, POST /portForward/default/web-"],
            &["CRI PortForward"],
            &["101: authorised"],
            &["SYN_REPLY 3"],
            &["dials localhost:8080"],
            &["HTTP/1.1 200"],
            &["verdict: clean"],
        ];
        in_order(&picture, sides);
        let steps = picture["steps"].as_array().unwrap();
        let unseen = steps.iter().filter(|step| step["visible"] == false);
        assert_eq!(unseen.count(), 3);
    }
    let (exit, picture) = checked(&["deploy/web", "closed", "--kubeconfig", &forwarder]);
    assert_eq!(exit, 1);
    find(&picture, &["verdict: failed", "connection refused"]);
    let viewer = user("viewer");
    let (exit, out, _) = pf(&["explain", "deploy/web", "80", "--kubeconfig", &viewer]);
    assert_eq!(exit, 3);
    assert!(
        out.contains("403: not authorised") && !out.contains("not visible"),
        "{out}"
    );
    let token = user("forwarder-exec");
    let (exit, out, _) = pf(&["explain", "deploy/web", "8080", "--kubeconfig", &token]);
    assert_eq!(exit, 0);
    assert!(
        out.contains("a bearer token from a credential plugin"),
        "{out}"
    );
    assert!(
        out.contains("< . . .|") || out.contains("|. . . >|"),
        "{out}"
    );
}
