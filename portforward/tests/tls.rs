//! Gateway and node over real sockets and TLS: who may come in, and what an end looks like.
#![cfg(all(feature = "gateway", feature = "node"))]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests: a panic is the verdict"
)]

use bytes::BytesMut;
use portforward::client::Forwarder;
use portforward::gateway::{Config, Gateway, Rule, Store, TlsBackend, Users};
use portforward::node::{self, Agreed, Dial, Front, FrontConfig, NodeRefusal, PodRef, Pods};
use portforward::server::AcceptLimits;
use portforward::session;
use portforward::tls::{ALPN, ClientAuth, Identity, client_config, server_config};
use portforward::upgrade::{UpgradeError, UpgradeRequest, Upgraded, spdy};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rcgen::{ExtendedKeyUsagePurpose as Usage, KeyUsagePurpose};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::json;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientTls;
use tokio_rustls::server::TlsStream as ServerTls;

const SOON: Duration = Duration::from_secs(10);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }

    fn identity(&self, names: &[&str], usage: Usage) -> Identity {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity::new(
            vec![certificate.into()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
    }
}

struct Echo(SocketAddr);

impl Dial for Echo {
    fn dial(
        &self,
        _: &PodRef,
        _: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>> {
        Box::pin(TcpStream::connect(self.0))
    }
}

struct AnyPod;

impl Pods for AnyPod {
    fn find(&self, namespace: &str, name: &str, _: Option<&str>) -> Result<PodRef, NodeRefusal> {
        Ok(PodRef::new(namespace, name, "uid"))
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn localhost() -> ServerName<'static> {
    ServerName::IpAddress(Ipv4Addr::LOCALHOST.into())
}

/// A gateway in front of a node that runs `session` on each upgraded connection.
struct Path {
    _node_server: JoinSet<()>,
    gateway_server: JoinSet<()>,
    gateway: SocketAddr,
    node: SocketAddr,
    authority: Authority,
}

impl Path {
    async fn new<F, Fut>(session: F) -> Self
    where
        F: Fn(ServerTls<TcpStream>, BytesMut, Agreed) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::with_limits(AcceptLimits::default(), session).await
    }

    async fn with_limits<F, Fut>(accept: AcceptLimits, session: F) -> Self
    where
        F: Fn(ServerTls<TcpStream>, BytesMut, Agreed) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let authority = Authority::new();
        let mut node_server = JoinSet::new();
        let (listener, node) = listen().await;
        let tls = server_config(
            authority.identity(&["node"], Usage::ServerAuth),
            ClientAuth::Required(authority.roots()),
        )
        .unwrap();
        let front = Front::new(FrontConfig::new("gateway"), Arc::new(AnyPod));
        node_server.spawn(async move { front.serve(listener, tls, session).await });

        let identity = authority.identity(&["gateway"], Usage::ClientAuth);
        let config = client_config(authority.roots(), Some(identity)).unwrap();
        let backend = TlsBackend::new(config).with_node("node-1", node, localhost());
        let (listener, gateway) = listen().await;
        let tls = server_config(
            authority.identity(&["server"], Usage::ServerAuth),
            ClientAuth::Optional(authority.roots()),
        )
        .unwrap();
        let store = Store::new();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": "node-1"},
            "metadata": {"name": "web", "namespace": "ns"},
        });
        store.put(pod).unwrap();
        let mut users = Users::new();
        users.allow("user", Rule::forward());
        let mut config = Config::default();
        config.accept = accept;
        let mut gateway_server = JoinSet::new();
        let server = Gateway::new(config, users, Arc::new(store), Arc::new(backend));
        gateway_server.spawn(async move { server.serve(listener, tls).await });
        Self {
            _node_server: node_server,
            gateway_server,
            gateway,
            node,
            authority,
        }
    }

    fn user(&self) -> ClientConfig {
        let identity = self.authority.identity(&["user"], Usage::ClientAuth);
        client_config(self.authority.roots(), Some(identity)).unwrap()
    }

    async fn upgrade(&self) -> Result<Upgraded<ClientTls<TcpStream>>, UpgradeError> {
        let io = connect(self.gateway, self.user()).await.unwrap();
        let path = "/api/v1/namespaces/ns/pods/web/portforward";
        spdy(io, &UpgradeRequest::new(path, "gateway")).await
    }
}

async fn connect(to: SocketAddr, config: ClientConfig) -> io::Result<ClientTls<TcpStream>> {
    let tcp = TcpStream::connect(to).await?;
    TlsConnector::from(Arc::new(config))
        .connect(localhost(), tcp)
        .await
}

#[tokio::test]
async fn a_forward_through_all_three() {
    let (listener, echo) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = io.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    let dialer: Arc<dyn Dial> = Arc::new(Echo(echo));
    let path = Path::new(move |io, early, agreed: Agreed| {
        node::serve(io, early, agreed.pod, dialer.clone())
    })
    .await;
    let upgraded = path.upgrade().await.unwrap();
    let (session, driver) =
        session::client(upgraded.io, upgraded.early, session::Config::default()).unwrap();
    tokio::spawn(driver);
    let forwarder = Forwarder::new(session);
    let (listener, address) = listen().await;
    let mut local = TcpStream::connect(address).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let forward = tokio::spawn(async move { forwarder.forward(accepted, 80).await });
    local.write_all(b"there and back").await.unwrap();
    local.shutdown().await.unwrap();
    let mut all = String::new();
    local.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "there and back");
    let summary = forward.await.unwrap().unwrap();
    assert_eq!((summary.sent, summary.received), (14, 14));
}

/// T23: none of these gets further than a TLS alert or a 401.
#[tokio::test]
async fn nobody_but_the_gateway_reaches_the_node() {
    let path = Path::new(|_, _, _| async { panic!("a session") }).await;
    let other = Authority::new();
    let authority = &path.authority;
    let identities = [
        ("no certificate", None),
        (
            "another authority",
            Some(other.identity(&["gateway"], Usage::ClientAuth)),
        ),
        (
            "a server's",
            Some(authority.identity(&["gateway"], Usage::ServerAuth)),
        ),
        (
            "a user's",
            Some(authority.identity(&["user"], Usage::ClientAuth)),
        ),
        (
            "another case",
            Some(authority.identity(&["Gateway"], Usage::ClientAuth)),
        ),
        (
            "a longer name",
            Some(authority.identity(&["gateway.evil"], Usage::ClientAuth)),
        ),
        ("no name", Some(authority.identity(&[], Usage::ClientAuth))),
        (
            "an empty name",
            Some(authority.identity(&[""], Usage::ClientAuth)),
        ),
    ];
    for (label, identity) in identities {
        let config = client_config(authority.roots(), identity).unwrap();
        // With TLS 1.3 a client learns of its refusal with its first read only.
        let answer = async {
            let mut io = connect(path.node, config).await?;
            let request = "POST /portForward/ns/web HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n";
            io.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            io.read_to_string(&mut answer).await?;
            io::Result::Ok(answer)
        };
        match tokio::time::timeout(SOON, answer).await.unwrap() {
            Ok(answer) => assert!(
                answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"),
                "{label}: {answer}"
            ),
            Err(error) => assert!(error.to_string().contains("alert"), "{label}: {error}"),
        }
    }
}

#[tokio::test]
async fn http_2_is_not_offered() {
    let path = Path::new(|_, _, _| async {}).await;
    let mut config = path.user();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let error = connect(path.gateway, config.clone()).await.unwrap_err();
    assert!(
        error.to_string().contains("NoApplicationProtocol"),
        "{error}"
    );
    config.alpn_protocols = vec![b"h2".to_vec(), ALPN.to_vec()];
    let io = connect(path.gateway, config).await.unwrap();
    assert_eq!(io.get_ref().1.alpn_protocol(), Some(ALPN));
}

/// What a client reads up to the end of its connection.
async fn to_the_end(io: &mut ClientTls<TcpStream>) -> (String, io::Result<()>) {
    let mut all = Vec::new();
    let result = tokio::time::timeout(SOON, io.read_to_end(&mut all))
        .await
        .unwrap();
    (String::from_utf8(all).unwrap(), result.map(drop))
}

/// T35: an end that is none never looks like one.
#[tokio::test]
async fn a_cut_node_resets_the_client() {
    // Once as a node that is killed (the kernel closes its socket), once with a reset.
    for reset in [false, true] {
        let path = Path::new(move |mut io, _, _| async move {
            io.write_all(b"half a fra").await.unwrap();
            io.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            if reset {
                let linger = Some(Duration::ZERO);
                socket2::SockRef::from(io.get_ref().0)
                    .set_linger(linger)
                    .unwrap();
            }
        })
        .await;
        let mut upgraded = path.upgrade().await.unwrap();
        let (all, end) = to_the_end(&mut upgraded.io).await;
        let all = format!("{}{all}", String::from_utf8_lossy(&upgraded.early));
        assert_eq!(all, "half a fra");
        assert_eq!(
            end.unwrap_err().kind(),
            io::ErrorKind::ConnectionReset,
            "{reset}"
        );
    }
}

#[tokio::test]
async fn a_clean_end_of_the_node_stays_clean() {
    let path = Path::new(|mut io, _, _| async move {
        io.write_all(b"last words").await.unwrap();
        io.shutdown().await.unwrap();
        drop(io.read_to_end(&mut Vec::new()).await);
    })
    .await;
    let mut upgraded = path.upgrade().await.unwrap();
    let (all, end) = to_the_end(&mut upgraded.io).await;
    let all = format!("{}{all}", String::from_utf8_lossy(&upgraded.early));
    assert_eq!(all, "last words");
    end.unwrap();
}

/// F19: a gateway that goes away resets what it carried.
#[tokio::test]
async fn a_gateway_that_goes_resets_both() {
    let (seen, mut node) = tokio::sync::mpsc::unbounded_channel();
    let mut path = Path::new(move |mut io: ServerTls<TcpStream>, _, _| {
        let seen = seen.clone();
        async move {
            let end = io.read_to_end(&mut Vec::new()).await;
            seen.send(end.map_err(|e| e.kind())).unwrap();
        }
    })
    .await;
    let mut upgraded = path.upgrade().await.unwrap();
    path.gateway_server.abort_all();
    let (_, end) = to_the_end(&mut upgraded.io).await;
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let end = tokio::time::timeout(SOON, node.recv()).await.unwrap();
    assert_eq!(end, Some(Err(io::ErrorKind::ConnectionReset)));
}

/// B24, T34: connections that say nothing are bounded in number and time, and keep nobody else out
/// for longer than that.
#[tokio::test]
async fn silent_connections_are_few_and_short() {
    let limits = AcceptLimits::default()
        .with_connections(8, 4)
        .with_time(Duration::from_secs(1));
    let path = Path::with_limits(limits, |_, _, _| async {}).await;
    let mut silent = Vec::new();
    let begun = Instant::now();
    for _ in 0..20 {
        silent.push(TcpStream::connect(path.gateway).await.unwrap());
    }
    // The newest, above the limit, are closed at once, the others in time.
    let mut ends = Vec::new();
    for mut io in silent.into_iter().rev() {
        drop(
            tokio::time::timeout(SOON, io.read(&mut [0; 16]))
                .await
                .unwrap(),
        );
        ends.push(begun.elapsed());
    }
    let at_once = ends
        .iter()
        .filter(|t| **t < Duration::from_millis(900))
        .count();
    assert!(ends.iter().all(|t| *t < Duration::from_secs(3)), "{ends:?}");
    assert!((12..20).contains(&at_once), "{ends:?}");
    path.upgrade().await.unwrap();
}

/// Unused certificates and keys do not show.
#[test]
fn identities_do_not_show() {
    let authority = Authority::new();
    let identity = authority.identity(&["x"], Usage::ClientAuth);
    assert_eq!(format!("{identity:?}"), "Identity { chain: 1, .. }");
    let config: Result<ServerConfig, _> = server_config(
        identity,
        ClientAuth::Optional(Arc::new(RootCertStore::empty())),
    );
    assert!(config.is_err(), "no root to check clients against");
}
