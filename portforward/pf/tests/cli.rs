//! The program as a user or a script meets it: exit codes, words, streams. The API server is a
//! stand-in that speaks canned HTTP on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// A token that must never show.
const CANARY: &str = "canary-t0ken";

const POD: &str = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web","namespace":"ns"},
    "spec":{"nodeName":"n","containers":[{"name":"c","ports":[{"name":"http","containerPort":8080}]}]},
    "status":{"phase":"Running"}}"#;
const UPGRADED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
    X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n";

/// A kubeconfig for a server, removed at the end.
struct Kubeconfig(PathBuf);

impl Kubeconfig {
    fn new(server: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pf-cli-{}-{n}", std::process::id()));
        let text = format!(
            "current-context: c\n\
             contexts: [{{name: c, context: {{cluster: k, user: u, namespace: ns}}}}]\n\
             clusters: [{{name: k, cluster: {{server: '{server}'}}}}]\n\
             users: [{{name: u, user: {{token: {CANARY}}}}}]\n"
        );
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Kubeconfig {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

fn pf(kubeconfig: &Kubeconfig, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pf"));
    command
        .args(words)
        .arg("--kubeconfig")
        .arg(&kubeconfig.0)
        .args(["-v", "10"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs to the end; gives exit code, stdout and stderr.
fn run(server: &str, words: &[&str]) -> (i32, String, String) {
    let kubeconfig = Kubeconfig::new(server);
    finish(pf(&kubeconfig, words).output().unwrap())
}

fn finish(output: Output) -> (i32, String, String) {
    let out = String::from_utf8(output.stdout).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(!out.contains(CANARY) && !err.contains(CANARY), "{out}{err}");
    assert!(!err.contains("panicked"), "{err}");
    (output.status.code().unwrap_or(-1), out, err)
}

/// Answers each request with what `answer` gives for its first line; `None` closes.
/// After an upgrade the connection goes to `upgraded`.
fn serve(
    answer: impl Fn(&str) -> String + Send + Sync + Clone + 'static,
    upgraded: impl Fn(TcpStream) + Send + Sync + Clone + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, upgraded) = (answer.clone(), upgraded.clone());
            std::thread::spawn(move || connection(stream.unwrap(), &answer, &upgraded));
        }
    });
    url
}

fn connection(stream: TcpStream, answer: &impl Fn(&str) -> String, upgraded: &impl Fn(TcpStream)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            head.push(line);
        }
        let authorized = format!("authorization: Bearer {CANARY}\r\n");
        assert!(
            head.iter()
                .any(|line| line.eq_ignore_ascii_case(&authorized))
        );
        let answer = answer(head[0].trim());
        writer.write_all(answer.as_bytes()).unwrap();
        if answer.starts_with("HTTP/1.1 101") {
            upgraded(writer);
            return;
        }
    }
}

fn json(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn failure(code: u16, reason: &str, message: &str) -> String {
    let body = format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"{message}","reason":"{reason}","code":{code}}}"#
    );
    json(&format!("{code} {reason}"), &body)
}

fn nothing(_: TcpStream) {}

/// The pod, then this answer to the upgrade.
fn upgrade_answer(answer: String) -> String {
    serve(
        move |line| match line {
            "GET /api/v1/namespaces/ns/pods/web HTTP/1.1" => json("200 OK", POD),
            "POST /api/v1/namespaces/ns/pods/web/portforward HTTP/1.1" => answer.clone(),
            other => failure(500, "", &format!("unexpected: {other}")),
        },
        nothing,
    )
}

#[test]
fn usage() {
    let nowhere = "http://127.0.0.1:1";
    for (words, text) in [
        (vec![], "TYPE/NAME and list of ports are required"),
        (vec!["web"], "TYPE/NAME and list of ports are required"),
        (vec!["web", "0"], "error: remote port must be > 0\n"),
        (
            vec!["web", "x:1"],
            "error: error parsing local port 'x': strconv.ParseUint: parsing \"x\": invalid syntax\n",
        ),
        (
            vec!["web", "80", "--address", "nowhere"],
            "error: nowhere is not a valid IP\n",
        ),
        (
            vec!["web", "80", "--pod-running-timeout", "0"],
            "must be higher than zero",
        ),
        (
            vec!["web", ":80", "--context", "other"],
            "context was not found for specified context: other\n",
        ),
        (vec!["web", "80", "--token", "t"], "unexpected argument"),
    ] {
        let (code, out, err) = run(nowhere, &words);
        assert_eq!((code, out.as_str()), (2, ""), "{words:?} {err}");
        assert!(err.contains(text), "{words:?} {err}");
    }
}

#[test]
fn version_and_help() {
    let nowhere = "http://127.0.0.1:1";
    let (code, out, _) = run(nowhere, &["--version"]);
    assert_eq!(
        (code, out),
        (0, format!("pf {}\n", env!("CARGO_PKG_VERSION")))
    );
    let (code, out, _) = run(nowhere, &["--help"]);
    assert_eq!(code, 0);
    assert!(out.contains("Exit codes:"), "{out}");
}

/// Found before the cluster is asked, which is not there.
#[test]
fn port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let form = format!("{port}:80");
    let (code, out, err) = run("http://127.0.0.1:1", &["web", &form]);
    assert_eq!((code, out.as_str()), (5, ""), "{err}");
    assert!(
        err.contains(&format!("127.0.0.1:{port}: address already in use")),
        "{err}"
    );
    #[cfg(target_os = "linux")]
    assert!(
        err.contains(&format!("(pid {})", std::process::id())),
        "{err}"
    );
}

#[test]
fn server_not_there() {
    let (code, out, err) = run("http://127.0.0.1:1", &["web", ":80"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("The connection to the server 127.0.0.1:1 was refused"),
        "{err}"
    );
}

#[test]
fn refusals_of_the_api_server() {
    for (code, reason, exit, text) in [
        (
            401,
            "Unauthorized",
            3,
            "You must be logged in to the server",
        ),
        (403, "Forbidden", 3, "verbs: [\"get\"]"),
        (
            404,
            "NotFound",
            4,
            "Error from server (NotFound): because\n",
        ),
        (
            500,
            "InternalError",
            1,
            "Error from server (InternalError): because\n",
        ),
    ] {
        let server = serve(move |_| failure(code, reason, "because"), nothing);
        let (got, out, err) = run(&server, &["web", ":80"]);
        assert_eq!((got, out.as_str()), (exit, ""), "{code} {err}");
        assert!(err.contains(text), "{err}");
    }
}

#[test]
fn refusals_of_the_upgrade() {
    for (answer, exit, text) in [
        (
            failure(401, "Unauthorized", "Unauthorized"),
            3,
            "You must be logged in",
        ),
        (
            failure(403, "Forbidden", "pods is forbidden"),
            3,
            "resources: [\"pods/portforward\"]",
        ),
        (
            failure(404, "NotFound", "gone"),
            4,
            "unable to upgrade connection: gone\n",
        ),
        (
            failure(500, "", "error dialing backend"),
            1,
            "error: error upgrading connection: unable to upgrade connection: error dialing backend\n  where: node of pod/web",
        ),
        (
            "HTTP/1.1 500 Oops\r\nContent-Length: 10\r\n\r\nbad \u{1b}[2Jxx".to_owned(),
            1,
            "unable to upgrade connection: bad \\x1b[2Jx",
        ),
    ] {
        let (code, out, err) = run(&upgrade_answer(answer), &["web", ":80"]);
        assert_eq!((code, out.as_str()), (exit, ""), "{err}");
        assert!(err.contains(text), "{err}");
    }
}

#[test]
fn pods_that_do_not_fit() {
    let pending = POD.replace("Running", "Pending");
    let server = serve(move |_| json("200 OK", &pending), nothing);
    let (code, _, err) = run(&server, &["web", ":80"]);
    assert_eq!(code, 4);
    assert!(
        err.contains(
            "error: unable to forward port because pod is not running. Current status=Pending\n"
        ),
        "{err}"
    );

    let server = serve(move |_| json("200 OK", POD), nothing);
    let (code, _, err) = run(&server, &["web", ":https"]);
    assert_eq!(code, 4);
    assert!(
        err.contains("error: Pod 'web' does not have a named port 'https'\n"),
        "{err}"
    );
    assert!(err.contains("8080 (http)"), "{err}");
}

#[test]
fn no_pod_in_time() {
    let server = serve(
        |line| {
            if line.contains("/services/web ") {
                json(
                    "200 OK",
                    r#"{"kind":"Service","apiVersion":"v1","metadata":{"name":"web"},"spec":{"selector":{"app":"web"},"ports":[{"port":80}]}}"#,
                )
            } else if line.contains("watch=true") {
                // Headers only: the watch stays open and silent.
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()
            } else {
                json(
                    "200 OK",
                    r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[]}"#,
                )
            }
        },
        nothing,
    );
    let (code, _, err) = run(
        &server,
        &["svc/web", ":80", "--pod-running-timeout", "300ms"],
    );
    assert_eq!(code, 4);
    assert!(
        err.contains(
            "error: timed out waiting for the condition: no pod of service/web after 0.300s\n"
        ),
        "{err}"
    );
}

/// A pf that forwards, with the lines it has printed.
struct Forwarding {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    port: u16,
}

fn forwarding(kubeconfig: &Kubeconfig) -> Forwarding {
    let mut child = pf(kubeconfig, &["web", ":http", "--address", "127.0.0.1"])
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let port = line
        .strip_prefix("Forwarding from 127.0.0.1:")
        .and_then(|line| line.strip_suffix(" -> 8080\n"))
        .unwrap_or_else(|| panic!("{line:?}"));
    let port = port.parse().unwrap();
    Forwarding { child, out, port }
}

/// A peer that takes what comes, says nothing, and holds the connection for `seconds`.
fn silent_peer() -> String {
    serve(
        |line| {
            if line.starts_with("POST ") {
                UPGRADED.to_owned()
            } else {
                json("200 OK", POD)
            }
        },
        |mut stream| drop(std::io::copy(&mut stream, &mut std::io::sink())),
    )
}

#[test]
fn lost_connection() {
    let server = serve(
        |line| {
            if line.starts_with("POST ") {
                UPGRADED.to_owned()
            } else {
                json("200 OK", POD)
            }
        },
        // Ends with the first byte of the client.
        |mut stream| drop(stream.read_exact(&mut [0])),
    );
    let kubeconfig = Kubeconfig::new(&server);
    let mut forwarding = forwarding(&kubeconfig);
    let mut local = TcpStream::connect(("127.0.0.1", forwarding.port)).unwrap();
    // Not an end that looks clean.
    assert!(local.read(&mut [0]).is_err());
    let mut rest = String::new();
    forwarding.out.read_to_string(&mut rest).unwrap();
    assert_eq!(
        rest,
        format!("Handling connection for {}\n", forwarding.port)
    );
    let (code, _, err) = finish(forwarding.child.wait_with_output().unwrap());
    assert_eq!(code, 1);
    assert!(err.contains("error: lost connection to pod\n"), "{err}");
}

#[cfg(unix)]
#[test]
fn signals_end_it_well() {
    for signal in ["INT", "TERM"] {
        let kubeconfig = Kubeconfig::new(&silent_peer());
        let mut forwarding = forwarding(&kubeconfig);
        let mut local = TcpStream::connect(("127.0.0.1", forwarding.port)).unwrap();
        let mut line = String::new();
        forwarding.out.read_line(&mut line).unwrap();
        let pid = forwarding.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        assert!(local.read(&mut [0]).is_err());
        let (code, _, err) = finish(forwarding.child.wait_with_output().unwrap());
        assert_eq!(code, 0, "{signal} {err}");
        assert!(!err.contains("error"), "{err}");
    }
}

/// Neither a closed stdout nor one that nobody reads stops it.
#[cfg(unix)]
#[test]
fn closed_stdout() {
    let kubeconfig = Kubeconfig::new(&silent_peer());
    let Forwarding { child, out, port } = forwarding(&kubeconfig);
    drop(out);
    for _ in 0..3 {
        drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    }
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", "INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let (code, _, err) = finish(child.wait_with_output().unwrap());
    assert_eq!(code, 0, "{err}");
}

/// PROTOCOL.md 5.5: an old gateway hands the request for a tunnel on to a kubelet, which misses the
/// port; SPDY follows, once. With `KUBECTL_PORT_FORWARD_WEBSOCKETS=false` it comes first.
#[test]
fn falls_back_exactly_once() {
    for (words, told, expected) in [
        (&[][..], None, "GET 101"),
        (&[], Some("False"), "101"),
        (&["--protocol", "spdy"], None, "101"),
        (&["--protocol", "tunnel"], None, "GET"),
    ] {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let server = serve(
            move |line| {
                let (method, answer) = match line {
                    "GET /api/v1/namespaces/ns/pods/web HTTP/1.1" => return json("200 OK", POD),
                    "GET /api/v1/namespaces/ns/pods/web/portforward HTTP/1.1" => {
                        let text = "query parameter \"port\" is required";
                        let n = text.len();
                        let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain";
                        (
                            "GET",
                            format!("{head}\r\nContent-Length: {n}\r\n\r\n{text}"),
                        )
                    }
                    _ => ("101", UPGRADED.to_owned()),
                };
                seen.lock().unwrap().push(method);
                answer
            },
            nothing,
        );
        let kubeconfig = Kubeconfig::new(&server);
        let mut command = pf(&kubeconfig, &["web", ":80"]);
        command
            .args(words)
            .env_remove("KUBECTL_PORT_FORWARD_WEBSOCKETS");
        if let Some(value) = told {
            command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", value);
        }
        let (code, out, err) = finish(command.output().unwrap());
        assert_eq!(asked.lock().unwrap().join(" "), expected, "{err}");
        assert_eq!(code, 1);
        if expected == "GET" {
            assert!(
                err.contains("query parameter \"port\" is required"),
                "{err}"
            );
        } else {
            assert!(out.starts_with("Forwarding from "), "{out}{err}");
        }
        let told = err.matches("asking for SPDY/3.1").count();
        assert_eq!(told, usize::from(expected == "GET 101"), "{err}");
    }
}

/// What both attempts were told, if it is not the same.
#[test]
fn both_refusals_are_reported() {
    let server = serve(
        move |line| match line {
            "GET /api/v1/namespaces/ns/pods/web HTTP/1.1" => json("200 OK", POD),
            "GET /api/v1/namespaces/ns/pods/web/portforward HTTP/1.1" => {
                failure(503, "ServiceUnavailable", "no WebSockets here")
            }
            _ => failure(500, "InternalError", "no SPDY either"),
        },
        nothing,
    );
    let (code, _, err) = run(&server, &["web", ":80"]);
    assert_eq!(code, 1);
    assert!(
        err.contains("no SPDY either") && err.contains("no WebSockets here"),
        "{err}"
    );
}

/// Also when there is nobody to ask a second time.
#[test]
fn the_first_refusal_is_reported_when_the_second_dial_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&asked);
    std::thread::spawn(move || {
        while !gone.load(Ordering::SeqCst) {
            let asked = Arc::clone(&gone);
            let answer = move |line: &str| {
                if !line.contains("portforward") {
                    return json("200 OK", POD);
                }
                asked.store(true, Ordering::SeqCst);
                // Until the listener is closed.
                std::thread::sleep(std::time::Duration::from_millis(100));
                failure(403, "Forbidden", "no WebSockets here")
            };
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    std::thread::spawn(move || connection(stream, &answer, &nothing));
                }
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
            }
        }
    });
    let (code, _, err) = run(&server, &["web", ":80"]);
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("refused") && err.contains("no WebSockets here"),
        "{err}"
    );
}
