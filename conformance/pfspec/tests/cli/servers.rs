//! Servers that are not there, or answer otherwise than asked, and the exit code of each.

use super::common::{Fake, ONE, SWITCH, directory, hold, judge, kubeconfig, run, said, text};
use pfspec::report::model::Document;
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::process::Command;

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
            "no such pod: 404",
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

/// What failed is said in one line, and of the server that is judged.
#[test]
fn who_is_not_there() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            drop(stream.unwrap().write_all(b"no TLS\n"));
        }
    });
    let kubelet = |port: u16| format!("https://127.0.0.1:{port}");
    // Where nobody listens.
    let (nobody, plain) = (kubelet(1), kubelet(plain));
    let failing = "printf 'one\\ntwo\\n' >&2; exit 3";
    for (words, code, line) in [
        (
            &["kubelet", &nobody, "--pod", "ns/web"][..],
            1,
            "FAIL ONE: expected a connection to the kubelet; got dial tcp 127.0.0.1:",
        ),
        (
            &["kubelet", &plain, "--pod", "ns/web"],
            1,
            "FAIL ONE: expected a connection with TLS to the kubelet; got tls: ",
        ),
        (
            &["server", &nobody, "--role", "runtime"],
            1,
            "FAIL ONE: expected a connection to the runtime; got dial tcp 127.0.0.1:",
        ),
        (
            &["runtime", "--url-cmd", failing],
            5,
            "INCONCLUSIVE ONE: --url-cmd failed, exit status: 3: one; two\n",
        ),
    ] {
        let (_, _, error) = said(&run(&[words, &[ONE]].concat()));
        assert_eq!(error.lines().count(), 1, "{error}");
        let more = ["--no-preflight", "--serves", "spdy", ONE];
        let (got, out, other) = said(&run(&[words, &more].concat()));
        assert_eq!(got, code, "{out}{other}");
        assert!(out.starts_with(&line.replace("ONE", ONE)), "{line}: {out}");
        for text in [out, error] {
            assert!(
                !text.contains("API server") && !text.contains("\\n"),
                "{text}"
            );
        }
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
