//! A whole cluster in this process: gateway, node and demo pods on loopback ports, for a first
//! look, for tests, and for trying out what a forward does with each kind of end.
//!
//! Everything between the client and the pods is real: TLS with certificates made at the start,
//! the upgrade through the gateway to the node, SPDY, TCP to the pods' servers.

pub(crate) mod objects;
mod pki;
mod pods;
#[cfg(test)]
mod tests;

use crate::exit::{Exit, Failure, Hop};
use anyhow::Context as _;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use pki::Pki;
use pods::DemoPods;
use portforward::gateway::{
    self, Backend, Connected, Gateway, Kind, Leg, Rule, Store, TlsBackend, Users,
};
use portforward::node::{self, Dial, Front, FrontConfig, NodeRefusal, PodRef, Pods};
use portforward::observe::Observer;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

/// For the sessions to end in order.
const GRACE: Duration = Duration::from_secs(5);

/// A running cluster. Dropping it ends it and every forward through it.
pub(crate) struct Embedded {
    /// How to reach it as somebody who may do everything.
    pub(crate) config: kube::Config,
    /// As somebody who may look up and not forward.
    #[cfg_attr(not(test), allow(dead_code, reason = "for tests of refusals"))]
    pub(crate) viewer: kube::Config,
    /// As somebody who may `get` pods/portforward and not `create` it.
    #[cfg_attr(not(test), allow(dead_code, reason = "for tests of refusals"))]
    pub(crate) getter: kube::Config,
    /// As somebody who may `create` pods/portforward and not `get` it.
    #[cfg_attr(not(test), allow(dead_code, reason = "for tests of refusals"))]
    pub(crate) creator: kube::Config,
    /// As somebody who may nothing.
    #[cfg_attr(not(test), allow(dead_code, reason = "for tests of refusals"))]
    pub(crate) nobody: kube::Config,
    address: SocketAddr,
    pki: Pki,
    tokens: Vec<(&'static str, SecretString)>,
    store: Arc<Store>,
    strangers: Strangers,
    gateway: Gateway,
    stop: watch::Sender<bool>,
    _servers: JoinSet<()>,
}

/// Starts a cluster for this process.
pub(crate) async fn start() -> anyhow::Result<Embedded> {
    start_on(listen().await?, &[], None).await
}

/// Starts a cluster whose gateway and node somebody watches.
pub(crate) async fn start_observed(observer: Arc<dyn Observer>) -> anyhow::Result<Embedded> {
    start_on(listen().await?, &[], Some(observer)).await
}

/// Starts a cluster that is reached at `listener`, with a pod for this machine under each of the
/// names of `host_pods`.
pub(crate) async fn start_on(
    listener: TcpListener,
    host_pods: &[String],
    observer: Option<Arc<dyn Observer>>,
) -> anyhow::Result<Embedded> {
    let address = listener.local_addr()?;
    let other = Some(address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified());
    let pki = Pki::new(other).context("making certificates")?;
    let store = Arc::new(Store::new());
    for object in objects::objects(host_pods) {
        store.put(object)?;
    }
    let mut servers = JoinSet::new();
    let (stop, stopped) = watch::channel(false);

    let node = listen().await?;
    let node_address = node.local_addr()?;
    let demo = Arc::new(Runtime {
        pods: pods::start().await.context("starting the demo pods")?,
        host_pods: host_pods.to_vec(),
    });
    let front = Front::new(
        FrontConfig::new(pki::GATEWAY),
        Arc::new(OnNode(Arc::clone(&store))),
    )
    .with_observer(observer.clone());
    let node_tls = pki.node_server()?;
    let of_sessions = observer.clone();
    servers.spawn(async move {
        let session = move |io, early, pod| {
            let dialer: Arc<dyn Dial> = demo.clone();
            let mut stopped = stopped.clone();
            let stop = async move { drop(stopped.wait_for(|stop| *stop).await) };
            node::serve_with(io, early, pod, dialer, stop, of_sessions.clone())
        };
        front.serve(node, node_tls, session).await;
    });

    let strangers = Strangers::default();
    let backend = Nodes {
        own: TlsBackend::new(pki.node_client()?).with_node(
            objects::NODE,
            node_address,
            ServerName::IpAddress(Ipv4Addr::LOCALHOST.into()),
        ),
        strangers: Arc::clone(&strangers),
    };
    let mut users = Users::new();
    let mut tokens = Vec::new();
    for user in pki::USERS {
        let token = pki::random_token().context("making a token")?;
        users.add_token(token.as_str(), user);
        tokens.push((user, SecretString::from(token)));
    }
    users
        .allow("admin", Rule::look_up())
        .allow("admin", Rule::forward());
    users
        .allow("viewer", Rule::look_up())
        .allow("getter", Rule::new(["get"], ["pods/portforward"]))
        .allow("creator", Rule::new(["create"], ["pods/portforward"]));
    let config = |user: &str| -> anyhow::Result<kube::Config> {
        let mut config = kube::Config::new(format!("https://{}", here(address)).parse()?);
        objects::NAMESPACE.clone_into(&mut config.default_namespace);
        config.root_cert = Some(vec![pki.ca_der().to_vec()]);
        let token = tokens.iter().find(|(name, _)| *name == user);
        match (pki.client_pem(user), token) {
            // One of them by certificate, so that both ways are used.
            (Some((certificate, key)), _) if user == "nobody" => {
                config.auth_info.client_certificate_data =
                    Some(BASE64_STANDARD.encode(certificate));
                config.auth_info.client_key_data = Some(BASE64_STANDARD.encode(key).into());
            }
            (_, token) => config.auth_info.token = token.map(|(_, token)| token.clone()),
        }
        Ok(config)
    };
    let (admin, viewer) = (config("admin")?, config("viewer")?);
    let (getter, creator) = (config("getter")?, config("creator")?);
    let nobody = config("nobody")?;
    let gateway = Gateway::observed(
        gateway::Config::default(),
        users,
        Arc::clone(&store),
        Arc::new(backend),
        observer,
    );
    let gateway_tls = pki.gateway_server()?;
    let serving = gateway.clone();
    servers.spawn(async move { serving.serve(listener, gateway_tls).await });

    Ok(Embedded {
        config: admin,
        viewer,
        getter,
        creator,
        nobody,
        address,
        pki,
        tokens,
        store,
        strangers,
        gateway,
        stop,
        _servers: servers,
    })
}

/// Why there is no cluster, for the user.
pub(crate) fn failure(error: &anyhow::Error) -> Failure {
    let text = portforward::escape::text(&format!("{error:#}"));
    Failure::new(Exit::General, Hop::ApiServer("embedded".to_owned()), text)
}

impl Embedded {
    /// Where it is reached from this machine.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", here(self.address))
    }

    /// A kubeconfig for one of [`pki::USERS`], by certificate or by token.
    pub(crate) fn kubeconfig(&self, user: &str, by_certificate: bool) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: pf-serve\n\
             clusters:\n- name: pf-serve\n  cluster:\n    server: {}\n    \
             certificate-authority-data: {}\n\
             contexts:\n- name: pf-serve\n  context:\n    cluster: pf-serve\n    user: {user}\n    \
             namespace: {}\n\
             users:\n- name: {user}\n  user:\n",
            self.url(),
            BASE64_STANDARD.encode(self.pki.ca_pem()),
            objects::NAMESPACE,
        ));
        let fields: &[(&str, Zeroizing<String>)] = &if by_certificate {
            let (certificate, key) = self.pki.client_pem(user).unwrap_or_default();
            vec![
                (
                    "client-certificate-data",
                    Zeroizing::new(BASE64_STANDARD.encode(certificate)),
                ),
                (
                    "client-key-data",
                    Zeroizing::new(BASE64_STANDARD.encode(key)),
                ),
            ]
        } else {
            let token = self.tokens.iter().find(|(name, _)| *name == user);
            let token = token.map_or("", |(_, token)| token.expose_secret());
            vec![("token", Zeroizing::new(token.to_owned()))]
        };
        for (name, value) in fields {
            for part in ["    ", name, ": ", value, "\n"] {
                text.push_str(part);
            }
        }
        text
    }

    /// Has a new pod run on a node at `address` that somebody else plays, without TLS; the pod's name.
    pub(crate) fn stage(&self, address: SocketAddr) -> anyhow::Result<String> {
        let mut strangers = self
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let name = format!("staged-{}", strangers.len());
        self.store.put(objects::staged(&name))?;
        strangers.insert(name.clone(), address);
        Ok(name)
    }

    /// Ends every session in order, with GOAWAY, and waits until its client has it; not for long.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let ended = async {
            // It happens once, so that nothing is there to wake us.
            while self.gateway.counts().sessions > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        drop(tokio::time::timeout(GRACE, ended).await);
    }
}

/// An address that listens everywhere is no address to connect to.
fn here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn listen() -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("listening on a loopback port")
}

/// Nodes that are none of this cluster's, by name.
type Strangers = Arc<Mutex<HashMap<String, SocketAddr>>>;

/// The node of this cluster, and others.
struct Nodes {
    own: TlsBackend,
    strangers: Strangers,
}

impl Backend for Nodes {
    fn connect(&self, node: &str) -> Connected {
        let strangers = self
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match strangers.get(node).copied() {
            None => self.own.connect(node),
            Some(address) => Box::pin(async move {
                let tcp = TcpStream::connect(address).await?;
                Ok(Box::new(tcp) as Box<dyn Leg>)
            }),
        }
    }
}

/// The node's view of the pods: those that are placed on it.
struct OnNode(Arc<Store>);

impl Pods for OnNode {
    fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Result<PodRef, NodeRefusal> {
        let pod = self
            .0
            .get(Kind::Pod, namespace, name)
            .ok_or(NodeRefusal::NoPod)?;
        let text = |pointer| {
            pod.pointer(pointer)
                .and_then(|v| v.as_str())
                .unwrap_or_default()
        };
        if text("/spec/nodeName") != objects::NODE {
            return Err(NodeRefusal::NoPod);
        }
        let known = text("/metadata/uid");
        if uid.is_some_and(|uid| uid != known) {
            return Err(NodeRefusal::OtherUid);
        }
        if text("/status/phase") != "Running" {
            // As a kubelet says it of a pod that has no sandbox any more.
            return Err(NodeRefusal::Runtime(format!(
                "pod not found (\"{name}_{namespace}\")"
            )));
        }
        Ok(PodRef::new(namespace, name, known))
    }
}

/// The runtime: the same servers stand for every pod, but for those that stand for this machine.
struct Runtime {
    pods: DemoPods,
    host_pods: Vec<String>,
}

impl Dial for Runtime {
    fn dial(
        &self,
        pod: &PodRef,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>> {
        let host = self.host_pods.contains(&pod.name);
        let address = if host {
            Some((Ipv4Addr::LOCALHOST, port).into())
        } else {
            self.pods.address(port)
        };
        let sandbox = pod.uid.clone();
        Box::pin(async move {
            let cause = match address {
                Some(address) => match portforward::socket::connect(address).await {
                    // A port that nobody listens on can become both ends of its own connection.
                    Ok(stream) if stream.local_addr()? == address => {
                        "connection refused".to_owned()
                    }
                    Ok(stream) => return Ok(stream),
                    Err(error) => {
                        let text = error.to_string();
                        text.split(" (os error")
                            .next()
                            .unwrap_or_default()
                            .to_owned()
                    }
                },
                None => "connection refused".to_owned(),
            };
            // Of this machine only 127.0.0.1 is tried; of a demo pod there is nothing else to try.
            let second = if host {
                ""
            } else {
                "IPv6 dial tcp6 [::1]:PORT: connect: connection refused "
            };
            let second = second.replace("PORT", &port.to_string());
            // The words of containerd, its space at the end included (PROTOCOL.md 7.3).
            Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                format!(
                    "failed to execute portforward in network namespace \"embedded\": \
                     failed to connect to localhost:{port} inside namespace \"{sandbox}\", \
                     IPv4: dial tcp4 127.0.0.1:{port}: connect: {cause} {second}"
                ),
            ))
        })
    }
}
