//! Through a proxy: the API server behind it is judged as without, and its password stands nowhere.

use super::common::{ONE, directory, files, pfspec, run, said, text};
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

/// A kubeconfig for the built-in cluster, with this line more in the entry of the cluster.
fn kubeconfig(config: &kube::Config, directory: &Path, more: &str) -> String {
    let ca = BASE64_STANDARD.encode(&config.root_cert.as_ref().unwrap()[0]);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{ca}\n-----END CERTIFICATE-----\n");
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
    let path = directory.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         clusters:\n- name: c\n  cluster:\n    server: {}\n    certificate-authority-data: {}\n    {more}\n\
         users:\n- name: u\n  user:\n    {user}\n",
        config.cluster_url,
        BASE64_STANDARD.encode(pem)
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
            "to the proxy: ",
        ),
        (of("ftp"), 2, "a proxy begins with http:// or socks5://"),
        (of("https"), 2, "not supported yet"),
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
    // The embedded cluster is behind none.
    let output = pfspec(&["server", "--embedded", ONE, "--proxy-url", "http://h"]).output();
    assert_eq!(said(&output.unwrap()).0, 2);
}
