//! The real kubectl against the embedded cluster: gateway and node must be good enough for it.

use super::*;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

/// The programs that `conformance/cluster/build` made, newest first.
fn kubectl() -> Option<PathBuf> {
    let directory = match (std::env::var_os("PF_CLUSTER_DIR"), std::env::var_os("HOME")) {
        (Some(named), _) => PathBuf::from(named),
        (None, Some(home)) => Path::new(&home).join(".cache/pf-cluster"),
        (None, None) => return None,
    };
    ["k8s-1.37", "k8s-1.30"]
        .map(|version| directory.join("bin").join(version).join("kubectl"))
        .into_iter()
        .find(|path| path.is_file())
}

/// kubectl with a kubeconfig of its own in a directory of its own.
struct Kubectl {
    program: PathBuf,
    directory: PathBuf,
}

impl Drop for Kubectl {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

impl Kubectl {
    /// `None`, said loudly, where there is no kubectl; a failure where `CI` asks for it.
    fn new(config: &kube::Config, test: &str) -> Option<Self> {
        let Some(program) = kubectl() else {
            let required = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
            assert!(!required, "no kubectl, and this run requires one");
            eprintln!("SKIPPED {test}: no kubectl; build one with conformance/cluster/build");
            return None;
        };
        let directory = std::env::temp_dir().join(format!("pf-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let auth = &config.auth_info;
        let secret = |s: &Option<SecretString>| s.as_ref().map(|s| s.expose_secret().to_owned());
        let ca = config.root_cert.as_ref().unwrap().first().unwrap();
        let pem = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            BASE64_STANDARD.encode(ca)
        );
        let mut user = json!({});
        if let Some(token) = secret(&auth.token) {
            user = json!({"token": token});
        } else if let Some(key) = secret(&auth.client_key_data) {
            user = json!({
                "client-certificate-data": auth.client_certificate_data,
                "client-key-data": key,
            });
        }
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {
                "server": format!("https://{}", config.cluster_url.authority().unwrap()),
                "certificate-authority-data": BASE64_STANDARD.encode(pem),
            }}],
            "users": [{"name": "it", "user": user}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        });
        std::fs::write(directory.join("config"), kubeconfig.to_string()).unwrap();
        Some(Self { program, directory })
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(line.split(' '))
            .arg("--cache-dir")
            .arg(self.directory.join("cache"))
            .env("KUBECONFIG", self.directory.join("config"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end, which must come soon.
    async fn run(&self, line: &str) -> (Output, String) {
        let output = tokio::time::timeout(Duration::from_secs(30), self.command(line).output())
            .await
            .unwrap()
            .unwrap();
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        let text = String::from_utf8(text).unwrap();
        (output, text)
    }

    /// Starts a forward, and gives its local port.
    async fn forward(&self, line: &str) -> (Child, u16) {
        let mut child = self
            .command(&format!("port-forward {line}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let first = tokio::time::timeout(Duration::from_secs(30), lines.next_line())
            .await
            .unwrap()
            .unwrap();
        let Some(first) = first else {
            let mut text = String::new();
            let stderr = child.stderr.as_mut().unwrap();
            stderr.read_to_string(&mut text).await.unwrap();
            panic!("kubectl port-forward {line}: {text}");
        };
        let port = first.split(':').nth(1).unwrap().split(' ').next().unwrap();
        (child, port.parse().unwrap())
    }
}

async fn connect(port: u16) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap()
}

#[tokio::test]
async fn looks_up() {
    let cluster = start().await.unwrap();
    let Some(kubectl) = Kubectl::new(&cluster.config, "looks_up") else {
        return;
    };
    for (line, part) in [
        ("version", "Server Version: v1.37"),
        ("get pods", "web"),
        ("get pods -A -o name", "pod/pending"),
        (
            "get deployments,services,statefulsets,daemonsets,jobs",
            "web",
        ),
        ("get deploy web -o yaml", "kind: Deployment"),
        ("get pods --selector run=web -o name", "pod/web"),
        (
            "get pods --field-selector metadata.name=web -o name",
            "pod/web",
        ),
        (
            "wait pod/web --for=jsonpath={.status.phase}=Running --timeout=10s",
            "condition met",
        ),
        ("api-resources", "pods"),
    ] {
        let (output, text) = kubectl.run(line).await;
        assert!(
            output.status.success() && text.contains(part),
            "{line}: {text}"
        );
    }
    let (output, text) = kubectl.run("get pod none").await;
    assert!(!output.status.success());
    assert_eq!(
        text.trim(),
        "Error from server (NotFound): pods \"none\" not found"
    );
}

#[tokio::test]
async fn forwards() {
    let cluster = start().await.unwrap();
    let Some(kubectl) = Kubectl::new(&cluster.config, "forwards") else {
        return;
    };
    for target in [
        "pod/web",
        "deployment/web",
        "replicaset/web",
        "statefulset/web",
        "daemonset/web",
        "job/web",
        "replicationcontroller/web",
    ] {
        let (_child, port) = kubectl.forward(&format!("{target} :8080")).await;
        let mut stream = connect(port).await;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        assert!(
            page.starts_with("HTTP/1.") && page.contains(" 200 "),
            "{target}: {page}"
        );
    }
    let (_child, port) = kubectl.forward("service/web :80").await;
    let mut stream = connect(port).await;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'H');

    // Many connections over one session, some at once.
    let (_child, port) = kubectl.forward("pod/web :7000").await;
    let mut echoes = JoinSet::new();
    for i in 0..50u8 {
        echoes.spawn(async move {
            let mut stream = connect(port).await;
            let sent = vec![i; 100_000];
            let (mut read, mut write) = stream.split();
            let mut got = vec![0; sent.len()];
            tokio::try_join!(write.write_all(&sent), read.read_exact(&mut got)).unwrap();
            assert!(got == sent);
        });
    }
    while let Some(echo) = echoes.join_next().await {
        echo.unwrap();
    }
}

#[tokio::test]
async fn says_what_failed() {
    let cluster = start().await.unwrap();
    let Some(kubectl) = Kubectl::new(&cluster.config, "says_what_failed") else {
        return;
    };
    for (line, part) in [
        ("port-forward pod/none 8080", "pods \"none\" not found"),
        ("port-forward pod/pending 8080", "Current status=Pending"),
    ] {
        let (output, text) = kubectl.run(line).await;
        assert!(
            !output.status.success() && text.contains(part),
            "{line}: {text}"
        );
    }
    // A port that nothing listens on: kubectl gives up its session (PROTOCOL.md 9.1).
    let (child, port) = kubectl.forward("pod/web :7999").await;
    let mut rest = Vec::new();
    drop(connect(port).await.read_to_end(&mut rest).await);
    assert!(rest.is_empty());
    let output = tokio::time::timeout(Duration::from_secs(10), child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("error forwarding port 7999 to pod"), "{text}");
    assert!(
        text.contains("failed to connect to localhost:7999 inside namespace"),
        "{text}"
    );
    assert!(text.contains("error: lost connection to pod"), "{text}");
}

#[tokio::test]
async fn is_refused() {
    let cluster = start().await.unwrap();
    let Some(kubectl) = Kubectl::new(&cluster.nobody, "is_refused") else {
        return;
    };
    let (output, text) = kubectl.run("get pods").await;
    assert!(!output.status.success());
    assert!(
        text.contains("pods is forbidden: User \"nobody\" cannot list"),
        "{text}"
    );
    drop(kubectl);
    let kubectl = Kubectl::new(&cluster.viewer, "is_refused").unwrap();
    let (output, text) = kubectl.run("port-forward pod/web 8080").await;
    assert!(!output.status.success());
    assert!(
        text.contains("cannot create resource \"pods/portforward\""),
        "{text}"
    );
}

/// A node that dies under a session: kubectl sees that its session is gone, at once.
#[tokio::test]
async fn sees_the_cluster_go() {
    let cluster = start().await.unwrap();
    let Some(kubectl) = Kubectl::new(&cluster.config, "sees_the_cluster_go") else {
        return;
    };
    let (child, port) = kubectl.forward("pod/web :7000").await;
    let mut stream = connect(port).await;
    stream.write_all(b"ping").await.unwrap();
    stream.read_exact(&mut [0; 4]).await.unwrap();
    drop(cluster);
    let output = tokio::time::timeout(Duration::from_secs(10), child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("lost connection to pod"), "{text}");
}
