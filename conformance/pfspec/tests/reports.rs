//! What a run writes: no secret in it, and each report in its form.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that breaks is a test that fails"
)]

mod common;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use common::{
    CANARY, Fake, ONE, SEVEN, SWITCH, directory, files, judge, kubeconfig, run, run_seven, said,
    text,
};
use pfspec::probe::wire::{Encoder, Frame};
use pfspec::report::hex;
use pfspec::report::model::Document;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

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

/// A server that has seen whoever asks, and says so in every way that is cut or escaped.
fn telltale(secret: &str) -> Fake {
    let secret = secret.to_owned();
    Fake::new(move |number, head, stream| {
        let own = String::from_utf8_lossy(head).into_owned();
        let message = serde_json::to_string(&format!("you are {secret}, {}", "x".repeat(300)));
        let status = format!(r#"{{"kind":"Status","message":{}}}"#, message.unwrap());
        let bad = |body: &str| {
            let length = body.len();
            format!("HTTP/1.1 400 Bad\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
        };
        let answer = match number % 5 {
            0 => bad(&status),
            1 => bad(&own),
            2 => bad(&format!("{}{secret}", "x".repeat(170))),
            3 => format!("you are {secret}").into_bytes(),
            _ => {
                let mut encoder = Encoder::default();
                let reply = Frame::SynReply {
                    id: 1,
                    flags: 0,
                    headers: vec![("who".to_owned(), format!("{}{secret}", "x".repeat(30)))],
                };
                let mut bytes = SWITCH.as_bytes().to_vec();
                bytes.extend(encoder.encode(&reply));
                for piece in secret.as_bytes().chunks(30) {
                    let payload = piece.to_vec();
                    let (id, flags) = (1, 0);
                    bytes.extend(encoder.encode(&Frame::Data { id, flags, payload }));
                }
                bytes
            }
        };
        drop(stream.write_all(&answer));
    })
}

#[test]
fn no_secret_that_was_cut_or_escaped() {
    let token = |length: usize| -> String {
        let mut state = 7u32;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from_digit((state >> 16) & 31, 32).unwrap()
        };
        (0..length).map(next).collect()
    };
    let password = "hunt\"er\\zwei-\"canary\"-<3f81>";
    let basic = format!(
        "username: me\n    password: {}",
        serde_json::to_string(password).unwrap()
    );
    for (user, secret, pieces) in [
        (String::new(), token(64), Vec::new()),
        (String::new(), token(1000), Vec::new()),
        (basic, password.to_owned(), vec!["hunt", "zwei-", "canary"]),
    ] {
        let user = if user.is_empty() {
            format!("token: {secret}")
        } else {
            user
        };
        let pieces: Vec<String> = if pieces.is_empty() {
            // What a cut leaves, and what stands within.
            let within = (0..secret.len() - 16).map(|at| secret[at..at + 16].to_owned());
            within.chain([secret[..6].to_owned()]).collect()
        } else {
            pieces.into_iter().map(str::to_owned).collect()
        };
        for more in [&["--no-preflight"][..], &[]] {
            let directory = directory();
            let fake = telltale(&secret);
            let config = text(&kubeconfig(directory.path(), fake.port, &user));
            let out = directory.path().join("out");
            fs::create_dir(&out).unwrap();
            let at = |name: &str| text(&out.join(name));
            let forms = ["json", "html", "junit", "sarif", "md", "tap"];
            let reports = forms.map(|form| format!("{form}={}", at(form))).join(",");
            let (wire, capture) = (at("wire"), at("pcapng"));
            let mut arguments = vec!["apiserver", "--kubeconfig", &config, "--pod", "web"];
            arguments.extend(["--report", &reports, "--wire-log", &wire]);
            arguments.extend(["--pcapng", &capture, "--patience", "1", "--jobs", "1"]);
            arguments.extend(more);
            let result = run_seven(&arguments);
            let mut all = vec![
                (PathBuf::from("stdout"), result.stdout),
                (PathBuf::from("stderr"), result.stderr),
            ];
            for path in files(&out) {
                let bytes = fs::read(&path).unwrap();
                all.push((path, bytes));
            }
            assert!(all.len() > 15 || more.is_empty(), "{}", all.len());
            let hidden = |bytes: &[u8]| memchr::memmem::find(bytes, b"***").is_some();
            assert!(
                all.iter().any(|(_, bytes)| hidden(bytes)),
                "{more:?}: {}",
                String::from_utf8_lossy(&all[1].1)
            );
            for (path, bytes) in &all {
                for piece in &pieces {
                    let spaced: Vec<String> = piece.bytes().map(|b| format!("{b:02x}")).collect();
                    for form in [piece.clone(), hex(piece.as_bytes()), spaced.join(" ")] {
                        let found = memchr::memmem::find(bytes, form.as_bytes());
                        assert!(found.is_none(), "{form} in {}", path.display());
                    }
                }
            }
        }
    }
}

#[test]
fn no_secret_of_the_command_line() {
    let directory = directory();
    let fake = Fake::new(|_, head, stream| {
        let head = format!("HTTP/1.1 400 Bad\r\n\r\n{}", String::from_utf8_lossy(head));
        drop(stream.write_all(head.as_bytes()));
    });
    let url = format!(
        "http://127.0.0.1:{}/p?token=canary%2Dquery-3f81&x=1",
        fake.port
    );
    let command = format!("true canary-command; echo '{url}'");
    let two = format!("echo '{url}' canary-word; oops canary-stderr >&2");
    for (number, target) in [
        vec!["server", &url],
        vec!["runtime", &url],
        vec!["runtime", "--url-cmd", &command],
        vec!["runtime", "--url-cmd", &two],
    ]
    .into_iter()
    .enumerate()
    {
        let out = directory.path().join(number.to_string());
        fs::create_dir(&out).unwrap();
        let at = |name: &str| text(&out.join(name));
        let reports = format!("json={},html={}", at("json"), at("html"));
        let (wire, capture) = (at("wire"), at("pcapng"));
        let mut arguments = target.clone();
        arguments.extend(["--no-preflight", "--report", &reports, ONE]);
        arguments.extend(["--wire-log", &wire, "--pcapng", &capture]);
        let result = run(&arguments);
        let json = fs::read_to_string(at("json")).unwrap();
        let shown = if target.contains(&"--url-cmd") {
            "--url-cmd ..."
        } else {
            "/p?token=***&x=***"
        };
        assert!(json.contains(shown), "{json}");
        let mut all = vec![result.stdout, result.stderr];
        all.extend(files(&out).iter().map(|path| fs::read(path).unwrap()));
        assert!(all.len() > 5, "{}", all.len());
        for bytes in &all {
            for secret in [
                "canary-command",
                "canary-word",
                "canary-stderr",
                "canary%2Dquery",
                "query-3f81",
            ] {
                for form in [secret.to_owned(), hex(secret.as_bytes())] {
                    let found = memchr::memmem::find(bytes, form.as_bytes());
                    assert!(
                        found.is_none(),
                        "{form}: {}",
                        String::from_utf8_lossy(bytes)
                    );
                }
            }
        }
    }
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
    // A run that was cut short is no run in which all was as expected.
    assert_eq!(document.judgement(), "all as expected");
    for stopped_early in [false, true] {
        let mut cut = document.clone();
        cut.run.interrupted = !stopped_early;
        cut.run.stopped_early = stopped_early;
        assert_eq!(cut.judgement(), "what ran is as expected");
        cut.summary.departures = 2;
        assert_eq!(cut.judgement(), "2 departures");
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
