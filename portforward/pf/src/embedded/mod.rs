//! A whole cluster in this process: gateway, node and demo pods on loopback ports, for a first
//! look, for tests, and for trying out what a forward does with each kind of end.
//!
//! Everything between the client and the pods is real: TLS with certificates made at the start,
//! the upgrade through the gateway to the node, SPDY, TCP to the pods' servers.

mod objects;
mod pki;
mod pods;
#[cfg(test)]
mod tests;

use anyhow::Context as _;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use pki::Pki;
use pods::DemoPods;
use portforward::gateway::{self, Gateway, Kind, Rule, Store, TlsBackend, Users};
use portforward::node::{self, Dial, Front, FrontConfig, NodeRefusal, PodRef, Pods};
use portforward::observe::Observer;
use rustls::pki_types::ServerName;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A running cluster. Dropping it ends it and every forward through it.
pub(crate) struct Embedded {
    /// How to reach it as somebody who may do everything.
    pub(crate) config: kube::Config,
    /// As somebody who may look up and not forward.
    #[cfg_attr(not(test), allow(dead_code, reason = "for tests of refusals"))]
    pub(crate) viewer: kube::Config,
    /// As somebody who may nothing.
    #[cfg_attr(not(test), allow(dead_code, reason = "for tests of refusals"))]
    pub(crate) nobody: kube::Config,
    _servers: JoinSet<()>,
}

/// Starts a cluster.
pub(crate) async fn start() -> anyhow::Result<Embedded> {
    start_observed(None).await
}

/// Starts a cluster whose gateway and node somebody watches.
pub(crate) async fn start_observed(
    observer: Option<Arc<dyn Observer>>,
) -> anyhow::Result<Embedded> {
    let pki = Pki::new().context("making certificates")?;
    let store = Arc::new(Store::new());
    for object in objects::objects() {
        store.put(object)?;
    }
    let mut servers = JoinSet::new();

    let node = listen().await?;
    let node_address = node.local_addr()?;
    let demo = Arc::new(Runtime {
        pods: pods::start().await.context("starting the demo pods")?,
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
            node::serve_observed(io, early, pod, dialer, of_sessions.clone())
        };
        front.serve(node, node_tls, session).await;
    });

    let listener = listen().await?;
    let address = listener.local_addr()?;
    let backend = TlsBackend::new(pki.node_client()?).with_node(
        objects::NODE,
        node_address,
        ServerName::IpAddress(Ipv4Addr::LOCALHOST.into()),
    );
    let mut users = Users::new();
    let mut config = |user: &'static str| -> anyhow::Result<kube::Config> {
        let mut config = kube::Config::new(format!("https://{address}").parse()?);
        objects::NAMESPACE.clone_into(&mut config.default_namespace);
        config.root_cert = Some(vec![pki.ca_der().to_vec()]);
        if let Some((certificate, key)) = pki.client_pem(user) {
            config.auth_info.client_certificate_data = Some(BASE64_STANDARD.encode(certificate));
            config.auth_info.client_key_data = Some(BASE64_STANDARD.encode(key).into());
        } else {
            let token = pki::random_token().context("making a token")?;
            users.add_token(token.as_str(), user);
            config.auth_info.token = Some(token.into());
        }
        Ok(config)
    };
    let (admin, viewer, nobody) = (config("admin")?, config("viewer")?, config("nobody")?);
    users
        .allow("admin", Rule::look_up())
        .allow("admin", Rule::forward());
    users.allow("viewer", Rule::look_up());
    let gateway = Gateway::observed(
        gateway::Config::default(),
        users,
        store,
        Arc::new(backend),
        observer,
    );
    let gateway_tls = pki.gateway_server()?;
    servers.spawn(async move { gateway.serve(listener, gateway_tls).await });

    Ok(Embedded {
        config: admin,
        viewer,
        nobody,
        _servers: servers,
    })
}

async fn listen() -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("listening on a loopback port")
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

/// The runtime: the same servers stand for every pod.
struct Runtime {
    pods: DemoPods,
}

impl Dial for Runtime {
    fn dial(
        &self,
        pod: &PodRef,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>> {
        let address = self.pods.address(port);
        let sandbox = pod.uid.clone();
        Box::pin(async move {
            let cause = match address {
                Some(address) => match TcpStream::connect(address).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => error.to_string(),
                },
                None => "connection refused".to_owned(),
            };
            // The words of containerd, its space at the end included (PROTOCOL.md 7.3).
            Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                format!(
                    "failed to execute portforward in network namespace \"embedded\": \
                     failed to connect to localhost:{port} inside namespace \"{sandbox}\", \
                     IPv4: dial tcp4 127.0.0.1:{port}: connect: {cause} \
                     IPv6 dial tcp6 [::1]:{port}: connect: connection refused "
                ),
            ))
        })
    }
}
