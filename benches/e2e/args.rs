//! The command line, and where things are when it does not say.

use crate::carry::Carry;
use crate::smooth::Serve;
use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Measures pf side by side with others.
///
/// Part real: with kubectl port-forward, on the demo pod of conformance/cluster. Part pinned: with a TLS relay
/// and tuned h2, on a smooth source of its own, each client alone on core 1; it needs no cluster.
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
    /// Kubeconfig for all clients [default: $KUBECONFIG, then the administrator's of conformance/cluster]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The pf to measure [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    pf: Option<PathBuf>,
    /// The kubectl to measure [default: the one of conformance/cluster, then PATH's]
    #[arg(long, value_name = "PATH")]
    kubectl: Option<PathBuf>,
    /// Write every sample and the table to this file too
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

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Real,
    Pinned,
}

pub(crate) enum Order {
    Measure(Part, Args),
    Be(Role),
}

pub(crate) struct Args {
    pub(crate) rounds: usize,
    pub(crate) patience: Duration,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) pf: PathBuf,
    pub(crate) kubectl: PathBuf,
    pub(crate) json: Option<PathBuf>,
}

impl Order {
    /// What the command line says, completed; a mistake in it ends the program.
    pub(crate) fn of_command_line() -> Result<Self> {
        let mut line = Line::parse();
        match line.role.take() {
            Some(role) => Ok(Self::Be(role)),
            None => Ok(Self::Measure(line.part, Args::of(line)?)),
        }
    }
}

impl Args {
    fn of(line: Line) -> Result<Self> {
        let pinned = line.part == Part::Pinned;
        let cluster = cluster_directory();
        // The pinned part makes its own.
        let given = if pinned {
            Some(PathBuf::new())
        } else {
            line.kubeconfig
        };
        let kubeconfig = given
            .or_else(|| std::env::var_os("KUBECONFIG").map(PathBuf::from))
            .or_else(|| Some(cluster.as_ref()?.join("kube/admin.yaml")))
            .context("no kubeconfig: give --kubeconfig")?;
        if !pinned && !kubeconfig.is_file() {
            bail!(
                "{}: no such kubeconfig; conformance/cluster/with-cluster runs a command with a cluster",
                kubeconfig.display()
            );
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
        let kubectl = line
            .kubectl
            .or_else(|| the_clusters_kubectl(cluster.as_deref()?))
            .unwrap_or_else(|| PathBuf::from("kubectl"));
        Ok(Self {
            rounds: usize::from(line.rounds.unwrap_or(if pinned { 8 } else { 6 })),
            patience: Duration::from_secs(line.patience.into()),
            kubeconfig,
            pf,
            kubectl,
            json: line.json,
        })
    }
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
