//! Signals, and what is left behind.

use super::common::{
    Fake, ONE, SEVEN, SWITCH, answer_json, body, directory, files, hold, pfspec, run, said, text,
    until,
};
use pfspec::report::model::Document;
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

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

fn kill(pid: u32, signal: &str) {
    let killed = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
}

/// Code, output and errors of a child behind Ctrl-C.
fn ctrl_c(child: Child) -> (i32, String, String) {
    kill(child.id(), "-INT");
    said(&child.wait_with_output().unwrap())
}

#[test]
fn interrupted_before_the_first_case() {
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
        let words = "interrupted before the first case; no report is written";
        assert!(error.contains(words), "{error}");
        assert!(!directory.path().join("a.json").exists());
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
    let words = "no --pod: making a pod of image ";
    assert!(said.starts_with(words), "{said}");
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
    let (code, out, error) = ctrl_c(child);
    assert_eq!(code, 130, "{out}{error}");
    assert!(
        out.contains("Interrupted: 6 of 7 cases did not run to the end."),
        "{out}"
    );
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
fn an_interrupted_replay() {
    let directory = directory();
    let path = text(&directory.path().join("a.json"));
    let report = format!("json={path}");
    let cases = [ONE, "spdy/frame/version-3@spdy"];
    let first = run(&[&["server", "--report", &report], &cases[..]].concat());
    assert_eq!(said(&first).0, 0);
    // The first case is lost, the second waits.
    let fake = Fake::new(|number, _, stream| {
        if number > 0 {
            hold(stream);
        }
    });
    let url = format!("http://127.0.0.1:{}/p", fake.port);
    let words = ["--no-preflight", "--patience", "60", "--replay", &path];
    let child = pfspec(&[&["server", &url], &words[..]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the second case is sent", || {
        fake.seen.load(Ordering::SeqCst) >= 2
    });
    let (code, out, error) = ctrl_c(child);
    assert_eq!(code, 130, "{out}{error}");
    assert_eq!(out.matches("OTHER ").count(), 1, "{out}");
    assert!(
        out.contains("\nInterrupted: 1 of 2 cases did not run to the end.\nruntime at http")
            && out.ends_with(
                ": 0 answered the same, 0 with more behind it, 1 otherwise; 0 not sent\n"
            ),
        "{out}"
    );
}

#[test]
#[cfg(unix)]
fn a_command_of_the_user_ends_too() {
    use std::sync::mpsc::channel;
    use std::time::Duration;
    // While it is asked whether anybody is there, and in a case.
    for more in [&[][..], &["--no-preflight"]] {
        let directory = directory();
        let fifo = directory.path().join("fifo");
        let made = Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        // A child of the shell, and one of that.
        let work = format!("exec 3>{}; sleep 600; true", text(&fifo));
        let command = format!("({work}) & wait");
        let child = pfspec(&["runtime", "--url-cmd", &command, ONE])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It can be opened once they have it open, and ends when none of them has it any more.
        let (sender, told) = channel();
        std::thread::spawn(move || {
            let mut fifo = fs::File::open(fifo).unwrap();
            sender.send("held").unwrap();
            std::io::Read::read_to_end(&mut fifo, &mut Vec::new()).unwrap();
            sender.send("free").unwrap();
        });
        let minute = Duration::from_secs(60);
        assert_eq!(told.recv_timeout(minute), Ok("held"), "{more:?}");
        let (code, out, error) = ctrl_c(child);
        assert_eq!(code, 130, "{more:?}: {out}{error}");
        let early = error.contains("interrupted before the first case");
        assert_eq!(early, more.is_empty(), "{error}");
        assert_eq!(told.recv_timeout(minute), Ok("free"), "{more:?}");
    }
}
