//! A runtime's streaming server. Its URLs serve once, so each connection has one of its own.

use super::cri::Cri;
use super::endpoint::{Asked, Route};
use super::options::{self, BadUse, Describe, Tls};
use super::server::ServerArgs;
use super::{NoPlace, Place, Placing, Reach, Target, Who, finish, url_cmd};
use crate::case::Role;
use crate::profile::{Profile, streaming_server};
use crate::report::one_line;
use anyhow::{Context as _, bail};

/// A runtime's streaming server.
#[derive(Debug, Clone, clap::Args)]
pub struct RuntimeArgs {
    /// A URL that serves more than once, as no runtime's does: http(s)://HOST:PORT/PATH
    pub url: Option<String>,
    /// The runtime's CRI, which is asked for a URL for each connection: unix:///run/containerd/containerd.sock
    #[arg(long, value_name = "SOCKET")]
    pub cri: Option<String>,
    /// With --cri: the sandbox, by its whole id
    #[arg(long, value_name = "ID", requires = "cri", conflicts_with = "pod")]
    pub sandbox: Option<String>,
    /// With --cri: the sandbox, by its pod
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "cri", value_parser = options::pod)]
    pub pod: Option<(String, String)>,
    /// A shell command that prints a fresh URL; PFSPEC_PORTS has the ports of channels, with commas
    #[arg(long, value_name = "COMMAND", conflicts_with = "cri")]
    pub url_cmd: Option<String>,
    /// TLS and credentials.
    #[command(flatten)]
    pub tls: Tls,
    /// What is behind it.
    #[command(flatten)]
    pub describe: Describe,
}

impl RuntimeArgs {
    /// Makes it the target.
    ///
    /// # Errors
    /// A flag or a file that cannot be used, a CRI that does not answer, a pod that it does not have.
    pub async fn open(&self, minor: Option<u16>) -> anyhow::Result<Target> {
        self.open_as(minor.map(Profile::Kubernetes)).await
    }

    /// The same; with the profile `runtime` the version is that of the CRI's runtime, where it is known.
    ///
    /// # Errors
    /// As [`RuntimeArgs::open`].
    pub(super) async fn open_as(&self, profile: Option<Profile>) -> anyhow::Result<Target> {
        let mut minor = profile.and_then(Profile::minor);
        let (name, source) = match (&self.url, &self.cri, &self.url_cmd) {
            (Some(url), None, None) => {
                let server = ServerArgs {
                    url: Some(url.clone()),
                    embedded: false,
                    role: Some(Role::Runtime),
                    tls: self.tls.clone(),
                    describe: self.describe.clone(),
                };
                return server.open(minor).await;
            }
            (None, Some(address), None) => {
                let cri = Cri::at(address)?;
                let version = cri.version().await?;
                if profile == Some(Profile::Runtime) {
                    minor = streaming_server(&version.runtime_name, &version.runtime_version);
                }
                let (sandbox, of) = match (&self.sandbox, &self.pod) {
                    (Some(id), _) => (id.clone(), format!("sandbox {id}")),
                    (None, Some((namespace, pod))) => {
                        let id = cri.sandbox_of(namespace, pod).await?;
                        (id, format!("pod {namespace}/{pod}"))
                    }
                    (None, None) => {
                        let text = "--cri needs --pod NAMESPACE/NAME or --sandbox ID";
                        bail!(BadUse(text.to_owned()));
                    }
                };
                (format!("{version}, {of}"), Source::Cri(cri, sandbox))
            }
            (None, None, Some(command)) => (
                "runtime by --url-cmd".to_owned(),
                Source::Command(command.clone()),
            ),
            _ => {
                let text = "one of a URL, --cri and --url-cmd is needed, and no more than one";
                bail!(BadUse(text.to_owned()));
            }
        };
        let runtime = Runtime {
            source,
            route: self.tls.route(http::Uri::from_static("http://unset"))?,
        };
        Ok(finish(
            name,
            Role::Runtime,
            minor,
            &self.describe,
            Box::new(runtime),
        )
        .await)
    }

    /// As the command line says it.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = vec!["runtime".to_owned()];
        words.extend(self.url.as_deref().map(options::shown));
        words.extend(options::flagged("--cri", self.cri.as_ref()));
        words.extend(options::flagged("--sandbox", self.sandbox.as_ref()));
        let pod = self.pod.as_ref();
        let pod = pod.map(|(namespace, pod)| format!("{namespace}/{pod}"));
        words.extend(options::flagged("--pod", pod));
        // It may well hold a token.
        let command = self.url_cmd.as_ref().map(|_| "...");
        words.extend(options::flagged("--url-cmd", command));
        words.extend(self.tls.words());
        words.extend(self.describe.words());
        words
    }
}

enum Source {
    Cri(Cri, String),
    Command(String),
}

impl Source {
    async fn url(&self, ports: &[u16]) -> anyhow::Result<String> {
        match self {
            Self::Cri(cri, sandbox) => cri.port_forward(sandbox, ports).await,
            Self::Command(command) => url_cmd::printed(command, ports, url_cmd::PATIENCE).await,
        }
    }
}

struct Runtime {
    source: Source,
    /// Of its URLs, but for where they lead.
    route: Route,
}

impl Runtime {
    async fn connect(&self, asked: Asked, ports: &[u16]) -> Result<Place, NoPlace> {
        let elsewhere = |error: anyhow::Error| NoPlace::Elsewhere(one_line(&format!("{error:#}")));
        let url = self.source.url(ports).await.map_err(elsewhere)?;
        let (origin, path) = options::url(&url)
            .context("the URL that was given out")
            .map_err(elsewhere)?;
        let mut route = self.route.clone();
        route.config.cluster_url = origin;
        route.connect(&path, asked).await
    }
}

impl Reach for Runtime {
    fn place(&self, who: Who) -> Placing<'_> {
        Box::pin(self.connect(Asked::by(who), &[]))
    }

    fn place_for(&self, who: Who, ports: &[u16]) -> Placing<'_> {
        let ports = ports.to_vec();
        Box::pin(async move { self.connect(Asked::by(who), &ports).await })
    }

    fn place_with_alpn(&self, protocols: &[&[u8]]) -> Placing<'_> {
        Box::pin(self.connect(Asked::offering(protocols), &[]))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_cri() {
        let text = Cri::at("run/x.sock").unwrap_err().to_string();
        assert!(text.contains("unix:///PATH"), "{text}");
        let cri = Cri::at("unix:///no/such.sock").unwrap();
        let text = cri.version().await.unwrap_err().to_string();
        assert!(
            text.contains("cannot reach the CRI at /no/such.sock: No such file"),
            "{text}"
        );
    }
}
