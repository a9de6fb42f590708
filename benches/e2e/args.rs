//! The command line, and where things are when it does not say.

use crate::carry::Carry;
use crate::client::Client;
use crate::parts::Part;
use crate::smooth::Serve;
use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Measures pf side by side with others.
#[derive(Parser)]
#[command(name = "e2e", version, args_conflicts_with_subcommands = true)]
struct Line {
    #[command(subcommand)]
    role: Option<Role>,
    /// What to measure
    #[arg(long, value_name = "PART", value_enum, default_value_t = Part::Real)]
    part: Part,
    /// How many times each client goes through everything [default: 6, or 8 pinned; so many for a result
    /// to rely on]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: Option<u16>,
    /// How long to wait for an idle machine before each step, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    patience: u32,
    /// Only these of the part's clients; what is asked of others is then not measured [default: all]
    #[arg(long, value_name = "CLIENT,...", value_enum, value_delimiter = ',')]
    clients: Vec<Client>,
    /// Kubeconfig for all clients of the part real [default: $KUBECONFIG, then the administrator's of
    /// conformance/cluster]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The pf to measure [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    pf: Option<PathBuf>,
    /// The kubectl to measure [default: the one of conformance/cluster, then PATH's]
    #[arg(long, value_name = "PATH")]
    kubectl: Option<PathBuf>,
    /// Where the programs of conformance/peers are [default: bin in $PF_PEERS_DIR, or where their build puts
    /// them without it]
    #[arg(long, value_name = "DIRECTORY")]
    peers: Option<PathBuf>,
    /// Write every sample and the verdicts to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What this program is when it starts itself.
#[derive(Subcommand)]
pub(crate) enum Role {
    #[command(hide = true)]
    ServeSmooth(Serve),
    #[command(hide = true)]
    Carry(Carry),
}

pub(crate) enum Order {
    Measure(Args),
    Be(Role),
}

pub(crate) struct Args {
    pub(crate) part: Part,
    pub(crate) rounds: usize,
    pub(crate) patience: Duration,
    pub(crate) clients: Vec<Client>,
    /// What the command line says of it.
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) pf: PathBuf,
    pub(crate) kubectl: PathBuf,
    peers: PathBuf,
    pub(crate) json: Option<PathBuf>,
}

impl Order {
    /// What the command line says, completed; a mistake in it ends the program.
    pub(crate) fn of_command_line() -> Result<Self> {
        let mut line = Line::parse();
        match line.role.take() {
            Some(role) => Ok(Self::Be(role)),
            None => Ok(Self::Measure(Args::of(line)?)),
        }
    }
}

impl Args {
    fn of(line: Line) -> Result<Self> {
        let part = line.part;
        if part != Part::Real && line.kubeconfig.is_some() {
            bail!("--kubeconfig is for the part real; the others make their own");
        }
        let pf = match line.pf {
            Some(pf) => pf,
            None => std::env::current_exe()?.with_file_name("pf"),
        };
        if !pf.is_file() {
            bail!(
                "{}: no such program; benches/e2e/run builds it, --pf names another",
                pf.display()
            );
        }
        let mut clients = line.clients;
        if clients.is_empty() {
            clients = part.clients().to_vec();
        }
        if let Some(other) = clients.iter().find(|it| !part.clients().contains(it)) {
            bail!("{other} is not in this part");
        }
        let kubectl = line
            .kubectl
            .or_else(|| the_clusters_kubectl(&cluster_directory()?))
            .unwrap_or_else(|| PathBuf::from("kubectl"));
        Ok(Self {
            part,
            rounds: line.rounds.map_or_else(|| part.rounds(), usize::from),
            patience: Duration::from_secs(line.patience.into()),
            clients,
            kubeconfig: line.kubeconfig,
            pf,
            kubectl,
            peers: line.peers.or_else(peers_directory).unwrap_or_default(),
            json: line.json,
        })
    }

    /// A program of conformance/peers.
    pub(crate) fn peer(&self, name: &str) -> Result<PathBuf> {
        let program = self.peers.join(name);
        if program.is_file() {
            return Ok(program);
        }
        bail!(
            "{}: no such program; conformance/peers/go/build and conformance/peers/clients/build kube-rs build the \
             peers, --clients leaves some out",
            program.display()
        )
    }
}

/// That of the part real.
pub(crate) fn kubeconfig(told: Option<&Path>) -> Result<PathBuf> {
    let kubeconfig = told
        .map(Path::to_owned)
        .or_else(|| std::env::var_os("KUBECONFIG").map(PathBuf::from))
        .or_else(|| Some(cluster_directory()?.join("kube/admin.yaml")))
        .context("no kubeconfig: give --kubeconfig")?;
    if kubeconfig.is_file() {
        return Ok(kubeconfig);
    }
    bail!(
        "{}: no such kubeconfig; conformance/cluster/with-cluster runs a command with a cluster",
        kubeconfig.display()
    )
}

fn peers_directory() -> Option<PathBuf> {
    if let Some(told) = std::env::var_os("PF_PEERS_DIR") {
        return Some(Path::new(&told).join("bin"));
    }
    Some(Path::new(&std::env::var_os("HOME")?).join(".cache/pf-peers/bin"))
}

fn cluster_directory() -> Option<PathBuf> {
    if let Some(told) = std::env::var_os("PF_CLUSTER_DIR") {
        return Some(told.into());
    }
    Some(Path::new(&std::env::var_os("HOME")?).join(".cache/pf-cluster"))
}

fn the_clusters_kubectl(cluster: &Path) -> Option<PathBuf> {
    let version = std::fs::read_to_string(cluster.join("conf/k8s")).ok()?;
    let kubectl = cluster.join(format!("bin/k8s-{}/kubectl", version.trim()));
    kubectl.is_file().then_some(kubectl)
}
