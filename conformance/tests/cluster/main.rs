//! `pf` against the real one-node cluster of `conformance/cluster`: every byte passes through a real
//! API server, kubelet and container runtime.
//!
//! `PF_CLUSTER_DIR` says where the cluster is. Without one that is up the tests say so and pass, unless
//! `CI` is set or `PF_REQUIRE_CLUSTER=1`.

use std::{thread, time::Duration};

use conformance::{cluster::Cluster, program::Pf};

mod access;
mod cut;
mod data;
mod life;
mod ports;
mod record;
mod refusals;
mod targets;

/// How long a command that ends by itself may take; the machine may be busy with other tests.
const SOON: Duration = Duration::from_secs(30);

/// Runs a test on the cluster, or says that it does not.
fn on_cluster(test: impl FnOnce(&Cluster) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let current = thread::current();
    match Cluster::find(current.name().unwrap_or("a test"))? {
        Some(cluster) => test(&cluster),
        None => Ok(()),
    }
}

/// `pf` as the user `forwarder`, who may do what a port-forward needs and no more.
fn pf(cluster: &Cluster, line: &str) -> Pf {
    pf_as(cluster, "forwarder", line)
}

fn pf_as(cluster: &Cluster, user: &str, line: &str) -> Pf {
    Pf::line(line).kubeconfig(&cluster.kubeconfig(user))
}
