//! The real cluster that `cluster/up` starts: where its kubeconfigs and its kubectl are.

use std::{
    env, fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::say;

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
            Err(why) => why,
        };
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let required = env::var_os("PF_REQUIRE_CLUSTER").is_some_and(|value| value == "1");
        if required || set("CI") {
            bail!("no cluster, and this run requires one: {why:#}");
        }
        say(&format!(
            "SKIPPED {test}: no cluster ({why:#}); start it with conformance/cluster/up"
        ));
        Ok(None)
    }

    fn look() -> anyhow::Result<Self> {
        let directory = match (env::var_os("PF_CLUSTER_DIR"), env::var_os("HOME")) {
            (Some(named), _) => PathBuf::from(named),
            (None, Some(home)) => Path::new(&home).join(".cache/pf-cluster"),
            (None, None) => bail!("neither PF_CLUSTER_DIR nor HOME is set"),
        };
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

fn server_of(kubeconfig: &str) -> anyhow::Result<SocketAddr> {
    let line = kubeconfig
        .lines()
        .find_map(|line| line.trim().strip_prefix("server: https://"))
        .context("no line `server: https://ADDRESS:PORT`")?;
    line.parse()
        .with_context(|| format!("the server {line:?} is no ADDRESS:PORT"))
}
