//! Servers in this process: a relay to an embedded cluster, a CRI, an API server, and Kubernetes' own.

use pfspec::target::{Target, Who};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};

/// A request: its first line and fields, and its body.
async fn request(io: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if io.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..end).collect()).ok()?;
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.parse().unwrap());
    while buffer.len() < length {
        if io.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, buffer.drain(..length).collect()))
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// A server that answers every connection with the same bytes, and closes.
pub(crate) async fn always(answer: String) -> String {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        loop {
            let (mut io, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                // A ClientHello too is something to answer.
                drop(io.read_buf(&mut Vec::with_capacity(4096)).await);
                drop(io.write_all(answer.as_bytes()).await);
            });
        }
    });
    url
}

/// Where nobody listens.
pub(crate) fn nobody() -> String {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", taken.local_addr().unwrap())
}

/// How a relay behaves.
#[derive(Default)]
pub(crate) struct Relay {
    tokens: Option<Mutex<Tokens>>,
}

#[derive(Default)]
struct Tokens {
    given: usize,
    /// With the ports of the call.
    fresh: Vec<(String, Vec<i32>)>,
}

impl Tokens {
    fn take(&mut self, path: &str) -> Option<Vec<i32>> {
        let at = self.fresh.iter().position(|(fresh, _)| fresh == path)?;
        Some(self.fresh.remove(at).1)
    }
}

impl Relay {
    /// Serves `/portforward/TOKEN`, each token once.
    pub(crate) fn with_tokens() -> Self {
        Self {
            tokens: Some(Mutex::default()),
        }
    }
}

/// A relay that runs: takes upgrades without TLS and passes them to an embedded cluster.
pub(crate) struct Running {
    pub(crate) url: String,
    behind: Target,
    relay: Relay,
    paths: Mutex<Vec<String>>,
}

pub(crate) async fn relay(relay: Relay) -> Arc<Running> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let (listener, url) = listen().await;
    let running = Arc::new(Running {
        url,
        behind: pfspec::target::embedded().await.unwrap(),
        relay,
        paths: Mutex::default(),
    });
    let shared = running.clone();
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            let shared = shared.clone();
            tokio::spawn(async move { shared.serve(io).await });
        }
    });
    running
}

impl Running {
    /// What was asked for, in order.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.paths.lock().unwrap().clone()
    }

    /// A URL that serves once.
    pub(crate) fn fresh(&self) -> String {
        self.fresh_for(Vec::new())
    }

    fn fresh_for(&self, ports: Vec<i32>) -> String {
        let mut tokens = self.relay.tokens.as_ref().unwrap().lock().unwrap();
        tokens.given += 1;
        let path = format!("/portforward/t{}", tokens.given);
        tokens.fresh.push((path.clone(), ports));
        format!("{}{path}", self.url)
    }

    async fn serve(&self, mut io: TcpStream) {
        let mut buffer = Vec::new();
        let Some((head, body)) = request(&mut io, &mut buffer).await else {
            return;
        };
        self.pass(io, &head, &body).await;
    }

    async fn pass(&self, mut io: TcpStream, head: &str, body: &[u8]) {
        let (line, fields) = head.split_once("\r\n").unwrap();
        let target = line.split(' ').nth(1).unwrap().to_owned();
        self.paths.lock().unwrap().push(target.clone());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let mut query = query.replace("ports=", "port=").replace("port=", "ports=");
        if let Some(tokens) = &self.relay.tokens {
            // As a runtime does: the ports are those of the call.
            let Some(ports) = tokens.lock().unwrap().take(path) else {
                let gone =
                    "HTTP/1.1 404 Not Found\r\nContent-Length: 19\r\n\r\n404 page not found\n";
                drop(io.write_all(gone.as_bytes()).await);
                return;
            };
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            query = if ports.is_empty() {
                String::new()
            } else {
                format!("ports={}", ports.join(","))
            };
        }
        let place = self.behind.reach.place(Who::Forwarder).await.unwrap();
        let method = line.split(' ').next().unwrap();
        let mut bytes = format!("{method} {}?{query} HTTP/1.1\r\n", place.path).into_bytes();
        for field in fields.split("\r\n").filter(|field| !field.is_empty()) {
            let name = field.split(':').next().unwrap();
            let ours = |(known, _): &(String, Vec<u8>)| known.eq_ignore_ascii_case(name);
            if !place.identity.iter().any(ours) {
                bytes.extend(format!("{field}\r\n").into_bytes());
            }
        }
        for (name, value) in &place.identity {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        bytes.extend(b"\r\n");
        bytes.extend(body);
        let mut behind = place.io;
        behind.write_all(&bytes).await.unwrap();
        drop(tokio::io::copy_bidirectional(&mut io, &mut behind).await);
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct PortForwardRequest {
    #[prost(string, tag = "1")]
    sandbox: String,
    #[prost(int32, repeated, tag = "2")]
    ports: Vec<i32>,
}

/// Sandbox and ports of a PortForward.
type Call = (String, Vec<i32>);

/// A runtime's CRI on a socket of its own.
pub(crate) struct Cri {
    folder: TempDir,
    asked: Arc<Mutex<Vec<Call>>>,
}

impl Cri {
    pub(crate) fn start(relay: &Arc<Running>) -> Self {
        let folder = TempDir::new().unwrap();
        let listener = UnixListener::bind(folder.path().join("cri.sock")).unwrap();
        let asked: Arc<Mutex<Vec<_>>> = Arc::default();
        let (shared, relay) = (asked.clone(), relay.clone());
        tokio::spawn(async move {
            loop {
                let (io, _) = listener.accept().await.unwrap();
                let (shared, relay) = (shared.clone(), relay.clone());
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(io).await.unwrap();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let (shared, relay) = (shared.clone(), relay.clone());
                        tokio::spawn(async move {
                            let path = request.uri().path().to_owned();
                            let mut body = request.into_body();
                            let mut bytes = Vec::new();
                            while let Some(part) = body.data().await {
                                let part = part.unwrap();
                                drop(body.flow_control().release_capacity(part.len()));
                                bytes.extend(part);
                            }
                            let answer = Self::answer(&path, &bytes[5..], &shared, &relay);
                            let head = http::Response::builder()
                                .header("content-type", "application/grpc")
                                .body(())
                                .unwrap();
                            let mut stream = respond.send_response(head, false).unwrap();
                            let mut trailers = http::HeaderMap::new();
                            match answer {
                                Ok(message) => {
                                    let length = u32::try_from(message.len()).unwrap();
                                    let mut framed = vec![0];
                                    framed.extend(length.to_be_bytes());
                                    framed.extend(message);
                                    stream.send_data(framed.into(), false).unwrap();
                                    trailers.insert("grpc-status", "0".parse().unwrap());
                                }
                                Err(text) => {
                                    trailers.insert("grpc-status", "5".parse().unwrap());
                                    trailers.insert("grpc-message", text.parse().unwrap());
                                }
                            }
                            stream.send_trailers(trailers).unwrap();
                        });
                    }
                });
            }
        });
        Self { folder, asked }
    }

    /// Messages are written field by field here, to be no mirror of the client's definitions.
    fn answer(
        path: &str,
        message: &[u8],
        asked: &Mutex<Vec<Call>>,
        relay: &Running,
    ) -> Result<Vec<u8>, String> {
        let text = |tag: u8, text: &str| {
            let mut field = vec![tag << 3 | 2, u8::try_from(text.len()).unwrap()];
            field.extend(text.as_bytes());
            field
        };
        let nested = |tag: u8, parts: &[Vec<u8>]| {
            let inner = parts.concat();
            let mut field = vec![tag << 3 | 2, u8::try_from(inner.len()).unwrap()];
            field.extend(inner);
            field
        };
        let sandbox = |id: &str, name: &str, state: u8, age: u8| {
            let metadata = [text(1, name), text(2, "uid"), text(3, "ns")];
            let parts = [
                text(1, id),
                nested(2, &metadata),
                vec![3 << 3, state],
                vec![4 << 3, age],
                text(7, "runc"),
            ];
            nested(1, &parts)
        };
        match path {
            "/runtime.v1.RuntimeService/Version" => Ok([
                text(1, "0.1.0"),
                text(2, "testruntime"),
                text(3, "1.2.3"),
                text(4, "v1"),
            ]
            .concat()),
            "/runtime.v1.RuntimeService/ListPodSandbox" => Ok([
                sandbox("old", "web", 0, 1),
                sandbox("new", "web", 0, 2),
                sandbox("ending", "web", 1, 3),
                sandbox("e", "ended", 1, 4),
            ]
            .concat()),
            "/runtime.v1.RuntimeService/PortForward" => {
                let request: PortForwardRequest = prost::Message::decode(message).unwrap();
                if request.sandbox == "gone" {
                    return Err("no sandbox gone".to_owned());
                }
                asked
                    .lock()
                    .unwrap()
                    .push((request.sandbox, request.ports.clone()));
                Ok(text(1, &relay.fresh_for(request.ports)))
            }
            other => panic!("{other}"),
        }
    }

    pub(crate) fn socket(&self) -> String {
        self.folder.path().join("cri.sock").display().to_string()
    }

    /// Sandbox and ports of every call.
    pub(crate) fn asked(&self) -> Vec<Call> {
        self.asked.lock().unwrap().clone()
    }
}

/// An API server that makes no pods, but says that it did.
pub(crate) struct Api {
    folder: TempDir,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Api {
    /// `script` says how the pod fares.
    pub(crate) async fn start(relay: &Arc<Running>, script: &'static str) -> Self {
        let (listener, url) = listen().await;
        let folder = TempDir::new().unwrap();
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{name: c, cluster: {{server: \"{url}\"}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             users: [{{name: u, user: {{token: t}}}}]\n"
        );
        std::fs::write(folder.path().join("config"), kubeconfig).unwrap();
        let calls: Arc<Mutex<Vec<String>>> = Arc::default();
        let (shared, relay) = (calls.clone(), relay.clone());
        tokio::spawn(async move {
            let seen = Arc::new(Mutex::new(HashSet::new()));
            loop {
                let (mut io, _) = listener.accept().await.unwrap();
                let (shared, relay, seen) = (shared.clone(), relay.clone(), seen.clone());
                tokio::spawn(async move {
                    let mut buffer = Vec::new();
                    while let Some((head, body)) = request(&mut io, &mut buffer).await {
                        let mut words = head.split(' ');
                        let call = format!("{} {}", words.next().unwrap(), words.next().unwrap());
                        let call = call.split('?').next().unwrap().to_owned();
                        if call.ends_with("/portforward") {
                            relay.pass(io, &head, &body).await;
                            return;
                        }
                        shared.lock().unwrap().push(call.clone());
                        let again = !seen.lock().unwrap().insert(call.clone());
                        let (code, answer) = Self::answer(script, &call, again);
                        let answer = format!(
                            "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}",
                            answer.len()
                        );
                        if io.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { folder, calls }
    }

    fn answer(script: &str, call: &str, again: bool) -> (u16, String) {
        let failure = |code: u16, reason: &str, message: &str| {
            let text = format!(
                r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","reason":"{reason}","message":"{message}","code":{code}}}"#
            );
            (code, text)
        };
        let pod = |status: &str| {
            format!(
                r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"pfspec-x2"}},"status":{status}}}"#
            )
        };
        let waiting = |reason: &str, message: &str| {
            format!(
                r#"{{"phase":"Pending","containerStatuses":[{{"name":"c","image":"i","imageID":"","ready":false,"restartCount":0,"state":{{"waiting":{{"reason":"{reason}","message":"{message}"}}}}}}]}}"#
            )
        };
        let (verb, path) = call.split_once(' ').unwrap();
        match (verb, path) {
            ("GET", "/version") => (
                200,
                r#"{"major":"1","minor":"37+","gitVersion":"v1.37.1","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}"#.to_owned(),
            ),
            ("POST", "/api/v1/namespaces") if script == "forbidden" => {
                failure(403, "Forbidden", "User bob cannot create resource namespaces")
            }
            ("POST", "/api/v1/namespaces") => (
                201,
                r#"{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"pfspec-x1"}}"#.to_owned(),
            ),
            ("POST", _) if !again && path.contains("pfspec-x1") => failure(
                403,
                "Forbidden",
                "error looking up service account pfspec-x1/default",
            ),
            ("POST", _) => (201, pod("{}")),
            ("GET", _) if script == "pull" || script == "stuck" => {
                (200, pod(&waiting("ImagePullBackOff", "no such image")))
            }
            ("GET", _) if script == "ready" && again => (
                200,
                pod(r#"{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}"#),
            ),
            ("GET", _) => (200, pod(&waiting("ContainerCreating", ""))),
            ("DELETE", _) if script == "stuck" => failure(403, "Forbidden", "no"),
            ("DELETE", _) => (
                200,
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success"}"#.to_owned(),
            ),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn kubeconfig(&self) -> String {
        self.folder.path().join("config").display().to_string()
    }

    /// Verb and path of every request but port-forwards.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

/// Kubernetes' own streaming server.
pub(crate) struct Peer {
    folder: TempDir,
    process: std::process::Child,
}

impl Peer {
    /// Nothing if it is not built; an error instead with `PF_REQUIRE_PEERS=1` or `CI`.
    pub(crate) fn start() -> Option<Self> {
        let home = std::env::var_os("HOME")
            .map(PathBuf::from)
            .unwrap_or_default();
        let peers = std::env::var_os("PF_PEERS_DIR");
        let peers = peers.map_or_else(|| home.join(".cache/pf-peers"), PathBuf::from);
        let program = peers.join("bin/server");
        if !program.is_file() {
            let needed = ["CI", "PF_REQUIRE_PEERS"].map(std::env::var_os);
            assert!(
                needed.iter().all(Option::is_none),
                "no {}",
                program.display()
            );
            return None;
        }
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("config");
        let process = std::process::Command::new(program)
            .args(["-demo", "-kubeconfig-out"])
            .arg(&file)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let peer = Self { folder, process };
        let began = std::time::Instant::now();
        while !std::fs::read_to_string(&file).is_ok_and(|text| text.contains("token")) {
            assert!(began.elapsed().as_secs() < 20, "no kubeconfig");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Some(peer)
    }

    pub(crate) fn kubeconfig(&self) -> String {
        self.folder.path().join("config").display().to_string()
    }

    /// Its URL, and files with its CA and the token.
    pub(crate) fn parts(&self) -> (String, String, String) {
        use base64::Engine as _;
        let text = std::fs::read_to_string(self.kubeconfig()).unwrap();
        let value = |key: &str| {
            let at = text.find(key).expect(key) + key.len();
            let end = |c: char| c.is_whitespace() || matches!(c, ',' | '}');
            let rest = text[at..].trim_start_matches([':', ' ', '"']);
            rest.split(end).next().unwrap().trim_matches('"').to_owned()
        };
        let ca = value("certificate-authority-data");
        let ca = base64::prelude::BASE64_STANDARD.decode(ca).unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let file = self.folder.path().join(name);
            std::fs::write(&file, bytes).unwrap();
            file.display().to_string()
        };
        (
            value("server"),
            write("ca", &ca),
            write("token", value("token").as_bytes()),
        )
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
