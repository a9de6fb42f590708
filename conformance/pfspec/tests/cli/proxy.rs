//! Through a proxy: the API server behind it is judged as without, and its password stands nowhere.

use super::common::{Fake, ONE, directory, files, pfspec, run, said, text};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use pf_program::cluster::Demo;
use secrecy::ExposeSecret as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

const USER: &str = "canary-user";
const PASSWORD: &str = "canary-pass:w@rd";

/// A proxy for one user, of both kinds.
struct Proxy {
    port: u16,
    /// Where it was asked to go.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let list = asked.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let list = list.clone();
                std::thread::spawn(move || drop(serve(client.unwrap(), &list)));
            }
        });
        Self { port, asked }
    }

    fn url(&self, scheme: &str) -> String {
        let password = PASSWORD.replace(':', "%3A").replace('@', "%40");
        format!("{scheme}://{USER}:{password}@127.0.0.1:{}", self.port)
    }

    /// Where it was asked to go since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn serve(mut client: TcpStream, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut first = [0];
    client.read_exact(&mut first)?;
    let place = if first == [5] {
        socks(&mut client)?
    } else {
        connect(&mut client)?
    };
    let Some(place) = place else { return Ok(()) };
    asked.lock().unwrap().push(place.clone());
    let server = TcpStream::connect(place)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    let up = std::thread::spawn(move || {
        drop(std::io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Write));
    });
    let (mut from, mut to) = (server, client);
    drop(std::io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Write));
    drop(up.join());
    Ok(())
}

fn connect(client: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let who = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    if !head.contains(&format!("Proxy-Authorization: Basic {who}\r\n")) {
        client.write_all(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")?;
        return Ok(None);
    }
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    // The first letter was read before.
    let place = head
        .strip_prefix("ONNECT ")
        .and_then(|rest| rest.split(' ').next());
    Ok(place.map(str::to_owned))
}

fn socks(client: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut read = |length: usize, answer: &[u8]| {
        let mut bytes = vec![0; length];
        client.read_exact(&mut bytes)?;
        client.write_all(answer).map(|()| bytes)
    };
    let methods = read(1, &[])?;
    read(methods[0].into(), &[5, 2])?;
    let mut who = Vec::new();
    read(1, &[])?;
    for _ in 0..2 {
        let length = read(1, &[])?;
        who.push(String::from_utf8_lossy(&read(length[0].into(), &[])?).into_owned());
    }
    if who != [USER, PASSWORD] {
        read(0, &[1, 1])?;
        return Ok(None);
    }
    read(0, &[1, 0])?;
    let request = read(4, &[])?;
    assert_eq!(request, [5, 1, 0, 1], "an IPv4 address");
    let place = read(6, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let port = u16::from_be_bytes([place[4], place[5]]);
    let [a, b, c, d, ..] = place.as_slice() else {
        return Ok(None);
    };
    Ok(Some(format!("{a}.{b}.{c}.{d}:{port}")))
}

/// The authority of the built-in cluster, in PEM.
fn ca(config: &kube::Config) -> String {
    let ca = BASE64_STANDARD.encode(&config.root_cert.as_ref().unwrap()[0]);
    format!("-----BEGIN CERTIFICATE-----\n{ca}\n-----END CERTIFICATE-----\n")
}

/// A kubeconfig for the built-in cluster, with this line more in the entry of the cluster.
fn kubeconfig(config: &kube::Config, directory: &Path, more: &str) -> String {
    let who = &config.auth_info;
    let user = match (
        &who.token,
        &who.client_certificate_data,
        &who.client_key_data,
    ) {
        (Some(token), ..) => format!("token: {}", token.expose_secret()),
        (None, Some(cert), Some(key)) => format!(
            "client-certificate-data: {cert}\n    client-key-data: {}",
            key.expose_secret()
        ),
        _ => panic!("no credentials"),
    };
    kubeconfig_of(config, directory, more, &user)
}

/// The same for a user whose entry says this.
fn kubeconfig_of(config: &kube::Config, directory: &Path, more: &str, user: &str) -> String {
    let path = directory.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         clusters:\n- name: c\n  cluster:\n    server: {}\n    certificate-authority-data: {}\n    {more}\n\
         users:\n- name: u\n  user:\n    {user}\n",
        config.cluster_url,
        BASE64_STANDARD.encode(ca(config))
    );
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// No part of user and password is in what was printed and written.
fn no_secret(said: &[&str], directory: &Path) {
    let written = files(directory)
        .into_iter()
        .filter(|path| !path.ends_with("kubeconfig"));
    let mut all: Vec<String> = written
        .map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned())
        .collect();
    all.extend(said.iter().map(|text| (*text).to_owned()));
    for text in all {
        for part in ["canary", "w@rd", "w%40rd", "pass:"] {
            assert!(!text.contains(part), "{part}: {text}");
        }
    }
}

#[test]
fn the_cluster_behind_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let demo = runtime.block_on(Demo::start()).unwrap();
    let server = demo.admin().cluster_url.authority().unwrap().to_string();
    let proxy = Proxy::start();
    for scheme in ["http", "socks5"] {
        let directory = directory();
        let url = proxy.url(scheme);
        let in_file = kubeconfig(demo.admin(), directory.path(), &format!("proxy-url: {url}"));
        let other = directory.path().join("other");
        fs::create_dir(&other).unwrap();
        let without = kubeconfig(demo.admin(), &other, "");
        let report = format!("json={}", text(&directory.path().join("a.json")));
        for words in [
            &["--kubeconfig", &in_file][..],
            &["--kubeconfig", &without, "--proxy-url", &url],
        ] {
            let more = ["--pod", "default/web", ONE, "--report", &report];
            let arguments = [&["apiserver"][..], words, &more].concat();
            let (code, out, error) = said(&run(&arguments));
            assert_eq!(code, 0, "{out}{error}");
            assert!(
                out.starts_with(&format!("PASS {ONE}")) && out.contains(" 1.37 at "),
                "{out}"
            );
            // For the version, for the question whether anybody is there, and for the case.
            let asked = proxy.asked();
            assert!(
                asked.len() >= 3 && asked.iter().all(|place| *place == server),
                "{asked:?}"
            );
            no_secret(&[&out, &error], directory.path());
            let json = fs::read_to_string(directory.path().join("a.json")).unwrap();
            let shown = format!("--proxy-url '{scheme}://***@127.0.0.1:{}'", proxy.port);
            assert_eq!(
                json.contains(&shown),
                words.contains(&"--proxy-url"),
                "{json}"
            );
        }
    }
    runtime.block_on(demo.stop());
}

#[test]
fn a_proxy_that_does_not() {
    let directory = directory();
    let proxy = Proxy::start();
    // Bound, so that nobody else gets it, and not listened on.
    let unheard = tokio::net::TcpSocket::new_v4().unwrap();
    unheard.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = unheard.local_addr().unwrap().port();
    let of = |scheme: &str| format!("{scheme}://canary-user:canary@127.0.0.1:{}", proxy.port);
    for (url, code, words) in [
        (of("http"), 3, "CONNECT: 407"),
        (of("socks5"), 3, "does not take this user and password"),
        (
            format!("http://canary-user:x@127.0.0.1:{nobody}"),
            3,
            "; check --proxy-url",
        ),
        (of("ftp"), 2, "a proxy begins with http:// or socks5://"),
        (of("https"), 2, "not supported yet"),
        // As kubectl, which takes no host alone for http.
        (
            of("http").replace("http://", ""),
            2,
            "--proxy-url: a proxy begins with http:// or socks5://",
        ),
        (
            "canary-proxy".to_owned(),
            2,
            "--proxy-url: a proxy begins with http:// or socks5://",
        ),
        (
            "http://canary-user:can/ary@h".to_owned(),
            2,
            "--proxy-url: it has more than a host and a port",
        ),
        (
            "http://canary-user:can ary@h".to_owned(),
            2,
            "--proxy-url: it is no URL",
        ),
    ] {
        let report = format!("json={}", text(&directory.path().join("a.json")));
        let server = "https://192.0.2.1:6443/p";
        let arguments = [
            "server",
            server,
            "--proxy-url",
            &url,
            "--report",
            &report,
            ONE,
        ];
        let (got, out, error) = said(&run(&arguments));
        assert_eq!((got, out.as_str()), (code, ""), "{words}: {error}");
        assert!(error.contains(words), "{error}");
        no_secret(&[&error], directory.path());
        // What the proxy says is not laid to the server.
        if code == 3 {
            let more = ["--no-preflight", "--patience", "2", "--serves", "spdy"];
            let (got, out, error) = said(&run(&[&arguments[..], &more].concat()));
            assert_eq!(got, 5, "{out}{error}");
            assert!(out.starts_with(&format!("INCONCLUSIVE {ONE}")), "{out}");
            no_secret(&[&out, &error], directory.path());
        }
    }
    // The same of the kubeconfig; of a variable of the environment a host alone is enough.
    let file = text(&directory.path().join("kubeconfig"));
    let alone = of("http").replace("http://", "");
    for (entry, code, words) in [
        (
            format!("proxy-url: {alone}"),
            2,
            "proxy-url: a proxy begins with http:// or socks5://",
        ),
        (String::new(), 3, "CONNECT: 407"),
    ] {
        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters:\n- name: c\n  cluster:\n    server: https://192.0.2.1:6443\n    {entry}\n\
             users: [{{name: u, user: {{token: canary}}}}]\n"
        );
        fs::write(&file, config).unwrap();
        let output = pfspec(&["apiserver", "--kubeconfig", &file, "--pod", "web", ONE])
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .env("HTTPS_PROXY", &alone)
            .output();
        let (got, out, error) = said(&output.unwrap());
        assert_eq!((got, out.as_str()), (code, ""), "{words}: {error}");
        assert!(error.contains(words), "{error}");
        no_secret(&[&error], directory.path());
    }
    // The embedded cluster is behind none.
    let output = pfspec(&["server", "--embedded", ONE, "--proxy-url", "http://h"]).output();
    assert_eq!(said(&output.unwrap()).0, 2);
}

/// A credential plugin is run as without a proxy; a provider that would be asked around it is refused.
#[test]
fn users_of_other_kinds() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let demo = runtime.block_on(Demo::start()).unwrap();
    let config = demo.admin();
    let proxy = Proxy::start();
    let directory = directory();
    let pem = |encoded: &str| {
        let decoded = BASE64_STANDARD.decode(encoded).unwrap();
        String::from_utf8(decoded).unwrap()
    };
    let who = &config.auth_info;
    let status = match (&who.token, &who.client_certificate_data) {
        (Some(token), _) => serde_json::json!({"token": token.expose_secret()}),
        (None, certificate) => serde_json::json!({
            "clientCertificateData": pem(certificate.as_ref().unwrap()),
            "clientKeyData": pem(who.client_key_data.as_ref().unwrap().expose_secret()),
        }),
    };
    let credential = directory.path().join("credential");
    let given = serde_json::json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": status,
    });
    fs::write(&credential, given.to_string()).unwrap();
    let plugin = format!(
        "exec: {{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: cat, args: ['{}']}}",
        credential.display()
    );
    let oidc = "auth-provider: {name: oidc, config: {client-id: c, client-secret: canary, id-token: canary, \
                refresh-token: canary, idp-issuer-url: 'https://127.0.0.1:1'}}";
    for (user, expected, words) in [
        (plugin.as_str(), 0, ""),
        (
            oidc,
            2,
            "the auth provider oidc cannot be used with a proxy yet",
        ),
    ] {
        let file = kubeconfig_of(config, directory.path(), "", user);
        let url = proxy.url("http");
        let place = ["--kubeconfig", &file, "--proxy-url", &url];
        let arguments = [&["apiserver", "--pod", "default/web", ONE], &place[..]].concat();
        let (code, out, error) = said(&run(&arguments));
        assert_eq!(code, expected, "{out}{error}");
        assert!(error.contains(words), "{error}");
        assert_eq!(proxy.asked().len() >= 3, code == 0, "{out}{error}");
        no_secret(&[&out, &error], directory.path());
    }
    runtime.block_on(demo.stop());
}

/// In a pod there is no kubeconfig, and the proxy is that of the environment. Without the right to mount for itself alone it
/// says so and passes, unless `PF_REQUIRE_MOUNTS=1`.
#[test]
#[cfg(target_os = "linux")]
fn in_a_pod() {
    /// Puts the files of a directory where a pod has them, which nobody else sees, and runs the rest.
    const MOUNTED: &str = "place=/var/run/secrets/kubernetes.io/serviceaccount
        mount -t tmpfs tmpfs \"$(readlink -f /var/run)\" && mkdir -p $place && cp \"$1\"/* $place && shift && exec \"$@\"";
    let directory = directory();
    let account = directory.path().join("account");
    fs::create_dir(&account).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let demo = runtime.block_on(Demo::start()).unwrap();
    fs::write(account.join("ca.crt"), ca(demo.admin())).unwrap();
    fs::write(account.join("token"), "canary-token").unwrap();
    fs::write(account.join("namespace"), "default").unwrap();
    runtime.block_on(demo.stop());
    let mounted = |program: &[&str]| {
        let mut command = std::process::Command::new("unshare");
        // Root needs no user namespace, which many machines forbid.
        let is_root = rustix::process::geteuid().is_root();
        command.args([
            if is_root { "-m" } else { "-rm" },
            "sh",
            "-c",
            MOUNTED,
            "sh",
        ]);
        command.arg(&account).args(program);
        command
    };
    if !mounted(&["true"])
        .status()
        .is_ok_and(|ended| ended.success())
    {
        let text = "no mounts of its own; let `unshare -rm` of util-linux run here, or be root";
        let is_needed = std::env::var_os("PF_REQUIRE_MOUNTS").is_some_and(|value| value == "1");
        assert!(!is_needed, "this run may not skip: {text}");
        conformance::say(&format!("SKIPPED in_a_pod: {text}"));
        return;
    }
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let list = asked.clone();
    let proxy = Fake::new(move |_, head, stream| {
        let line = String::from_utf8_lossy(head);
        let line = line.lines().next().unwrap_or_default().to_owned();
        list.lock().unwrap().push(line);
        drop(stream.write_all(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n"));
    });
    let program = env!("CARGO_BIN_EXE_pfspec");
    let mut command = mounted(&[program, "apiserver", "--pod", "web", ONE]);
    for name in ["KUBECONFIG", "NO_PROXY", "no_proxy"] {
        command.env_remove(name);
    }
    let output = command
        .env("HOME", directory.path())
        .env("KUBERNETES_SERVICE_HOST", "192.0.2.1")
        .env("KUBERNETES_SERVICE_PORT", "6443")
        .env("HTTPS_PROXY", format!("http://127.0.0.1:{}", proxy.port))
        .output();
    let (code, out, error) = said(&output.unwrap());
    assert_eq!((code, out.as_str()), (3, ""), "{error}");
    assert!(
        error.contains("API server at https://192.0.2.1:6443, pod default/web: ")
            && error.contains("CONNECT: 502"),
        "{error}"
    );
    let asked = asked.lock().unwrap();
    let server = "CONNECT 192.0.2.1:6443 HTTP/1.1";
    assert!(
        !asked.is_empty() && asked.iter().all(|line| line == server),
        "{asked:?}"
    );
    assert!(!error.contains("canary"), "{error}");
}
