//! The program as its users drive it: arguments in, lines, files and an exit code out.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that breaks is a test that fails"
)]

mod common;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use common::{
    CANARY, Fake, SEVEN, SWITCH, directory, hold, kubeconfig, pfspec, run, run_seven, said, text,
    until,
};
use pfspec::report::hex;
use pfspec::report::model::Document;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

const ONE: &str = "spdy/frame/joined@spdy";

/// Judges a fake by one case.
fn judge(fake: &Fake, more: &[&str]) -> (i32, String, String) {
    let directory = directory();
    let config = text(&fake.kubeconfig(directory.path()));
    let mut arguments = vec!["apiserver", "--kubeconfig", &config, "--pod", "default/web"];
    if !more.contains(&"--patience") {
        arguments.extend(["--patience", "5"]);
    }
    arguments.extend(more);
    said(&run(&arguments))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push(path);
        }
    }
    all
}

#[test]
fn usage() {
    let directory = directory();
    let missing = text(&directory.path().join("no/such/report.json"));
    let here = text(directory.path());
    let bad = text(&directory.path().join("bad.toml"));
    fs::write(
        &bad,
        "[[expect]]\ncase = 'spdy/frame/joined'\nverdict = 'FAIL'\n",
    )
    .unwrap();
    let broken = text(&directory.path().join("kubeconfig"));
    fs::write(&broken, "not: [a kubeconfig").unwrap();
    let json = format!("json={missing}");
    let onto = format!("html={here}");
    let twice = format!("json={here}/a,html={here}/a");
    for (arguments, words) in [
        (
            vec!["server", "spdy/frame/joind"],
            "did you mean spdy/frame/joined",
        ),
        (
            vec!["server", "nothing/*"],
            "no case is named \"nothing/*\"",
        ),
        (vec!["server", "-x", "nothing/*"], "no case is named"),
        (vec!["list", "nothing"], "no case is named"),
        (vec!["server", ONE, "-x", ONE], "nothing to run: 1 excluded"),
        (
            vec!["server", ONE, "--expect", &bad],
            "line 1: missing field `reason`",
        ),
        (
            vec!["server", ONE, "--expect", &missing],
            "cannot read expectations",
        ),
        (
            vec!["server", ONE, "--report", &json],
            "cannot write a report to",
        ),
        (vec!["server", ONE, "--report", &onto], "it is a directory"),
        (vec!["server", ONE, "--report", &twice], "cannot both go to"),
        (
            vec!["server", ONE, "--report", "json,md"],
            "only one report can go to standard output",
        ),
        (vec!["server", ONE, "--report", "pdf"], "none of text, json"),
        (
            vec!["server", ONE, "--pcapng", &missing],
            "cannot write the capture",
        ),
        (
            vec!["server", ONE, "--wire-log", &bad],
            "cannot write the wire log",
        ),
        (
            vec!["server", ONE, "--write-expect", &missing],
            "cannot write the expectations",
        ),
        (vec!["server", "--shard", "3/2"], "a part of the whole"),
        (vec!["server", "--profile", "k8s-1.12"], "from k8s-1.29 on"),
        (vec!["server", "--retries", "4"], "4 is not in 0..=3"),
        (vec!["server", "--way", "udp"], "invalid value 'udp'"),
        (vec!["apiserver"], "--pod"),
        (
            vec!["apiserver", "--pod", "a/b/c", "--kubeconfig", &broken],
            "a pod is NAME or NAMESPACE/NAME",
        ),
        (
            vec!["apiserver", "--pod", "web", "--kubeconfig", &broken],
            "kubeconfig",
        ),
        (vec!["spec", "99.1"], "no clause \"99.1\""),
        (vec!["diff", &bad, &bad], "is no JSON report of pfspec"),
        (vec!["frobnicate"], "unrecognized subcommand"),
    ] {
        let (code, out, error) = said(&run(&arguments));
        assert_eq!(code, 2, "{arguments:?}: {out}{error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
        assert_eq!(error.matches("error:").count(), 1, "{arguments:?}: {error}");
        assert_eq!(out, "", "{arguments:?}");
    }
    let left: Vec<PathBuf> = files(directory.path());
    assert_eq!(left.len(), 2, "nothing is left behind: {left:?}");
}

#[test]
fn nobody_who_forwards() {
    let closed = Fake::saying("");
    let directory = directory();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap().port();
    drop(listener);
    let config = text(&kubeconfig(directory.path(), nobody, "token: x"));
    let (code, _, error) = said(&run(&[
        "apiserver",
        "--kubeconfig",
        &config,
        "--pod",
        "web",
    ]));
    assert_eq!(code, 3, "{error}");
    assert!(
        error.contains("cannot reach the target") && error.contains("refused"),
        "{error}"
    );
    let of = |text| Fake::saying(text);
    for (fake, words) in [
        (closed, "does not speak HTTP/1.1"),
        (of("SSH-2.0-OpenSSH_9.2\r\n"), "does not speak HTTP/1.1"),
        (
            of("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
            "does not know who we are: 401",
        ),
        (
            of(
                "HTTP/1.1 403 Forbidden\r\nContent-Length: 45\r\n\r\n{\"kind\":\"Status\",\"message\":\"pods forbidden\u{7}\"}",
            ),
            "may not forward to this pod: 403",
        ),
        (
            of("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            "a URL that has expired: 404",
        ),
        (
            of("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
            "nothing here forwards ports",
        ),
    ] {
        let report = directory.path().join("a.json");
        let (code, out, error) = judge(&fake, &["--report", &format!("json={}", text(&report))]);
        assert_eq!(code, 3, "{words}: {out}{error}");
        assert!(error.contains(words), "{error}");
        assert_eq!(error.matches("error:").count(), 1, "{error}");
        assert!(!error.contains(['\u{7}', '\u{1b}']), "{error:?}");
        assert!(!report.exists(), "no run, no report");
    }
}

#[test]
fn a_bad_server() {
    let fake = Fake::saying("HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\n\u{1b}[2J");
    let (code, out, error) = judge(&fake, &["--no-preflight", ONE]);
    assert_eq!(code, 1, "{out}{error}");
    assert!(
        out.starts_with(&format!("FAIL {ONE}: expected 101")),
        "{out}"
    );
    assert!(!out.contains('\u{1b}'), "{out:?}");
    assert!(
        out.contains("Again: pfspec apiserver --kubeconfig") && out.contains("--seed"),
        "{out}"
    );
    let (code, out, _) = judge(&fake, &["--no-preflight", "--fail-fast", "--jobs", "1"]);
    assert_eq!(code, 1);
    assert_eq!(out.matches("FAIL ").count(), 1, "{out}");
    assert!(out.contains("Stopped at the first departure"), "{out}");
}

#[test]
fn only_inconclusive() {
    let fake = Fake::new(|_, _, stream| {
        drop(stream.write_all(SWITCH.as_bytes()));
        hold(stream);
    });
    let (code, out, error) = judge(&fake, &[ONE, "--timeout", "0.2"]);
    assert_eq!(code, 5, "{out}{error}");
    assert!(
        out.starts_with(&format!("INCONCLUSIVE {ONE}: the case did not end")),
        "{out}"
    );
}

#[test]
fn a_report_that_vanishes() {
    let directory = directory();
    let inner = directory.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let gone = inner.clone();
    let fake = Fake::new(move |_, _, _| drop(fs::remove_dir_all(&gone)));
    let json = format!("json={}", text(&inner.join("a.json")));
    let (code, out, error) = judge(&fake, &["--no-preflight", ONE, "--report", &json]);
    assert_eq!(code, 4, "{out}{error}");
    assert!(error.contains("cannot write"), "{error}");
    assert!(out.starts_with("FAIL "), "{out}");
}

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
    assert!(out.contains("1 unexpected passes"), "{out}");
    let (code, out, error) = good(&["--allow-unexpected-pass"]);
    assert_eq!(code, 0, "{out}{error}");
    entry("FAIL", "expires = 2020-01-01\n");
    let (code, out, error) = bad(&[]);
    assert_eq!(code, 1, "{out}{error}");
    assert!(error.contains("has expired on 2020-01-01"), "{error}");
    entry("PASS", "");
    assert_eq!(good(&[]).0, 0);
    entry("UNSUPPORTED", "");
    assert_eq!(bad(&[]).0, 1);
    // What is written is what comes: the same run is as expected.
    let written = text(&directory.path().join("written.toml"));
    let seven = |more: &[&str]| judge(&broken, &[&SEVEN[..], &["--no-preflight"], more].concat());
    let (code, _, _) = seven(&["--write-expect", &written]);
    assert_eq!(code, 1);
    let (code, out, error) = seven(&["--expect", &written]);
    assert_eq!(code, 0, "{out}{error}");
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
    let one = "[[expect]]\ncase = 'spdy/frame/data-on-stream-0'\nverdict = 'INFO'\nreason = 'r'\n";
    for (seen, code) in [("ends-session", 0), ("something-else", 1)] {
        fs::write(&path, format!("{one}seen = '{seen}'\n")).unwrap();
        assert_eq!(said(&run(&arguments)).0, code, "{seen}");
    }
}

#[test]
fn a_flaky_server() {
    let fake = |good: usize| {
        Fake::new(move |number, _, stream| {
            if number % 2 == good {
                drop(stream.write_all(SWITCH.as_bytes()));
                hold(stream);
            } else {
                drop(stream.write_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"));
            }
        })
    };
    let more = ["--no-preflight", ONE, "--patience"];
    // Two departures are no flake, in whatever words.
    let (code, out, error) = judge(&fake(0), &[&more[..], &["1", "--repeat", "2"]].concat());
    assert_eq!(code, 1, "{out}{error}");
    assert!(!out.contains("flaky"), "{out}");
    // INCONCLUSIVE in between is one.
    let (code, out, _) = judge(
        &fake(0),
        &[&more[..], &["30", "--repeat", "2", "--timeout", "3"]].concat(),
    );
    assert_eq!(code, 1);
    assert!(
        out.contains("flaky, also:") && out.contains("1 flaky"),
        "{out}"
    );
    let (code, out, error) = judge(&fake(0), &[&more[..], &["1", "--retries", "1"]].concat());
    assert_eq!(code, 1, "{out}");
    assert!(error.contains("trying 1 again, attempt 2 of 2"), "{error}");
    assert_eq!(out.matches(&format!("FAIL {ONE}")).count(), 1, "{out}");
    // What is as expected the second time is good, and reported as flaky.
    let directory = directory();
    let known = text(&directory.path().join("expect.toml"));
    let entry = "[[expect]]\ncase = '*@spdy'\nverdict = 'INCONCLUSIVE'\nreason = 'slow'\n";
    fs::write(&known, entry).unwrap();
    let again = ["30", "--retries", "2", "--timeout", "3", "--expect", &known];
    let (code, out, error) = judge(&fake(1), &[&more[..], &again].concat());
    assert_eq!(code, 0, "{out}{error}");
    assert!(
        out.starts_with(&format!("INCONCLUSIVE {ONE}")) && out.contains("flaky, also: FAIL"),
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
        out.contains("spdy/frame/byte-by-byte") && !out.contains("joined"),
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

#[test]
fn interrupted() {
    let directory = directory();
    // The first connection asks whether anybody is there, the second is lost, all others wait.
    let fake = Fake::new(|number, _, stream| {
        if number != 1 {
            drop(stream.write_all(SWITCH.as_bytes()));
            hold(stream);
        }
    });
    let config = text(&fake.kubeconfig(directory.path()));
    let at = |name: &str| text(&directory.path().join(name));
    let reports = format!(
        "json={},html={},junit={},sarif={},md={},tap={}",
        at("a.json"),
        at("a.html"),
        at("a.xml"),
        at("a.sarif"),
        at("a.md"),
        at("a.tap")
    );
    let arguments = [
        "apiserver",
        "--kubeconfig",
        &config,
        "--pod",
        "web",
        "--jobs",
        "1",
        "--patience",
        "60",
    ];
    let child = pfspec(&arguments)
        .args([
            "--way",
            "spdy",
            "--report",
            &reports,
            "--pcapng",
            &at("a.pcapng"),
        ])
        .args(SEVEN)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the second case runs", || {
        fake.seen.load(Ordering::SeqCst) >= 3
    });
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let (code, out, error) = said(&child.wait_with_output().unwrap());
    assert_eq!(code, 130, "{out}{error}");
    assert!(out.contains("Interrupted: cases are missing"), "{out}");
    let document = Document::read(&directory.path().join("a.json")).unwrap();
    assert!(document.run.interrupted);
    assert_eq!(document.results.len(), 1, "{out}");
    assert_eq!(document.summary.exit_code, 130);
    let read = |name: &str| fs::read_to_string(at(name)).unwrap();
    assert!(read("a.html").ends_with("</html>"));
    assert!(read("a.xml").trim_end().ends_with("</testsuites>"));
    assert!(serde_json::from_str::<Value>(&read("a.sarif")).is_ok());
    assert!(read("a.md").contains("Interrupted"));
    assert!(read("a.tap").contains("Bail out!"));
    assert!(fs::metadata(at("a.pcapng")).unwrap().len() > 100);
    let parts = files(directory.path())
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "part"));
    assert_eq!(parts.count(), 0);
}

#[test]
fn no_secret_anywhere() {
    let directory = directory();
    // It sends the whole head back, in pieces that cut the token, as an answer or behind one.
    let fake = Fake::new(|number, head, stream| {
        let own = String::from_utf8_lossy(head).into_owned();
        let token = own
            .lines()
            .find_map(|line| line.split_once("Bearer "))
            .map_or("", |(_, token)| token.trim());
        let encoded = [
            BASE64_STANDARD.encode(token),
            BASE64_URL_SAFE_NO_PAD.encode(token),
        ]
        .join(" ");
        let body = format!("who is {token}? {encoded}");
        let answer = if number % 2 == 0 {
            format!("{SWITCH}{own}{body}")
        } else {
            format!(
                "HTTP/1.1 400 Bad {token}\r\nX-You: {token}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        for part in answer.as_bytes().chunks(7) {
            drop(stream.write_all(part).and_then(|()| stream.flush()));
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
    });
    let config = text(&fake.kubeconfig(directory.path()));
    let out = directory.path().join("out");
    fs::create_dir(&out).unwrap();
    let at = |name: &str| text(&out.join(name));
    let reports =
        ["json", "html", "junit", "sarif", "md", "tap"].map(|form| format!("{form}={}", at(form)));
    let result = run_seven(&[
        "apiserver",
        "--kubeconfig",
        &config,
        "--pod",
        "web",
        "--report",
        &reports.join(","),
        "--pcapng",
        &at("pcapng"),
        "--wire-log",
        &at("wire"),
        "--write-expect",
        &at("expect.toml"),
    ]);
    let (code, ..) = said(&result);
    assert_eq!(code, 1);
    let mut all = vec![
        (PathBuf::from("stdout"), result.stdout),
        (PathBuf::from("stderr"), result.stderr),
    ];
    all.extend(
        files(&out)
            .into_iter()
            .map(|path| (path.clone(), fs::read(&path).unwrap())),
    );
    assert!(all.len() > 15, "{}", all.len());
    let spaced: Vec<String> = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let forms = [
        CANARY.to_owned(),
        // A part is enough to know that a cut was not seen.
        CANARY[4..12].to_owned(),
        hex(CANARY.as_bytes()),
        spaced.join(" "),
        BASE64_STANDARD.encode(CANARY),
        BASE64_URL_SAFE_NO_PAD.encode(CANARY),
        hex(BASE64_STANDARD.encode(CANARY).as_bytes()),
    ];
    for (path, bytes) in &all {
        for form in &forms {
            let found = bytes
                .windows(form.len())
                .any(|part| part == form.as_bytes());
            assert!(!found, "{form} in {}", path.display());
        }
    }
    // The fake did send it: what took its place is there.
    let json = fs::read_to_string(at("json")).unwrap();
    assert!(
        json.contains(&format!("who is {}?", "*".repeat(CANARY.len()))),
        "{json}"
    );
}

#[test]
fn no_key_in_errors() {
    let directory = directory();
    let key = BASE64_STANDARD.encode(format!(
        "-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n"
    ));
    let user = format!("client-certificate-data: {key}\n    client-key-data: {key}");
    let path = kubeconfig(directory.path(), 1, &user);
    let secure = fs::read_to_string(&path)
        .unwrap()
        .replace("http://", "https://");
    fs::write(&path, secure).unwrap();
    let (code, out, error) = said(&run(&[
        "apiserver",
        "--kubeconfig",
        &text(&path),
        "--pod",
        "web",
    ]));
    assert!(code == 2 || code == 3, "{code} {error}");
    for form in [CANARY, &key] {
        assert!(!out.contains(form) && !error.contains(form), "{error}");
    }
}

/// Checks a value against the part of JSON Schema that the schema uses; anything else in it is an error.
fn check(schema: &Value, value: &Value, root: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let target = root
            .pointer(name.trim_start_matches('#'))
            .ok_or_else(|| format!("no {name}"))?;
        return check(target, value, root, at);
    }
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        let fits = any
            .iter()
            .any(|schema| check(schema, value, root, at).is_ok());
        return if fits {
            Ok(())
        } else {
            Err(format!("{at}: none of anyOf"))
        };
    }
    let object = schema.as_object().ok_or("no object")?;
    for key in object.keys() {
        let known = [
            "$schema",
            "title",
            "description",
            "type",
            "properties",
            "required",
            "additionalProperties",
            "items",
            "enum",
            "format",
            "minimum",
            "maximum",
            "$defs",
            "prefixItems",
            "minItems",
            "maxItems",
        ];
        if !known.contains(&key.as_str()) {
            return Err(format!("{at}: keyword {key} is not known here"));
        }
    }
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_i64() || n.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is = |want: &Value| want == name || (want == "number" && name == "integer");
    match schema.get("type") {
        Some(Value::Array(all)) if !all.iter().any(is) => return Err(format!("{at}: {name}")),
        Some(want @ Value::String(_)) if !is(want) => {
            return Err(format!("{at}: {name}, not {want}"));
        }
        _ => {}
    }
    if schema
        .get("enum")
        .and_then(Value::as_array)
        .is_some_and(|all| !all.contains(value))
    {
        return Err(format!("{at}: {value} is none of enum"));
    }
    if let Value::Object(map) = value {
        for key in schema["required"].as_array().into_iter().flatten() {
            if !map.contains_key(key.as_str().unwrap_or_default()) {
                return Err(format!("{at}: no {key}"));
            }
        }
        for (key, value) in map {
            match schema["properties"].get(key) {
                Some(schema) => check(schema, value, root, &format!("{at}/{key}"))?,
                None if schema["additionalProperties"] == false => {
                    return Err(format!("{at}: {key} is too much"));
                }
                None => {}
            }
        }
    }
    for (index, one) in value.as_array().into_iter().flatten().enumerate() {
        let own = schema
            .get("prefixItems")
            .and_then(|all| all.get(index))
            .or_else(|| schema.get("items"));
        if let Some(own) = own {
            check(own, one, root, &format!("{at}/{index}"))?;
        }
    }
    Ok(())
}

#[test]
fn json_and_its_schema() {
    let published =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/report.schema.json")).unwrap();
    assert_eq!(
        said(&run(&["schema"])).1,
        published,
        "pfspec schema > report.schema.json"
    );
    let directory = directory();
    let before = directory.path().join("before.json");
    let (code, out, error) = said(&run_seven(&["server", "--report", "json", "--seed", "3"]));
    assert_eq!(code, 0, "{error}");
    assert!(
        error.contains("seed 3"),
        "the summary is on standard error: {error}"
    );
    fs::write(&before, &out).unwrap();
    let value: Value = serde_json::from_str(&out).unwrap();
    let schema: Value = serde_json::from_str(&published).unwrap();
    check(&schema, &value, &schema, "").unwrap();
    for (pointer, wrong) in [
        ("/results/0/verdict", "GOOD"),
        ("/results/0/items/0/at", "1"),
        ("/results/0/new", "x"),
    ] {
        let mut broken = value.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        broken.pointer_mut(parent).unwrap()[key] = wrong.into();
        assert!(check(&schema, &broken, &schema, "").is_err(), "{pointer}");
    }
    // What is in it: every byte that is kept, and nothing that is empty by mistake.
    let document = Document::read(&before).unwrap();
    for record in &document.results {
        assert!(
            !record.clauses.is_empty() && record.bytes > 0 && !record.items.is_empty(),
            "{}",
            record.name
        );
    }
    // The difference to itself, and to a server that is broken.
    let same = text(&before);
    assert_eq!(said(&run(&["diff", &same, &same])).0, 0);
    let broken = Fake::saying("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
    let after = text(&directory.path().join("after.json"));
    let (code, ..) = judge(
        &broken,
        &[
            &SEVEN[..],
            &["--no-preflight", "-x", "*joined"],
            &["--report", &format!("json={after}")],
        ]
        .concat(),
    );
    assert_eq!(code, 1);
    let (code, out, _) = said(&run(&["diff", &same, &after]));
    assert_eq!(code, 1);
    assert!(
        out.contains("WORSE spdy/frame/version-3@spdy: PASS -> FAIL (expected"),
        "{out}"
    );
    assert!(
        out.contains("ONLY-BEFORE spdy/frame/joined@spdy: PASS -> not run"),
        "{out}"
    );
    let (code, out, _) = said(&run(&["diff", "--json", &after, &same]));
    assert_eq!(code, 1);
    let changes: Value = serde_json::from_str(&out).unwrap();
    let better = changes
        .as_array()
        .unwrap()
        .iter()
        .filter(|change| change["kind"] == "better");
    assert!(better.count() > 3, "{out}");
}

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
        xml.contains("failures=\"1\"") && xml.contains(&format!("name=\"{ONE}\"")),
        "{xml}"
    );
    assert!(
        !xml.contains(['\u{1}', '\u{1b}']) && !xml.contains("<b>"),
        "{xml}"
    );
    let sarif: Value = serde_json::from_str(&read("sarif")).unwrap();
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "spdy/frame/joined");
    assert_eq!(result["level"], "error");
    assert_eq!(
        sarif["runs"][0]["tool"]["driver"]["rules"][0]["id"],
        "spdy/frame/joined"
    );
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
    assert!(
        !markdown.contains("<b>") && !markdown.contains("@all"),
        "{markdown}"
    );
    let tap = read("tap");
    assert!(
        tap.starts_with("TAP version 14\n1..3\n") && tap.contains(&format!("not ok 1 - {ONE}\n")),
        "{tap}"
    );
}

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
