//! The same data cases in both roles, over SPDY, with Kubernetes' own code at the other end: `pf` talks
//! to the streaming server that the runtimes use, kubectl and two versions of client-go talk to
//! `pf serve`, and so do the client libraries of other languages. No cluster, no root.
//!
//! `PF_PEERS_DIR` says where the programs of `conformance/peers/{go,clients}` are, `PF_CLUSTER_DIR`
//! where kubectl is. Without them the tests say so and pass, unless `CI` is set or
//! `PF_REQUIRE_PEERS=1`.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use conformance::{
    cases::bulk,
    peers::Peer,
    program::{Pf, PfProcess},
};
use tempfile::TempDir;

mod clients;
mod libraries;
mod server;

const MIB: u64 = 1 << 20;

/// How long a program may take to be ready, or to end by itself; the machine may be busy with other
/// tests.
const SOON: Duration = Duration::from_secs(20);

/// Where a peer's program is, or nothing for a test that skips.
fn find(peer: Peer) -> anyhow::Result<Option<PathBuf>> {
    let current = thread::current();
    peer.find(current.name().unwrap_or("a test"))
}

/// A server of a test's own, which has written a kubeconfig. Killed when dropped.
struct Server {
    process: PfProcess,
    directory: TempDir,
}

impl Server {
    /// The real streaming server, with its pod `peer`.
    fn real(program: &Path) -> anyhow::Result<Self> {
        Self::start("-demo -listen 127.0.0.1:0 -kubeconfig-out", |pf| {
            pf.start_program(program)
        })
    }

    /// The same with one flag more.
    fn real_with(program: &Path, flag: &str) -> anyhow::Result<Self> {
        Self::start(
            &format!("-demo {flag} -listen 127.0.0.1:0 -kubeconfig-out"),
            |pf| pf.start_program(program),
        )
    }

    /// `pf serve`, with its pod `web`.
    fn ours() -> anyhow::Result<Self> {
        Self::start("serve --kubeconfig-out", Pf::start)
    }

    fn start(
        line: &str,
        with: impl FnOnce(Pf) -> anyhow::Result<PfProcess>,
    ) -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        let file = kubeconfig(&directory);
        let words = line.split(' ').map(Into::into).chain([file.clone().into()]);
        let process = with(Pf::new::<std::ffi::OsString>(words))?;
        // Both say a line when they serve, and have written the file by then.
        process.stdout_says("\n", SOON)?;
        let text = fs::read_to_string(&file).context("the kubeconfig")?;
        ensure!(
            text.contains("https://127.0.0.1:"),
            "no address on loopback in the kubeconfig"
        );
        Ok(Self { process, directory })
    }

    fn kubeconfig(&self) -> PathBuf {
        kubeconfig(&self.directory)
    }

    /// A directory for what a client keeps.
    fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// Fails if it has ended.
    fn still_runs(&mut self) -> anyhow::Result<()> {
        self.process.still_runs().context("the server")
    }

    /// Kills it, with whatever is under way.
    fn kill(self) {
        drop(self.process);
    }
}

fn kubeconfig(directory: &TempDir) -> PathBuf {
    directory.path().join("kubeconfig")
}

/// Uploads and downloads of several lengths, all at once: ports 7005 and 7006.
fn bulk_each_way(hash: SocketAddr, random: SocketAddr) -> anyhow::Result<()> {
    const LENGTHS: [u64; 6] = [0, 1, 7, 8191, 65_537, 64 * MIB];
    at_once(2 * LENGTHS.len(), |nth| {
        let length = LENGTHS[nth / 2];
        if nth % 2 == 0 {
            bulk::upload(hash, length).with_context(|| format!("upload of {length}"))
        } else {
            bulk::download(random, length).with_context(|| format!("download of {length}"))
        }
    })
}

/// Does the same `count` times at once, since most of the time a peer only waits.
fn at_once(count: usize, case: impl Fn(usize) -> anyhow::Result<()> + Sync) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let case = &case;
        let cases: Vec<_> = (0..count)
            .map(|nth| scope.spawn(move || case(nth)))
            .collect();
        cases
            .into_iter()
            .try_for_each(|case| case.join().ok().context("a case panicked")?)
    })
}
