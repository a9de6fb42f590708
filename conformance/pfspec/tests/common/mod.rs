//! What both suites share: the built program, and servers that say what they are told to.
#![allow(dead_code, unreachable_pub, reason = "each suite uses its part")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What no file and no line may hold.
pub const CANARY: &str = "canary-3f81-token";

/// Cases that do for a test of reports; the catalogue has more and grows.
pub const SEVEN: [&str; 7] = [
    "spdy/frame/version-3",
    "spdy/frame/byte-by-byte",
    "spdy/frame/joined",
    "spdy/frame/data-of-any-length",
    "spdy/frame/empty-data",
    "spdy/frame/data-on-stream-0",
    "spdy/frame/unknown-data-flags",
];

/// A directory that goes with the test.
pub fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// The program, with an environment that says nothing of clusters and colours.
pub fn pfspec(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pfspec"));
    command
        .args(arguments)
        .env_remove("KUBECONFIG")
        .env_remove("NO_COLOR");
    command
}

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Output {
    pfspec(arguments).output().expect("pfspec runs")
}

/// Runs it on [`SEVEN`].
pub fn run_seven(arguments: &[&str]) -> Output {
    let output = pfspec(arguments).args(SEVEN).output();
    output.expect("pfspec runs")
}

/// Code and both texts.
pub fn said(output: &Output) -> (i32, String, String) {
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// A path as an argument.
pub fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A server of plain HTTP: hears each request head, with the number of the connection from 0.
pub struct Fake {
    /// Where.
    pub port: u16,
    /// How many connections there were.
    pub seen: Arc<AtomicUsize>,
}

impl Fake {
    pub fn new(answer: impl Fn(usize, &[u8], &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let seen = Arc::new(AtomicUsize::new(0));
        let (counter, answer) = (seen.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                std::thread::spawn(move || {
                    let head = head(&mut stream);
                    answer(number, &head, &mut stream);
                });
            }
        });
        Self { port, seen }
    }

    /// One that always sends the same and closes.
    pub fn saying(text: &'static str) -> Self {
        Self::new(move |_, _, stream| drop(stream.write_all(text.as_bytes())))
    }

    /// A kubeconfig for it, with the canary as token.
    pub fn kubeconfig(&self, directory: &Path) -> PathBuf {
        kubeconfig(directory, self.port, &format!("token: {CANARY}"))
    }
}

pub fn kubeconfig(directory: &Path, port: u16, user: &str) -> PathBuf {
    let path = directory.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n\
         users:\n- name: u\n  user:\n    {user}\n"
    );
    std::fs::write(&path, text).expect("a kubeconfig");
    path
}

fn head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    head
}

/// Reads until the client goes.
pub fn hold(stream: &mut TcpStream) {
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).is_ok_and(|n| n > 0) {}
}

/// Reads the body that a head announces.
pub fn body(head: &[u8], stream: &mut TcpStream) {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    drop(stream.read_exact(&mut body));
}

/// Answers with a JSON object and ends the connection.
pub fn answer_json(status: &str, json: &str, stream: &mut TcpStream) {
    let head = "Content-Type: application/json\r\nConnection: close\r\nContent-Length";
    let answer = format!("HTTP/1.1 {status}\r\n{head}: {}\r\n\r\n{json}", json.len());
    drop(stream.write_all(answer.as_bytes()));
}

/// The answer to a request for SPDY.
pub const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
                          X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n";

/// Waits for a condition, at most a minute.
pub fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..1200 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("not within a minute: {what}");
}

/// A case that does where any will do.
pub const ONE: &str = "spdy/frame/joined@spdy";

/// Judges a fake by one case.
pub fn judge(fake: &Fake, more: &[&str]) -> (i32, String, String) {
    let directory = directory();
    let config = text(&fake.kubeconfig(directory.path()));
    let mut arguments = vec!["apiserver", "--kubeconfig", &config, "--pod", "default/web"];
    if !more.contains(&"--patience") {
        arguments.extend(["--patience", "5"]);
    }
    arguments.extend(more);
    said(&run(&arguments))
}

/// All files below a directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push(path);
        }
    }
    all
}
