//! The command line, and where things are when it does not say.

use anyhow::{Context, Result, bail};
use clap::Parser;
use std::path::{Path, PathBuf};

/// Measures pf and kubectl port-forward side by side on the demo pod of conformance/cluster.
#[derive(Parser)]
#[command(name = "e2e", version)]
struct Line {
    /// How many times each client goes through everything; 6 for a result to rely on
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
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

pub(crate) struct Args {
    pub(crate) rounds: usize,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) pf: PathBuf,
    pub(crate) kubectl: PathBuf,
    pub(crate) json: Option<PathBuf>,
}

impl Args {
    /// What the command line says, completed; a mistake in it ends the program.
    pub(crate) fn of_command_line() -> Result<Self> {
        let line = Line::parse();
        let cluster = cluster_directory();
        let kubeconfig = line
            .kubeconfig
            .or_else(|| std::env::var_os("KUBECONFIG").map(PathBuf::from))
            .or_else(|| Some(cluster.as_ref()?.join("kube/admin.yaml")))
            .context("no kubeconfig: give --kubeconfig")?;
        if !kubeconfig.is_file() {
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
            rounds: usize::from(line.rounds),
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
