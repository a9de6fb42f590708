//! Ways to a cluster, for `pfspec`: kubeconfig, credentials and TLS as `pf` has them, and the embedded
//! cluster.

pub use crate::config::{Proxies, Selection as Choice};
use crate::dial::{self, Dialled, Offer, Wire};
use crate::embedded::{self, Embedded, objects};
use crate::exit::Failure;
use crate::output::Output;
use crate::proxy::rest;
pub use crate::proxy::{ProxyUrl, named_port};
use crate::{config, kubeconfig};
use rustls::KeyLog;
use std::fmt;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection as a judge needs it: bytes in and out.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Why there is no cluster, or no way to it. What `Display` gives is for the user.
#[derive(Debug)]
pub struct Unreachable {
    text: String,
    code: u8,
    stage: Stage,
}

/// How far a connection came before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Nothing was asked of the server: configuration, credentials, looking up its name, files and ports of this process.
    Local,
    /// TCP.
    Tcp,
    /// TLS, on a TCP connection.
    Tls,
}

impl Unreachable {
    /// How far it came.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The exit code of `pf` for it: 1 general, 2 usage, 3 credentials.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text.trim_start_matches("error: ");
        f.write_str(text.trim_start_matches("error upgrading connection: "))
    }
}

impl std::error::Error for Unreachable {}

impl From<Failure> for Unreachable {
    fn from(failure: Failure) -> Self {
        Self {
            text: failure.to_string(),
            code: failure.exit as u8,
            stage: Stage::Local,
        }
    }
}

/// Reads the configuration as `pf` does; credential plugins are run.
///
/// # Errors
/// Code 2 for a bad configuration, 3 for a plugin that gives nothing.
pub async fn load(choice: &Choice) -> Result<kube::Config, Unreachable> {
    let output = Output::new(0).map_err(|error| Unreachable {
        text: error.to_string(),
        code: 1,
        stage: Stage::Local,
    })?;
    Ok(config::load(choice, &output).await?)
}

/// The text of a token file or another small file with a secret, at most 1 MiB.
///
/// # Errors
/// The file's own.
pub fn read_secret(file: &std::path::Path) -> std::io::Result<zeroize::Zeroizing<String>> {
    kubeconfig::read_text(file)
}

/// A client for the API of the server, through the proxy of the configuration if it has one.
///
/// # Errors
/// Code 2 if certificates, keys or the proxy of the configuration are no good.
pub fn client(config: kube::Config) -> Result<kube::Client, Unreachable> {
    Ok(rest::client(config)?)
}

/// TCP and, for `https`, TLS with these protocols in ALPN, `http/1.1` alone unless given; with that on which both
/// agreed. Through the proxy of the configuration if it has one. `keys` hears of the keys of TLS.
///
/// # Errors
/// What failed, of name, TCP, TLS. What a proxy says is no fault of the server: [`Stage::Local`].
pub async fn connect(
    config: &kube::Config,
    protocols: Option<Vec<Vec<u8>>>,
    keys: Option<Arc<dyn KeyLog>>,
) -> Result<(Box<dyn Io>, Option<Vec<u8>>), Unreachable> {
    let mut offer = Offer {
        keys,
        ..Offer::default()
    };
    if let Some(protocols) = protocols {
        offer.alpn = protocols;
    }
    Ok(match dial(config, offer).await? {
        Wire::Plain(io) => (Box::new(io), None),
        Wire::Tls(io) => {
            let (_, tls) = io.get_ref();
            let agreed = tls.alpn_protocol().map(<[u8]>::to_vec);
            (io, agreed)
        }
    })
}

async fn dial(config: &kube::Config, offer: Offer) -> Result<Wire, Unreachable> {
    let mut stage = Stage::Local;
    let mut tell = |dialled| {
        stage = match dialled {
            Dialled::Address => Stage::Tcp,
            Dialled::Tcp(_) | Dialled::Tls => Stage::Tls,
            Dialled::Exhausted => Stage::Local,
        };
    };
    let dialled = dial::connect_offering(config, offer, &mut tell).await;
    dialled.map_err(|failure| Unreachable {
        stage,
        ..failure.into()
    })
}

/// The head fields that say who we are, names in lower case. Their values are secrets.
///
/// # Errors
/// Code 3 if there are no credentials to be had.
pub async fn credentials(config: &kube::Config) -> Result<Vec<(String, Vec<u8>)>, Unreachable> {
    Ok(dial::fields(config).await?)
}

/// Path of a pod's port-forward request.
#[must_use]
pub fn path(config: &kube::Config, namespace: &str, pod: &str) -> String {
    dial::path(config, namespace, pod)
}

/// A cluster in this process: gateway, node, demo pods. Dropping it ends it.
pub struct Demo(Embedded);

impl fmt::Debug for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Demo").field(&self.0.url()).finish()
    }
}

impl Demo {
    /// Namespace of its pods.
    pub const NAMESPACE: &'static str = objects::NAMESPACE;
    /// A pod that runs.
    pub const POD: &'static str = "web";

    /// Starts it on a loopback port.
    ///
    /// # Errors
    /// If there is no port, or no certificate could be made.
    pub async fn start() -> Result<Self, Unreachable> {
        let started = embedded::start().await;
        Ok(Self(started.map_err(|error| embedded::failure(&error))?))
    }

    /// Somebody who may do everything.
    #[must_use]
    pub fn admin(&self) -> &kube::Config {
        &self.0.config
    }

    /// Somebody who may look up and not forward.
    #[must_use]
    pub fn viewer(&self) -> &kube::Config {
        &self.0.viewer
    }

    /// Somebody who may `get` pods/portforward and not `create` it.
    #[must_use]
    pub fn getter(&self) -> &kube::Config {
        &self.0.getter
    }

    /// Somebody who may `create` pods/portforward and not `get` it.
    #[must_use]
    pub fn creator(&self) -> &kube::Config {
        &self.0.creator
    }

    /// Somebody who may nothing.
    #[must_use]
    pub fn nobody(&self) -> &kube::Config {
        &self.0.nobody
    }

    /// Has a new pod run on a node at `address`, which the caller plays, without TLS; the pod's name.
    ///
    /// # Errors
    /// None that a caller can bring about.
    pub fn stage(&self, address: std::net::SocketAddr) -> Result<String, Unreachable> {
        let staged = self.0.stage(address);
        Ok(staged.map_err(|error| embedded::failure(&error))?)
    }

    /// Ends every session in order.
    pub async fn stop(&self) {
        self.0.stop().await;
    }
}
