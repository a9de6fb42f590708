//! Gateway and nodes for all runs: two fronts, TLS as deployed and plain, and a gateway that finds the
//! way to one of them, through a relay if a run has one, in the name of the node.

use super::Coding;
use bytes::BytesMut;
use portforward::gateway::{Backend, Config, Connected, Gateway, Leg, Rule, Store, Users};
use portforward::http1::{HeadLimits, read_request_head};
use portforward::node::{
    self, Agreed, Dial, Front, FrontConfig, NodeRefusal, PodRef, Pods, Protocol,
};
use portforward::tls::{ClientAuth, Identity, client_config, server_config};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rcgen::{ExtendedKeyUsagePurpose as Usage, KeyUsagePurpose};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub struct World {
    pub gateway: SocketAddr,
    pub plain_node: SocketAddr,
    pub tls_node: SocketAddr,
    store: Arc<Store>,
    user: TlsConnector,
    _servers: JoinSet<()>,
}

impl World {
    pub async fn start() -> Self {
        let authority = Authority::new();
        let mut servers = JoinSet::new();

        let (listener, tls_node) = listen().await;
        let identity = authority.identity("node", Usage::ServerAuth);
        let tls = server_config(identity, ClientAuth::Required(authority.roots())).unwrap();
        let front = Front::new(FrontConfig::new("gateway"), Arc::new(AnyPod));
        let session = |io, early, agreed: Agreed| serve(io, early, agreed);
        servers.spawn(async move { front.serve(listener, tls, session).await });

        let (listener, plain_node) = listen().await;
        servers.spawn(plain_front(listener));

        let (listener, gateway) = listen().await;
        let identity = authority.identity("server", Usage::ServerAuth);
        let tls = server_config(identity, ClientAuth::Optional(authority.roots())).unwrap();
        let store = Arc::new(Store::new());
        let mut users = Users::new();
        users.allow("user", Rule::forward());
        let backend = Nodes(authority.connector("gateway"));
        let mut config = Config::default();
        config.accept = config.accept.with_connections(4096, 4096);
        let server = Gateway::new(config, users, Arc::clone(&store), Arc::new(backend));
        servers.spawn(async move { server.serve(listener, tls).await });

        Self {
            gateway,
            plain_node,
            tls_node,
            store,
            user: authority.connector("user"),
            _servers: servers,
        }
    }

    /// Makes a pod on a node that is reached at `address`.
    pub fn pod(&self, name: &str, scheme: &str, address: SocketAddr) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "spec": {"nodeName": format!("{scheme}-{}", address.port())},
            "metadata": {"name": name, "namespace": "ns"},
        });
        self.store.put(pod).unwrap();
    }

    pub async fn connect_tls(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        self.user.connect(localhost(), tcp).await
    }
}

/// Nodes by names that tell how and where they are reached.
struct Nodes(TlsConnector);

impl Backend for Nodes {
    fn connect(&self, node: &str) -> Connected {
        let (scheme, port) = node.split_once('-').unwrap();
        let encrypted = scheme == "tls";
        let port: u16 = port.parse().unwrap();
        let connector = self.0.clone();
        Box::pin(async move {
            let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
            tcp.set_nodelay(true)?;
            Ok(if encrypted {
                Box::new(connector.connect(localhost(), tcp).await?) as Box<dyn Leg>
            } else {
                Box::new(tcp)
            })
        })
    }
}

struct AnyPod;

impl Pods for AnyPod {
    fn find(&self, namespace: &str, name: &str, _: Option<&str>) -> Result<PodRef, NodeRefusal> {
        Ok(PodRef::new(namespace, name, "uid"))
    }
}

/// Every port is that port of loopback.
struct Loopback;

impl Dial for Loopback {
    fn dial(
        &self,
        _: &PodRef,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>> {
        Box::pin(portforward::socket::connect(
            (Ipv4Addr::LOCALHOST, port).into(),
        ))
    }
}

async fn serve<T>(io: T, early: BytesMut, agreed: Agreed)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let never = std::future::pending();
    node::serve_with(io, early, agreed, Arc::new(Loopback), never, None).await;
}

/// A node without TLS, so that the wire can be read.
async fn plain_front(listener: TcpListener) {
    let mut tasks = JoinSet::new();
    loop {
        let (mut io, _) = listener.accept().await.unwrap();
        io.set_nodelay(true).unwrap();
        tasks.spawn(async move {
            let mut early = BytesMut::new();
            let limits = HeadLimits::default();
            let head = read_request_head(&mut io, &mut early, &limits, limits.deadline()).await;
            let Ok(head) = head else { return };
            let coding = match head.fields.get_str("sec-websocket-protocol") {
                Some(portforward::upgrade::CHANNEL_V4) => Coding::Channels,
                Some(_) => Coding::Tunnel,
                None => Coding::Spdy,
            };
            let key = head.fields.get_str("sec-websocket-key").unwrap_or_default();
            let accept = wsstream::accept_key(key).unwrap_or_default();
            let websocket = |protocol: &str| {
                format!(
                    "Upgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}"
                )
            };
            let (protocol, fields) = match coding {
                Coding::Spdy => {
                    let fields = "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io";
                    (Protocol::Spdy, fields.to_owned())
                }
                Coding::Tunnel => (Protocol::Tunnel, websocket(portforward::upgrade::TUNNEL)),
                Coding::Channels => {
                    let port = head.query().rsplit('=').next().unwrap_or_default();
                    let ports = vec![port.parse().unwrap()];
                    let protocol = Protocol::Channels(wsstream::Format::Binary, ports);
                    (protocol, websocket(portforward::upgrade::CHANNEL_V4))
                }
            };
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{fields}\r\n\r\n"
            );
            if io.write_all(answer.as_bytes()).await.is_ok() {
                let agreed = Agreed::new(PodRef::new("ns", "web", "uid"), protocol);
                serve(io, early, agreed).await;
            }
        });
        while tasks.try_join_next().is_some() {}
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

    fn identity(&self, name: &str, usage: Usage) -> Identity {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Identity::new(vec![certificate.into()], key.into())
    }

    /// Every handshake is a whole one, so that all runs have the same bytes.
    fn connector(&self, name: &str) -> TlsConnector {
        let identity = self.identity(name, Usage::ClientAuth);
        let mut config: ClientConfig = client_config(self.roots(), Some(identity)).unwrap();
        config.resumption = rustls::client::Resumption::disabled();
        TlsConnector::from(Arc::new(config))
    }
}
