//! The program as its users drive it: arguments in, lines, files and an exit code out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that breaks is a test that fails"
)]

mod common;

use common::{
    Fake, ONE, SEVEN, SWITCH, answer_json, body, directory, files, hold, judge, kubeconfig, pfspec,
    run, said, text, until,
};
use pfspec::report::model::Document;
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

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
        // A part of nothing is nothing too.
        (
            vec!["server", "-x", "*", "--shard", "1/1"],
            "nothing to run",
        ),
        // It is not known what would be lost.
        (
            vec!["server", ONE, "--write-expect", &bad],
            "it is not overwritten",
        ),
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
        (
            vec!["server", "--insecure", ONE],
            "--insecure is for a server with a URL",
        ),
        (
            vec!["server", "--role", "node", ONE],
            "--role is for a server with a URL",
        ),
        (
            vec![
                "server",
                "--embedded",
                "--exec-succeeds",
                "a",
                "--exec-fails",
                "b",
            ],
            "--exec-succeeds is for a server with a URL",
        ),
        (vec!["server", "--shard", "3/2"], "a part of the whole"),
        (vec!["server", "--profile", "k8s-1.12"], "from k8s-1.29 on"),
        (vec!["server", "--retries", "4"], "4 is not in 0..=3"),
        (vec!["server", "--way", "udp"], "invalid value 'udp'"),
        (
            vec!["apiserver", "--pod", "a/b/c", "--kubeconfig", &broken],
            "a pod is NAME or NS/NAME",
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

/// Runs it with limits on open files, `-n 20` or `-Sn 20`.
#[cfg(unix)]
fn run_with_files(limit: &str, arguments: &[&str]) -> std::process::Output {
    let script = format!("ulimit {limit} && exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_pfspec")]);
    command.args(arguments).output().expect("sh runs")
}

#[test]
#[cfg(unix)]
fn too_few_files() {
    // The judge allows itself what the system allows.
    let (code, out, errors) = said(&run_with_files(
        "-Sn 40",
        &["server", "spdy/frame", "-x", "*@tunnel"],
    ));
    assert_eq!(code, 0, "{out}{errors}");
    // Where that is too little, it says so, and nothing of the server.
    let directory = directory();
    let fake = Fake::new(|_, _, stream| hold(stream));
    let url = format!("http://127.0.0.1:{}/p", fake.port);
    let report = text(&directory.path().join("json"));
    let json = format!("json={report}");
    let arguments = [
        "server",
        &url,
        "--no-preflight",
        "--patience",
        "1",
        "--report",
        &json,
        "spdy/frame",
        "--way",
        "spdy",
        "--jobs",
        "40",
    ];
    let (_, out, errors) = said(&run_with_files("-n 24", &arguments));
    let document = Document::read(std::path::Path::new(&report)).unwrap();
    let without: Vec<_> = document
        .results
        .iter()
        .filter(|result| result.detail().contains("Too many open files"))
        .collect();
    assert!(!without.is_empty(), "{out}{errors}");
    for result in without {
        assert_eq!(result.verdict, "INCONCLUSIVE", "{}", result.detail());
    }
}

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
fn without_a_subcommand() {
    for words in [
        &["--jobs", "4", "--dry-run", "--slow"][..],
        &["--dry-run", "spdy/frame/*", "-x", "*joined"],
        &["spdy/frame", "--dry-run"],
    ] {
        let (code, out, errors) = said(&run(words));
        assert_eq!(code, 0, "{words:?}: {errors}");
        assert!(out.contains("RUN spdy/frame/version-3@spdy"), "{out}");
    }
    for (words, expected) in [
        (&["sever"][..], "'server'"),
        (
            &["--jobs", "4", "apiserver"],
            "apiserver is a subcommand and comes first",
        ),
        (&["spdy/fram/joined"], "did you mean spdy/frame/joined"),
        (&["--job", "4"], "'--jobs'"),
        (
            &["server", "--embedded", "http://127.0.0.1:1/"],
            "either --embedded or a URL",
        ),
    ] {
        let (code, out, errors) = said(&run(words));
        assert_eq!((code, out.as_str()), (2, ""), "{words:?}: {errors}");
        assert!(errors.contains(expected), "{words:?}: {errors}");
    }
    let (code, out, errors) = said(&run(&["rbac"]));
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(out.contains("resources: [pods/portforward]"), "{out}");
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
    // What made the result is in the command.
    assert!(
        out.contains("--patience 5 --no-preflight --case spdy/frame/joined@spdy"),
        "{out}"
    );
    let (_, out, _) = judge(&fake, &["--no-preflight", ONE, "--timeout", "20"]);
    assert!(out.contains("--timeout 20 --no-preflight"), "{out}");
    let must = [
        "--no-preflight",
        "--fail-fast",
        "--jobs",
        "1",
        "--tag",
        "must",
    ];
    let directory = directory();
    let known = directory.path().join("known.toml");
    let written = text(&known);
    let (code, out, error) = judge(&fake, &[&must[..], &["--write-expect", &written]].concat());
    assert_eq!(code, 1);
    assert_eq!(out.matches("FAIL ").count(), 1, "{out}");
    assert!(out.contains("Stopped at the first departure"), "{out}");
    assert!(
        error.contains("known.toml is not written") && !known.exists(),
        "{error}"
    );
    // No case is missing behind the last.
    let (code, out, _) = judge(&fake, &[&must[..], &[ONE]].concat());
    assert_eq!(code, 1);
    assert!(!out.contains("Stopped"), "{out}");
}

/// What a server may do as it likes is not that there is none.
#[test]
fn silence_is_no_verdict() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap().port();
    drop(listener);
    let silent = Fake::saying("");
    let garbage = Fake::saying("SSH-2.0-OpenSSH_9.2\r\n");
    let other = Fake::saying("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    for port in [nobody, silent.port, garbage.port, other.port] {
        let url = format!("http://127.0.0.1:{port}/");
        let (code, out, error) = said(&run(&[
            "server",
            &url,
            "--no-preflight",
            "--tag",
            "observed,quality,should",
            "--way",
            "spdy",
            "spdy/*",
            "pf/*",
        ]));
        assert_eq!(code, 5, "{out}{error}");
        assert!(out.contains("INCONCLUSIVE spdy/"), "{out}");
        assert!(!out.contains("INFO") && !out.contains("SHOULD"), "{out}");
    }
    // One that answers all others is silent about this.
    let fake = Fake::new(|_, head, stream| {
        if String::from_utf8_lossy(head).contains("SPDY/3.1") {
            drop(stream.write_all(SWITCH.as_bytes()));
            hold(stream);
        }
    });
    let url = format!("http://127.0.0.1:{}/", fake.port);
    let case = "http/upgrade/other-upgrade";
    let (code, out, error) = said(&run(&["server", &url, case, "--no-preflight"]));
    assert_eq!(code, 0, "{out}{error}");
    assert!(out.starts_with(&format!("SHOULD {case}@http")), "{out}");
}

/// A server that has no answer on one way may have one on another.
#[test]
fn each_way_is_asked() {
    let fake = Fake::new(|_, head, stream| {
        if head.starts_with(b"GET ") {
            drop(stream.write_all(SWITCH.as_bytes()));
            hold(stream);
        }
    });
    let quick = [
        "--patience",
        "1",
        "--fail-fast",
        "--jobs",
        "1",
        "--tag",
        "must",
        "chan/*",
    ];
    for more in [&["--way", "v4"][..], &[ONE]] {
        let (code, out, error) = judge(&fake, &[&quick[..], more].concat());
        assert_eq!(code, 1, "{out}{error}");
    }
    let (code, _, error) = judge(&fake, &["--patience", "1", ONE]);
    assert_eq!(code, 3, "{error}");
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
    let fake = Fake::new(move |_, head, _| {
        // Not yet when it is asked whether it has a tunnel: the report is checked behind that.
        if String::from_utf8_lossy(head).contains("Upgrade: SPDY/3.1") {
            drop(fs::remove_dir_all(&gone));
        }
    });
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
    // It does not come between the lines of a report.
    let json = ["30", "--repeat", "2", "--timeout", "3", "--report", "json"];
    let (_, out, error) = judge(&fake(0), &[&more[..], &json].concat());
    let report: Value = serde_json::from_str(&out).expect(&out);
    assert_eq!(report["summary"]["flaky"], 1, "{error}");
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

/// A cluster in which a pod can be made that never runs, and what it was asked. It says nothing to what begins with
/// `silent`.
fn cluster(silent: &'static str) -> (Fake, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let list = asked.clone();
    let fake = Fake::new(move |_, head, stream| {
        let line = String::from_utf8_lossy(head);
        let line = line.lines().next().unwrap_or_default().to_owned();
        list.lock().unwrap().push(line.clone());
        body(head, stream);
        if line.starts_with(silent) {
            hold(stream);
        } else if line.starts_with("POST /api/v1/namespaces?") {
            let made = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"pfspec-x1"}}"#;
            answer_json("201 Created", made, stream);
        } else {
            answer_json("404 Not Found", "{}", stream);
        }
    });
    (fake, asked)
}

#[test]
fn nothing_is_made_for_nothing() {
    let directory = directory();
    let (fake, asked) = cluster("nothing");
    let config = text(&fake.kubeconfig(directory.path()));
    let missing = format!("json={}", text(&directory.path().join("no/such/report")));
    for (more, expected) in [
        (&["--dry-run"][..], 0),
        (&["-x", "*"], 2),
        (&["--report", &missing], 2),
    ] {
        let words = ["apiserver", "--kubeconfig", &config, ONE];
        let (code, out, error) = said(&run(&[&words[..], more].concat()));
        assert_eq!(code, expected, "{more:?}: {out}{error}");
    }
    let asked = asked.lock().unwrap();
    assert!(
        asked.iter().all(|line| line.starts_with("GET /version")),
        "{asked:?}"
    );
}

#[test]
fn interrupted_before_the_first_case() {
    let kill = |pid: u32, signal: &str| {
        let killed = Command::new("kill")
            .args([signal, &pid.to_string()])
            .status();
        assert!(killed.unwrap().success());
    };
    let start = |fake: &Fake, directory: &tempfile::TempDir| {
        let config = text(&fake.kubeconfig(directory.path()));
        let report = format!("json={}", text(&directory.path().join("a.json")));
        pfspec(&[
            "apiserver",
            "--kubeconfig",
            &config,
            ONE,
            "--report",
            &report,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
    };
    let has = |asked: &Mutex<Vec<String>>, start: &str| {
        let asked = asked.lock().unwrap();
        asked.iter().any(|line| line.starts_with(start))
    };
    // While it finds out what is there: nothing is made any more.
    for signal in ["-INT", "-HUP"] {
        // As under nohup, which pfspec keeps to.
        if signal == "-HUP" && pf_program::hangup_is_ignored() {
            continue;
        }
        let directory = directory();
        let (fake, asked) = cluster("GET /version");
        let child = start(&fake, &directory);
        until("it asks", || has(&asked, "GET /version"));
        kill(child.id(), signal);
        let (code, out, error) = said(&child.wait_with_output().unwrap());
        assert_eq!(code, 130, "{signal}: {out}{error}");
        assert!(!has(&asked, "POST"), "{signal}");
    }
    // While it makes the pod: the second one ends it at once, and says what stays.
    let directory = directory();
    let (fake, asked) = cluster("POST /api/v1/namespaces/pfspec-x1/pods");
    let mut child = start(&fake, &directory);
    until("it makes a pod", || {
        has(&asked, "POST /api/v1/namespaces/pfspec-x1/pods")
    });
    kill(child.id(), "-INT");
    let mut error = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    std::io::BufRead::read_line(&mut error, &mut said).unwrap();
    assert!(
        said.contains("again to end at once and leave namespace pfspec-x1"),
        "{said}"
    );
    kill(child.id(), "-INT");
    std::io::Read::read_to_string(&mut error, &mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(
        said.contains("left behind: namespace pfspec-x1 (kubectl delete namespace pfspec-x1)"),
        "{said}"
    );
    let left = files(directory.path());
    assert_eq!(left.len(), 1, "the kubeconfig: {left:?}");
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

#[test]
fn interrupted() {
    let directory = directory();
    // The first connection asks for the version, the second whether anybody is there, the third is lost, all others wait.
    let version = "{\"major\":\"1\",\"minor\":\"37\",\"gitVersion\":\"v1.37.1\",\"gitCommit\":\"\",\
        \"gitTreeState\":\"\",\"buildDate\":\"\",\"goVersion\":\"\",\"compiler\":\"\",\"platform\":\"\"}";
    let fake = Fake::new(move |number, head, stream| {
        if head.starts_with(b"GET /version") {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length";
            let answer = format!("{head}: {}\r\n\r\n{version}", version.len());
            drop(stream.write_all(answer.as_bytes()));
        } else if number != 2 {
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
        fake.seen.load(Ordering::SeqCst) >= 4
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
