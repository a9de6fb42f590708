//! The real cluster that `cluster/up` starts: where its kubeconfigs and its kubectl are.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;

use crate::{cache, skip};

/// A real cluster that answers.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    server: SocketAddr,
}

impl Cluster {
    /// The cluster of `PF_CLUSTER_DIR` (default: `$HOME/.cache/pf-cluster`), if it is up. `None`, said
    /// loudly, if it is not; an error instead where `CI` or `PF_REQUIRE_CLUSTER=1` asks for it.
    pub fn find(test: &str) -> anyhow::Result<Option<Self>> {
        let why = match Self::look() {
            Ok(cluster) => return Ok(Some(cluster)),
            Err(why) => why.context("no cluster"),
        };
        let remedy = "start it with conformance/cluster/up";
        skip(test, "PF_REQUIRE_CLUSTER", &why, remedy).map(|()| None)
    }

    fn look() -> anyhow::Result<Self> {
        let directory = directory()?;
        let file = directory.join("kube/admin.yaml");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let server = server_of(&text).with_context(|| file.display().to_string())?;
        TcpStream::connect_timeout(&server, Duration::from_secs(2))
            .with_context(|| format!("API server {server}"))?;
        Ok(Self { directory, server })
    }

    /// The kubeconfig of a user: `forwarder`, `viewer`, `forwarder-token`, ...
    #[must_use]
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.directory.join("kube").join(format!("{user}.yaml"))
    }

    /// A user's kubeconfig as text, with the API server at another address.
    pub fn kubeconfig_via(&self, user: &str, server: SocketAddr) -> anyhow::Result<String> {
        let file = self.kubeconfig(user);
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Ok(text.replace(
            &format!("https://{}", self.server),
            &format!("https://{server}"),
        ))
    }

    /// The address of the API server.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// The real kubectl, of the newest version built.
    #[must_use]
    pub fn kubectl(&self) -> Option<PathBuf> {
        let versions = ["k8s-1.37", "k8s-1.30"];
        let path = |version: &&str| self.directory.join("bin").join(version).join("kubectl");
        versions.iter().map(path).find(|path| path.is_file())
    }
}

/// Where the cluster and its programs are, built or not.
pub fn directory() -> anyhow::Result<PathBuf> {
    cache("PF_CLUSTER_DIR", "pf-cluster")
}

fn server_of(kubeconfig: &str) -> anyhow::Result<SocketAddr> {
    let line = kubeconfig
        .lines()
        .find_map(|line| line.trim().strip_prefix("server: https://"))
        .context("no line `server: https://ADDRESS:PORT`")?;
    line.parse()
        .with_context(|| format!("the server {line:?} is no ADDRESS:PORT"))
}
