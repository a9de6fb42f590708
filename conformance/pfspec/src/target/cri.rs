//! The three calls of the CRI (`runtime.v1.RuntimeService`) that a judge needs, over a Unix socket.
//!
//! The messages are written by hand, with the fields that are used: protobuf skips the others.

use super::options::BadUse;
use anyhow::{Context as _, bail};
use prost::Message;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// For one call.
const PATIENCE: Duration = Duration::from_secs(10);

/// A message without fields that are used.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Empty {}

/// `VersionResponse`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Version {
    /// `containerd`
    #[prost(string, tag = "2")]
    pub runtime_name: String,
    /// `v2.3.7`
    #[prost(string, tag = "3")]
    pub runtime_version: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.runtime_name, self.runtime_version)
    }
}

/// `ListPodSandboxResponse`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Sandboxes {
    /// In no order.
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<Sandbox>,
}

/// `PodSandbox`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Sandbox {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Of which pod.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<Metadata>,
    /// 0 if it is ready.
    #[prost(int32, tag = "3")]
    pub state: i32,
    /// Nanoseconds.
    #[prost(int64, tag = "4")]
    pub created_at: i64,
}

/// `PodSandboxMetadata`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Metadata {
    /// Of the pod.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Of the pod.
    #[prost(string, tag = "3")]
    pub namespace: String,
}

/// `PortForwardRequest`
#[derive(Clone, PartialEq, Message)]
pub(super) struct PortForward {
    /// In which sandbox.
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
    /// For channels; none for SPDY, whose streams name them.
    #[prost(int32, repeated, tag = "2")]
    pub port: Vec<i32>,
}

/// `PortForwardResponse`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Url {
    /// Serves once, within a minute.
    #[prost(string, tag = "1")]
    pub url: String,
}

/// A runtime's CRI.
#[derive(Debug, Clone)]
pub(super) struct Cri {
    socket: PathBuf,
    channel: Channel,
}

impl Cri {
    /// Takes `unix:///path` or a path. Nothing is connected before the first call.
    pub(super) fn at(address: &str) -> anyhow::Result<Self> {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        if !Path::new(path).is_absolute() {
            bail!(BadUse(format!(
                "--cri {address:?}: expected unix:///PATH, e.g. unix:///run/containerd/containerd.sock"
            )));
        }
        let socket = PathBuf::from(path);
        // The host of the URL means nothing on a Unix socket.
        let endpoint = Endpoint::from_static("http://localhost").timeout(PATIENCE);
        Ok(Self {
            channel: lazily(&endpoint, socket.clone()),
            socket,
        })
    }

    /// Name and version of the runtime.
    pub(super) async fn version(&self) -> anyhow::Result<Version> {
        self.call("Version", Empty {}).await
    }

    /// The newest ready sandbox of a pod, as a kubelet would take it.
    pub(super) async fn sandbox_of(&self, namespace: &str, pod: &str) -> anyhow::Result<String> {
        let all: Sandboxes = self.call("ListPodSandbox", Empty {}).await?;
        let of_pod = |sandbox: &&Sandbox| {
            let metadata = sandbox.metadata.as_ref();
            metadata.is_some_and(|m| m.namespace == namespace && m.name == pod)
        };
        let count = all.items.len();
        let found: Vec<&Sandbox> = all.items.iter().filter(of_pod).collect();
        let ready = found.iter().filter(|sandbox| sandbox.state == 0);
        match ready.max_by_key(|sandbox| sandbox.created_at) {
            Some(sandbox) => Ok(sandbox.id.clone()),
            None if found.is_empty() => {
                bail!(
                    "the runtime has no sandbox of pod {namespace}/{pod}, but {count} of others: is this its node?"
                )
            }
            None => bail!("no sandbox of pod {namespace}/{pod} is ready"),
        }
    }

    /// A fresh URL.
    pub(super) async fn port_forward(
        &self,
        sandbox: &str,
        ports: &[u16],
    ) -> anyhow::Result<String> {
        let request = PortForward {
            pod_sandbox_id: sandbox.to_owned(),
            port: ports.iter().copied().map(i32::from).collect(),
        };
        let answer: Url = self.call("PortForward", request).await?;
        Ok(answer.url)
    }

    async fn call<Q, A>(&self, method: &str, request: Q) -> anyhow::Result<A>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let what = || format!("CRI {} at {}", method, self.socket.display());
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        let path = format!("/runtime.v1.RuntimeService/{method}");
        let path = path.parse().with_context(what)?;
        let ready = tokio::time::timeout(PATIENCE, client.ready()).await;
        let ready = ready.context("no connection in time").with_context(what)?;
        ready.map_err(|error| self.unreachable(&error))?;
        let codec = tonic_prost::ProstCodec::default();
        let answer = client.unary(tonic::Request::new(request), path, codec);
        match answer.await {
            Ok(answer) => Ok(answer.into_inner()),
            // What happened below gRPC is in the source, and no word of it in the status.
            Err(status) => match std::error::Error::source(&status) {
                Some(source) => Err(self.unreachable(source)),
                None => bail!("{}: {:?}: {}", what(), status.code(), status.message()),
            },
        }
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> anyhow::Error {
        let mut root = error;
        while let Some(source) = root.source() {
            root = source;
        }
        anyhow::anyhow!(
            "cannot reach the CRI at {}: {root}; it needs the right to connect to this socket, on the node, most often as root",
            self.socket.display()
        )
    }
}

#[cfg(unix)]
fn lazily(endpoint: &Endpoint, socket: PathBuf) -> Channel {
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
        let socket = socket.clone();
        async move {
            let io = tokio::net::UnixStream::connect(socket).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(io))
        }
    }))
}

#[cfg(not(unix))]
fn lazily(endpoint: &Endpoint, _socket: PathBuf) -> Channel {
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_| async move {
        let text = "the CRI is reached over a Unix socket, which this system has not";
        Err::<hyper_util::rt::TokioIo<tokio::net::TcpStream>, _>(std::io::Error::new(
            std::io::ErrorKind::Unsupported,
            text,
        ))
    }))
}
