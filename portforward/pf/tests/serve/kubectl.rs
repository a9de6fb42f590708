//! The real kubectl against `pf serve`.

use super::*;
use ring::digest::{SHA256, digest};

const LENGTH: usize = 16 << 20;

/// The kubectl to use: the one that is named, or the one that `conformance/cluster/build` made.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("PF_KUBECTL").map(PathBuf::from);
    let built = || {
        let directory = match std::env::var_os("PF_CLUSTER_DIR") {
            Some(directory) => PathBuf::from(directory),
            None => PathBuf::from(std::env::var_os("HOME")?).join(".cache/pf-cluster"),
        };
        Some(directory.join("bin/k8s-1.37/kubectl"))
    };
    let found = named.or_else(built).filter(|path| path.is_file());
    let required = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(
        found.is_some() || !required,
        "no kubectl, and this run requires one"
    );
    if found.is_none() {
        // Past the capture of the test harness, which would swallow it.
        let text = b"SKIPPED a test of pf serve: no kubectl; name one with PF_KUBECTL\n";
        std::io::stderr().write_all(text).unwrap();
    }
    found
}

impl Served {
    fn kubectl(&self, program: &Path, line: &str) -> Command {
        let mut command = Command::new(program);
        command
            .args(line.split(' '))
            .arg("--cache-dir")
            .arg(self.folder.0.join("cache"))
            .env("KUBECONFIG", self.folder.kubeconfig())
            .stdin(Stdio::null());
        command
    }

    fn kubectl_forward(&self, program: &Path, line: &str) -> (Running, u16) {
        let line = format!("port-forward --address 127.0.0.1 {line}");
        let mut forward = Running::start(&mut self.kubectl(program, &line));
        let port = local_port(&forward.line());
        (forward, port)
    }

    fn end_kubectl(self) {
        std::fs::remove_dir_all(self.folder.0.join("cache")).ok();
        self.end();
    }
}

#[test]
fn looks_up() {
    let Some(program) = program() else { return };
    for (user, auth) in [("admin", "token"), ("viewer", "cert")] {
        let served = serve(&["--user", user, "--auth", auth, "--host-pod", "box"]);
        for (line, part) in [
            ("version", "Server Version: v1.37"),
            ("get pods", "\nbox "),
            ("get pod/web -o yaml", "kind: Pod"),
            ("get all", "deployment.apps/web"),
        ] {
            let output = served.kubectl(&program, line).output().unwrap();
            let text = [&output.stdout[..], &output.stderr[..]].concat();
            let text = String::from_utf8(text).unwrap();
            assert!(output.status.success(), "{line}: {text}");
            assert!(text.contains(part), "{line}: {text}");
        }
        // It prefers HTTP/2, and tells so when asked.
        let mut debug = served.kubectl(&program, "get pods");
        let output = debug.env("GODEBUG", "http2debug=1").output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(err.contains("http2: Transport"), "{err}");
        served.end_kubectl();
    }
}

/// What the port `random` sends for a length.
fn sequence(length: usize) -> Vec<u8> {
    let mut word = length as u64;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        word ^= word >> 12;
        word ^= word << 25;
        word ^= word >> 27;
        bytes.extend_from_slice(&word.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn forwards() {
    let Some(program) = program() else { return };
    let served = serve(&[]);
    let (_forward, port) = served.kubectl_forward(&program, "pod/web :7000");
    echo(&mut connect(port));

    let expected = sequence(LENGTH);
    let (_forward, port) = served.kubectl_forward(&program, "pod/web :random");
    let mut stream = connect(port);
    stream.write_all(&(LENGTH as u64).to_be_bytes()).unwrap();
    let mut got = vec![0; LENGTH];
    stream.read_exact(&mut got).unwrap();
    assert!(got == expected);

    let (_forward, port) = served.kubectl_forward(&program, "pod/web :hash");
    let mut stream = connect(port);
    stream.write_all(&(LENGTH as u64).to_be_bytes()).unwrap();
    stream.write_all(&expected).unwrap();
    let mut line = String::new();
    stream.read_to_string(&mut line).unwrap();
    let hash = digest(&SHA256, &expected);
    let hash: Vec<String> = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(line.trim_end(), hash.concat());

    for line in ["svc/web :80", "deployment/web :http"] {
        let (_forward, port) = served.kubectl_forward(&program, line);
        let mut stream = connect(port);
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        assert!(
            page.starts_with("HTTP/1.") && page.contains(" 200 "),
            "{line}: {page}"
        );
    }
    served.end_kubectl();
}

/// kubectl gives the whole session up for either (PROTOCOL.md 9.1), and says why.
#[test]
fn ports_that_refuse_and_reset() {
    let Some(program) = program() else { return };
    let served = serve(&[]);
    for (port, text) in [
        (7999, "failed to connect to localhost:7999"),
        (7003, "7003"),
    ] {
        let (mut forward, local) = served.kubectl_forward(&program, &format!("pod/web :{port}"));
        let mut got = Vec::new();
        connect(local).read_to_end(&mut got).ok();
        assert!(got.is_empty());
        let (code, _, err) = forward.finish();
        assert_eq!(code, 1, "{err}");
        assert!(
            err.contains(text) && err.contains("lost connection to pod"),
            "{err}"
        );
    }
    served.end_kubectl();
}
