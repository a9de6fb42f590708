//! `pf serve` as its users meet it: the kubeconfig, its ends, and the real kubectl through it.
#![cfg(unix)]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "serve/kubectl.rs"]
mod kubectl;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pf-serve-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn kubeconfig(&self) -> String {
        self.0.join("kubeconfig").to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A program that is ended with the test.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// The next line, or what the program complained of.
    fn line(&mut self) -> String {
        let mut line = String::new();
        if self.out.read_line(&mut line).unwrap() == 0 {
            let mut text = String::new();
            let stderr = self.child.stderr.as_mut().unwrap();
            stderr.read_to_string(&mut text).unwrap();
            panic!("no line: {text}");
        }
        line.trim_end().to_owned()
    }

    fn interrupt(&self) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-s", "INT", &pid]).status();
        assert!(kill.unwrap().success());
    }

    /// Waits for the end: exit code, the rest of stdout, stderr.
    fn finish(&mut self) -> (i32, String, String) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < SOON, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).unwrap();
        let stderr = self.child.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut err).unwrap();
        assert!(!err.contains("panicked"), "{err}");
        (status.code().unwrap_or(-1), out, err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn pf() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pf"));
    command.env_remove("KUBECONFIG");
    command
}

/// Runs `pf serve` with these words, which are wrong.
fn refused(words: &[&str]) -> (i32, String) {
    let output: Output = pf().arg("serve").args(words).output().unwrap();
    assert!(output.stdout.is_empty(), "{words:?} {output:?}");
    let err = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), err)
}

/// A cluster with a kubeconfig.
struct Served {
    serve: Running,
    lines: Vec<String>,
    folder: Folder,
}

fn serve(words: &[&str]) -> Served {
    let folder = Folder::new();
    let kubeconfig = folder.kubeconfig();
    let mut serve = Running::start(
        pf().args(["serve", "--kubeconfig-out", &kubeconfig])
            .args(words),
    );
    let lines = (0..4).map(|_| serve.line()).collect();
    Served {
        serve,
        lines,
        folder,
    }
}

impl Served {
    /// A forward by `pf`, and its local port.
    fn forward(&self, words: &[&str]) -> (Running, u16) {
        let kubeconfig = self.folder.kubeconfig();
        let more = ["--address", "127.0.0.1", "--kubeconfig", &kubeconfig];
        let mut forward = Running::start(pf().args(words).args(more));
        let port = local_port(&forward.line());
        (forward, port)
    }

    fn end(mut self) {
        self.serve.interrupt();
        let (code, out, err) = self.serve.finish();
        assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
        let left = std::fs::read_dir(&self.folder.0).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// The port of a line `Forwarding from 127.0.0.1:PORT -> ...`.
fn local_port(line: &str) -> u16 {
    let rest = line
        .strip_prefix("Forwarding from 127.0.0.1:")
        .unwrap_or_else(|| panic!("{line}"));
    rest.split(' ').next().unwrap().parse().unwrap()
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

/// Sends a line and reads it back.
fn echo(stream: &mut TcpStream) {
    stream.write_all(b"over and back\n").unwrap();
    let mut got = [0; 14];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"over and back\n");
}

fn value<'a>(kubeconfig: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = kubeconfig.lines();
    lines.find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn the_kubeconfig_comes_and_goes() {
    let served = serve(&[]);
    let path = served.folder.kubeconfig();
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    let url = value(&text, "server").unwrap();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    assert_eq!(value(&text, "user"), Some("admin"));
    let token = value(&text, "token").unwrap();
    assert_eq!(token.len(), 64);
    assert_eq!(value(&text, "client-key-data"), None);
    assert_eq!(
        served.lines,
        [
            format!("Serving a cluster on {url}"),
            format!("Kubeconfig of admin: {path}"),
            format!("  kubectl --kubeconfig {path} port-forward pod/web 8080:http"),
            format!("  pf --kubeconfig {path} pod/web 8080:http"),
        ]
    );
    assert!(!served.lines.concat().contains(token));

    let (mut forward, port) = served.forward(&["pod/web", ":echo"]);
    let mut stream = connect(port);
    echo(&mut stream);
    let begun = Instant::now();
    served.end();
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    // In order: the client was told.
    let (code, _, err) = forward.finish();
    assert_eq!(code, 1);
    assert!(err.contains("error: lost connection to pod\n"), "{err}");
    assert!(
        err.contains("why: the peer ended the connection (GOAWAY"),
        "{err}"
    );
    assert!(stream.read(&mut [0]).is_err());
}

#[test]
fn users_and_ways_to_prove_it() {
    for (user, auth, code, text) in [
        ("admin", "cert", 0, ""),
        (
            "viewer",
            "token",
            3,
            "User \"viewer\" cannot create resource \"pods/portforward\"",
        ),
        (
            "viewer",
            "cert",
            3,
            "User \"viewer\" cannot create resource \"pods/portforward\"",
        ),
        (
            "nobody",
            "token",
            3,
            "User \"nobody\" cannot get resource \"pods\"",
        ),
        (
            "nobody",
            "cert",
            3,
            "User \"nobody\" cannot get resource \"pods\"",
        ),
    ] {
        let served = serve(&["--user", user, "--auth", auth]);
        let kubeconfig = served.folder.kubeconfig();
        let content = std::fs::read_to_string(&kubeconfig).unwrap();
        assert_eq!(value(&content, "token").is_some(), auth == "token");
        assert_eq!(value(&content, "client-key-data").is_some(), auth == "cert");
        if code == 0 {
            let (_forward, port) = served.forward(&["deploy/web", ":7000"]);
            echo(&mut connect(port));
        } else {
            let words = ["web", ":7000", "--kubeconfig", &kubeconfig];
            let output = pf().args(words).output().unwrap();
            let err = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(code), "{user} {auth} {err}");
            assert!(err.contains(text), "{user} {auth} {err}");
        }
        served.end();
    }
}

#[test]
fn without_a_kubeconfig() {
    let mut serve = Running::start(pf().args(["serve", "--listen", "[::1]:0"]));
    let first = serve.line();
    assert!(
        first.starts_with("Serving a cluster on https://[::1]:"),
        "{first}"
    );
    let rest = [serve.line(), serve.line(), serve.line()];
    assert!(rest[1].contains("--kubeconfig-out"), "{rest:?}");
    assert!(rest[2].contains("export KUBECONFIG="), "{rest:?}");
    serve.interrupt();
    assert_eq!(serve.finish(), (0, String::new(), String::new()));
}

#[test]
fn listening_where_others_reach_it() {
    let served = {
        let folder = Folder::new();
        let words = [
            "serve",
            "--listen",
            "0.0.0.0:0",
            "--host-pod",
            "box",
            "--kubeconfig-out",
        ];
        let mut serve = Running::start(pf().args(words).arg(folder.kubeconfig()));
        let lines = (0..4).map(|_| serve.line()).collect();
        Served {
            serve,
            lines,
            folder,
        }
    };
    assert!(served.lines[0].starts_with("Serving a cluster on https://127.0.0.1:"));
    let (_forward, port) = served.forward(&["web", ":7000"]);
    echo(&mut connect(port));
    let mut serve = served.serve;
    serve.interrupt();
    let (code, _, err) = serve.finish();
    assert_eq!(code, 0);
    assert!(err.starts_with("warning: listening on 0.0.0.0: "), "{err}");
    assert!(err.contains("every service of this machine"), "{err}");
}

#[test]
fn what_is_refused() {
    let folder = Folder::new();
    let foreign = folder.0.join("foreign");
    std::fs::write(&foreign, "apiVersion: v1\n").unwrap();
    let absent = folder.0.join("none/kubeconfig");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (words, code, text) in [
        (vec!["--listen", &*address], 5, "address already in use"),
        (
            vec!["--listen", "192.0.2.1:0"],
            5,
            "cannot assign requested address",
        ),
        (
            vec!["--kubeconfig-out", &*path(&absent)],
            2,
            "cannot write the kubeconfig",
        ),
        (
            vec!["--kubeconfig-out", &*path(&folder.0)],
            2,
            "it is a folder",
        ),
        (vec!["--kubeconfig-out", "/dev/null"], 2, "no ordinary file"),
        (
            vec!["--kubeconfig-out", &*path(&foreign)],
            2,
            "has not written",
        ),
        (vec!["--listen", "localhost"], 2, "invalid value"),
        (vec!["--embedded"], 2, "unexpected argument"),
        (vec!["pod/web", "80"], 2, "unexpected argument"),
        (vec!["--user", "root"], 2, "invalid value"),
        (
            vec!["--host-pod", "Box"],
            2,
            "invalid --host-pod name 'Box'",
        ),
        (
            vec!["--host-pod", "../x"],
            2,
            "invalid --host-pod name '../x'",
        ),
        (
            vec!["--host-pod", "web"],
            2,
            "there is a demo pod of that name",
        ),
    ] {
        let (got, err) = refused(&words);
        assert_eq!(got, code, "{words:?} {err}");
        assert!(err.contains(text), "{words:?} {err}");
        assert_eq!(err.matches("error: ").count(), 1, "{words:?} {err}");
    }
    assert_eq!(
        std::fs::read_to_string(&foreign).unwrap(),
        "apiVersion: v1\n"
    );
    // A taken port leaves nothing behind either.
    let kubeconfig = folder.kubeconfig();
    let (code, _) = refused(&["--listen", &address, "--kubeconfig-out", &kubeconfig]);
    assert_eq!(code, 5);
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
}

#[test]
fn host_pods_are_this_machine() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = stream.try_clone().unwrap();
            std::thread::spawn(move || std::io::copy(&mut reader, &mut stream));
        }
    });
    let closed = {
        let unused = TcpListener::bind("127.0.0.1:0").unwrap();
        unused.local_addr().unwrap().port()
    };
    let served = serve(&["--host-pod", "box", "--host-pod", "my.other-box"]);
    for pod in ["pod/box", "my.other-box"] {
        let to = [format!(":{target}"), format!(":{closed}")];
        let (mut forward, port) = served.forward(&[pod, &to[0], &to[1]]);
        let refused = local_port(&forward.line());
        echo(&mut connect(port));
        assert!(connect(refused).read(&mut [0]).is_err());
        echo(&mut connect(port));
        forward.interrupt();
        let (code, _, err) = forward.finish();
        assert_eq!(code, 0, "{err}");
        assert!(
            err.contains(&format!("failed to connect to localhost:{closed}")),
            "{err}"
        );
    }
    served.end();
}

/// A pod that never pauses: explain has enough of it.
#[test]
fn explain_ends_whatever_the_pod_sends() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            while stream.write_all(b".").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    });
    let served = serve(&["--host-pod", "box"]);
    let kubeconfig = served.folder.kubeconfig();
    let begun = Instant::now();
    let port = target.to_string();
    let output = pf()
        .args(["explain", "--kubeconfig", &kubeconfig, "pod/box", &port])
        .output()
        .unwrap();
    let drawn = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{drawn}");
    assert!(drawn.contains("has enough after 10 s"), "{drawn}");
    assert!(begun.elapsed() < Duration::from_secs(25));
    served.end();
}

/// What there is when a signal comes is drawn.
#[cfg(unix)]
#[test]
fn explain_draws_up_to_a_signal() {
    let mut explain = pf()
        .args(["explain", "--embedded", "svc/empty", "80"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    kill("TERM", explain.id());
    assert!(explain.wait().unwrap().code() == Some(1));
    let output = explain.wait_with_output().unwrap();
    let drawn = String::from_utf8(output.stdout).unwrap();
    assert!(
        drawn.contains("GET /api/v1/namespaces/default/services/empty"),
        "{drawn}"
    );
    assert!(drawn.contains("ended by a signal"), "{drawn}");
}

#[cfg(unix)]
fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// Ctrl-C before there is anything to record leaves nothing behind.
#[cfg(unix)]
#[test]
fn a_recording_that_never_began_leaves_nothing() {
    let folder = Folder::new();
    let file = folder.0.join("session");
    let mut waiting = pf()
        .args(["--embedded", "svc/empty", ":80", "--record"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let part = folder.0.join("session.part");
    while !part.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(500));
    kill("INT", waiting.id());
    assert_eq!(waiting.wait().unwrap().code(), Some(1));
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0);
}

/// No room for the first line: the forward goes on, the recording does not.
#[cfg(unix)]
#[test]
fn a_full_disk_ends_the_recording_only() {
    let folder = Folder::new();
    let file = folder.0.join("session");
    // A limit of this process's files stands for the disk.
    let script = "ulimit -f 0; exec \"$0\" \"$@\"";
    let mut forward = Running::start(
        Command::new("sh")
            .args([
                "-c",
                script,
                env!("CARGO_BIN_EXE_pf"),
                "--embedded",
                "pod/web",
                ":echo",
            ])
            .args(["--address", "127.0.0.1", "--record"])
            .arg(&file)
            .env_remove("KUBECONFIG"),
    );
    let port = local_port(&forward.line());
    echo(&mut connect(port));
    forward.interrupt();
    let (code, _, err) = forward.finish();
    assert_eq!(code, 0, "{err}");
    let told = err
        .matches("the recording ended early, forwarding goes on")
        .count();
    assert_eq!(told, 1, "{err}");
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0, "{err}");
}
