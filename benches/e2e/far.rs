//! The other end of what is measured: the pod of a cluster, the one of the Go peer, or the smooth source.

use crate::args::{self, Args};
use crate::carry::Kind;
use crate::child::{Child, ECHO, SINK, SMOOTH, SOURCE, STATS, Service};
use crate::client::Client;
use crate::parts::Part;
use crate::pod::Pod;
use crate::smooth;
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

#[derive(Clone, Copy)]
pub(crate) enum Load {
    Download(u64),
    Upload(u64),
    Echo,
}

pub(crate) struct Far {
    pod: &'static str,
    kubeconfig: PathBuf,
    /// What the pod says itself; the smooth source says it on the connection.
    stats: Option<Pod>,
    /// What was started for it, and where the smooth source listens.
    server: Option<Child>,
    address: String,
    /// Of the smooth source and the Go peer.
    directory: Option<Directory>,
}

impl Far {
    pub(crate) fn open(args: &Args) -> Result<Self> {
        match args.part {
            Part::Real => {
                let far = Self {
                    pod: "bare",
                    kubeconfig: args::kubeconfig(args.kubeconfig.as_deref())?,
                    stats: None,
                    server: None,
                    address: String::new(),
                    directory: None,
                };
                // One of its own, so that asking costs the client that is measured nothing.
                far.asked_through(args, Client::KubectlTunnel)
            }
            Part::Peer => {
                let directory = Directory::new()?;
                let kubeconfig = directory.0.join("kubeconfig");
                let mut command = Command::new(args.peer("server")?);
                command.arg("-demo").arg("-kubeconfig-out").arg(&kubeconfig);
                let name = "the Go peer".to_owned();
                let (server, _) = Child::spawn_saying(command, name, "ready")?;
                let far = Self {
                    pod: "peer",
                    kubeconfig,
                    stats: None,
                    server: Some(server),
                    address: String::new(),
                    directory: Some(directory),
                };
                far.asked_through(args, Client::GoSpdy)
            }
            Part::Pinned | Part::Free => {
                let directory = Directory::new()?;
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("serve-smooth").arg(&directory.0);
                let name = "the smooth source".to_owned();
                let (server, address) = Child::spawn_saying(command, name, smooth::READY)?;
                Ok(Self {
                    pod: "smooth",
                    kubeconfig: directory.0.join(smooth::KUBECONFIG),
                    stats: None,
                    server: Some(server),
                    address,
                    directory: Some(directory),
                })
            }
        }
    }

    fn asked_through(mut self, args: &Args, client: Client) -> Result<Self> {
        let command = client.command(args, &self, &[STATS])?;
        let name = format!("{client}, which asks the pod");
        self.stats = Some(Pod::open(Child::spawn(command, name, &[STATS])?)?);
        Ok(self)
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(crate) const fn pod(&self) -> &str {
        self.pod
    }

    pub(crate) const fn stats(&self) -> Option<&Pod> {
        self.stats.as_ref()
    }

    const fn is_smooth(&self) -> bool {
        self.stats.is_none() && self.server.is_some()
    }

    pub(crate) fn services(&self) -> &'static [Service] {
        if self.is_smooth() {
            &[SMOOTH]
        } else {
            &[ECHO, SINK, SOURCE]
        }
    }

    pub(crate) fn service(&self, load: Load) -> Service {
        match load {
            _ if self.is_smooth() => SMOOTH,
            Load::Download(_) => SOURCE,
            Load::Upload(_) => SINK,
            Load::Echo => ECHO,
        }
    }

    /// What a connection begins with. A pod has a port for each.
    pub(crate) fn request(&self, load: Load) -> Vec<u8> {
        if !self.is_smooth() {
            return Vec::new();
        }
        let (what, count) = match load {
            Load::Download(count) => (smooth::DOWNLOAD, count),
            Load::Upload(count) => (smooth::UPLOAD, count),
            Load::Echo => (smooth::ECHO, 0),
        };
        let mut request = vec![what];
        request.extend(count.to_be_bytes());
        request
    }

    /// Starts this program as what pf is compared with.
    pub(crate) fn carrier(&self, kind: Kind) -> Result<Command> {
        let directory = self.directory.as_ref().context("no smooth source here")?;
        let kind = kind.to_possible_value().context("no name")?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["carry", kind.get_name(), &self.address])
            .arg(&directory.0);
        Ok(command)
    }

    /// Of the server that was started for this.
    pub(crate) fn cpu(&self) -> Result<Option<Duration>> {
        self.server.as_ref().map(Child::cpu).transpose()
    }

    pub(crate) fn last_words(&self) -> String {
        self.server
            .as_ref()
            .map(Child::last_words)
            .unwrap_or_default()
    }
}

/// For certificates and kubeconfigs.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("pf-e2e-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("{}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left of it is in the way of nothing.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
