//! The connection to the API server is cut while bytes are on their way: no end that looks clean.
//!
//! The other hop, from API server to kubelet, cannot be cut here: the address that the API server
//! dials is the node's own, which kubelet writes into the node's status and would write again; what is
//! in between would have to be the cluster's configuration. The hop is cut with our own roles in
//! `portforward/tests/cut`.

use std::{
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use conformance::{
    cases::{Sequence, connect},
    cluster::Cluster,
    cutter::{Cut, Cutter, Manner, Way},
    program::Pf,
    say,
};

use crate::on_cluster;

/// Bytes of the load.
const LENGTH: usize = 64 << 10;
/// Cut points of each manner, direction and load.
const POINTS: usize = 4;
/// How long a reset may take to show.
const SHOWS: Duration = Duration::from_secs(15);
const MANNERS: [Manner; 3] = [Manner::Fin, Manner::Rst, Manner::HalfClose];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// Port `random`.
    Download,
    /// Port `hash`.
    Upload,
}

#[test]
fn no_cut_looks_like_an_end() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let began = Instant::now();
        let counts = thread::scope(|scope| {
            let of = |how| scope.spawn(move || cuts(cluster, how).context(how));
            let all = ["tunnel", "spdy", "channel"].map(|how| (how, of(how)));
            all.map(|(how, one)| (how, one.join()))
        });
        let mut points = 0;
        for (how, count) in counts {
            let (cut, whole) = count.ok().context("a panic")??;
            points += cut;
            say(&format!(
                "MEASURED real cluster, {how}: {cut} cuts and no clean end, {whole} loads over before"
            ));
        }
        ensure!(points >= 100, "only {points} cuts");
        say(&format!("{points} cuts in {:?}", began.elapsed()));
        Ok(())
    })
}

/// Cuts made, and loads that were over before theirs.
fn cuts(cluster: &Cluster, how: &str) -> anyhow::Result<(usize, usize)> {
    let cutter = Cutter::start(cluster.server())?;
    let kubeconfig = tempfile::NamedTempFile::new()?;
    let text = cluster.kubeconfig_via("forwarder", cutter.address())?;
    std::fs::write(kubeconfig.path(), text)?;
    // A session that is lost ends the program.
    let start = || {
        let line = format!("--protocol {how} --isolate never pod/bare :7006 :7005");
        Pf::line(&line).kubeconfig(kubeconfig.path()).forward(2)
    };
    let (mut made, mut whole) = (0, 0);
    for load in [Load::Download, Load::Upload] {
        for way in [Way::Up, Way::Down] {
            cutter.arm(None);
            let (_pf, at) = start()?;
            cutter.arm(None);
            ensure!(carry(load, at[load as usize])?, "{load:?} without a cut");
            let total = cutter.passed(way);
            for nth in 0..POINTS * MANNERS.len() {
                // Each manner at points of its own.
                let manner = MANNERS[nth % MANNERS.len()];
                let after = 1 + (total - 1) * nth / (POINTS * MANNERS.len());
                let cut = Cut { way, after, manner };
                let (pf, at) = start()?;
                cutter.arm(Some(cut));
                let over = carry(load, at[load as usize]);
                whole += usize::from(over.with_context(|| format!("{load:?}, {cut:?}"))?);
                if !cutter.has_cut() {
                    cutter.arm(None);
                    continue;
                }
                made += 1;
                // Where only its own bytes vanish `pf` may have to find out by silence.
                let shows = how != "channel" && (manner, way) != (Manner::HalfClose, Way::Up);
                if shows {
                    let lost = ["error: lost connection to pod"];
                    let ended = pf.wait_exit(SHOWS);
                    let ended = ended.with_context(|| format!("{load:?}, {cut:?}"))?;
                    ended.failed_with(1, &lost)?;
                }
            }
        }
    }
    Ok((made, whole))
}

/// `true`: all of it came. `false`: a reset before. Anything else is what must not be.
fn carry(load: Load, at: SocketAddr) -> anyhow::Result<bool> {
    let mut stream = connect(at)?;
    stream.set_read_timeout(Some(SHOWS))?;
    let mut got = Vec::new();
    let wanted = match load {
        Load::Download => LENGTH,
        // A hash and a newline.
        Load::Upload => 65,
    };
    let mut writing = || -> io::Result<()> {
        stream.write_all(&(LENGTH as u64).to_be_bytes())?;
        if load == Load::Upload {
            stream.write_all(&Sequence::first(LENGTH as u64, LENGTH))?;
        }
        Ok(())
    };
    let written = writing();
    let mut buffer = vec![0; 32 << 10];
    let end = loop {
        if got.len() >= wanted {
            break None;
        }
        match stream.read(&mut buffer) {
            // A reset is told once, here to the writing, and looks like an end of file to reading
            // afterwards. One that followed an end of file would have been a broken pipe.
            Ok(0) if is_kind(&written, io::ErrorKind::ConnectionReset) => break None,
            Ok(0) => bail!("CLEAN END after {} of {wanted} bytes", got.len()),
            Ok(n) => got.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Some(error),
        }
    };
    if load == Load::Download {
        let whole = Sequence::first(LENGTH as u64, LENGTH);
        ensure!(whole.starts_with(&got), "other bytes than the pod's");
    }
    match end.or_else(|| written.err()) {
        None => Ok(true),
        Some(error) if is_reset(&error) => Ok(false),
        Some(error) => Err(error).context("no reset"),
    }
}

fn is_kind(result: &io::Result<()>, kind: io::ErrorKind) -> bool {
    matches!(result, Err(error) if error.kind() == kind)
}

fn is_reset(error: &io::Error) -> bool {
    // Writing may hear of it first.
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
