//! Bytes, connections and their ends, through the pod `bare`.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, ensure};
use conformance::{
    cases::{bulk, connect, ending, exchange, many, stuck},
    cluster::Cluster,
    output::whole_lines,
    say,
};

use crate::{on_cluster, pf};

const MIB: u64 = 1 << 20;

/// Every way to the pod.
const ALL: [&str; 3] = ["tunnel", "spdy", "channel"];

/// Messages there and back; with their end, where the way to the pod has one.
fn echo_over(how: &str, at: SocketAddr) -> anyhow::Result<()> {
    match how {
        "channel" => exchange::echo_and_stay(at).map(drop),
        _ => exchange::echo(at),
    }
}

fn download_over(how: &str, at: SocketAddr, length: u64) -> anyhow::Result<()> {
    match how {
        "channel" => bulk::download_and_stay(at, length).map(drop),
        _ => bulk::download(at, length),
    }
}

/// A test for each of several ways to the pod.
fn over_each(
    ways: &[&str],
    test: impl Fn(&Cluster, &str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    on_cluster(|cluster| {
        for how in ways {
            test(cluster, how).with_context(|| format!("--protocol {how}"))?;
        }
        Ok(())
    })
}

#[test]
fn echo() -> anyhow::Result<()> {
    over_each(&ALL, |cluster, how| {
        let (_pf, at) = pf(cluster, &format!("--protocol {how} pod/bare :7000")).forward(1)?;
        echo_over(how, at[0])
    })
}

#[test]
fn http() -> anyhow::Result<()> {
    over_each(&ALL, |cluster, how| {
        let (_pf, at) = pf(cluster, &format!("--protocol {how} pod/bare :8080")).forward(1)?;
        let page = exchange::http(at[0])?;
        ensure!(
            page.starts_with("hello from bare "),
            "not the pod's page: {page}"
        );
        Ok(())
    })
}

#[test]
fn upload_of_256_mib() -> anyhow::Result<()> {
    over_each(&ALL, |cluster, how| {
        let (_pf, at) = pf(cluster, &format!("--protocol {how} pod/bare :7005")).forward(1)?;
        bulk::upload(at[0], 256 * MIB)
    })
}

#[test]
fn download_of_256_mib() -> anyhow::Result<()> {
    over_each(&ALL, |cluster, how| {
        let (_pf, at) = pf(cluster, &format!("--protocol {how} pod/bare :7006")).forward(1)?;
        download_over(how, at[0], 256 * MIB)
    })
}

#[test]
fn odd_lengths() -> anyhow::Result<()> {
    over_each(&ALL, |cluster, how| {
        let (_pf, at) =
            pf(cluster, &format!("--protocol {how} pod/bare :7005 :7006")).forward(2)?;
        for length in [1, 7, 8191, 65_537] {
            bulk::upload(at[0], length).with_context(|| format!("upload of {length}"))?;
            download_over(how, at[1], length).with_context(|| format!("download of {length}"))?;
        }
        Ok(())
    })
}

#[test]
fn two_hundred_connections_at_once() -> anyhow::Result<()> {
    over_each(&ALL, |cluster, how| {
        let (_pf, at) = pf(cluster, &format!("--protocol {how} pod/bare :7000")).forward(1)?;
        many::concurrent(at[0], 200)
    })
}

#[test]
fn a_thousand_connections_in_a_row() -> anyhow::Result<()> {
    over_each(&ALL, |cluster, how| {
        let (_pf, at) = pf(cluster, &format!("--protocol {how} pod/bare :7000")).forward(1)?;
        many::sequential(at[0], 1000)
    })
}

/// As far as this runtime has it: the answer does not wait for the pod to see our end.
#[test]
fn half_close() -> anyhow::Result<()> {
    over_each(&ALL[..2], |cluster, how| {
        let (_pf, at) = pf(cluster, &format!("--protocol {how} pod/bare :7007")).forward(1)?;
        (0..5).try_for_each(|_| ending::early(at[0]))
    })
}

#[test]
fn a_channel_has_no_half_close() -> anyhow::Result<()> {
    over_each(&ALL[2..], |cluster, how| {
        let (_pf, at) = pf(cluster, &format!("--protocol {how} pod/bare :7007")).forward(1)?;
        ending::early_without_half_close(at[0])
    })
}

#[test]
fn half_close_by_the_pod() -> anyhow::Result<()> {
    over_each(&ALL, |cluster, how| {
        let (_pf, at) = pf(cluster, &format!("--protocol {how} pod/bare :7004")).forward(1)?;
        exchange::banner(at[0]).map(drop)
    })
}

#[test]
fn refused_port() -> anyhow::Result<()> {
    over_each(&ALL, |cluster, how| {
        let (mut pf, at) =
            pf(cluster, &format!("--protocol {how} pod/bare :7999 :7000")).forward(2)?;
        let mut other = connect(at[1])?;
        exchange::echo_on(&mut other, 1, 100).context("before")?;
        for nth in 1..=3 {
            ending::is_reset(at[0]).with_context(|| format!("refused connection {nth}"))?;
            exchange::echo_on(&mut other, 2, 100).context("the connection opened before")?;
        }
        pf.stderr_says("connection refused", Duration::from_secs(5))?;
        echo_over(how, at[1]).context("a new connection after")?;
        pf.still_runs()
    })
}

/// This runtime ends the data stream as if all were well and says otherwise only later.
#[test]
fn pod_that_resets() -> anyhow::Result<()> {
    over_each(&ALL, |cluster, how| {
        let (mut pf, at) =
            pf(cluster, &format!("--protocol {how} pod/bare :7003 :7000")).forward(2)?;
        let mut other = connect(at[1])?;
        exchange::echo_on(&mut other, 1, 100).context("before")?;
        for nth in 1..=3 {
            ending::is_reset(at[0]).with_context(|| format!("reset connection {nth}"))?;
            exchange::echo_on(&mut other, 2, 100).context("the connection opened before")?;
        }
        echo_over(how, at[1]).context("a new connection after")?;
        pf.still_runs()
    })
}

#[test]
fn aborted_downloads() -> anyhow::Result<()> {
    over_each(&ALL, |cluster, how| {
        let (mut pf, at) =
            pf(cluster, &format!("--protocol {how} pod/bare :7002 :7000")).forward(2)?;
        ending::aborted_downloads(at[0], 30)?;
        echo_over(how, at[1]).context("after them")?;
        pf.still_runs()
    })
}

/// A measure, not a judgement: this runtime has no flow control, so that a download which nobody reads
/// may stop its whole connection to the API server.
#[test]
fn new_connections_beside_an_unread_download() -> anyhow::Result<()> {
    over_each(&ALL, |cluster, how| {
        let (_pf, at) =
            pf(cluster, &format!("--protocol {how} pod/bare :7002 :7000")).forward(2)?;
        let download = stuck::unread_download(at[0])?;
        let answered = stuck::count_answered(at[1], 50);
        say(&format!(
            "MEASURED real cluster: {answered} of 50 new connections were answered within {:?} beside \
             an unread download",
            stuck::ANSWER
        ));
        drop(download);
        Ok(())
    })
}

#[test]
fn standard_output_is_kubectls() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let (mut pf, at) = pf(cluster, "pod/bare :7000").forward(1)?;
        let port = at[0].port();
        exchange::echo_once(at[0], 1)?;
        let handling = format!("Handling connection for {port}\n");
        pf.stdout_says(&handling, Duration::from_secs(5))?;
        let mut wanted = vec![format!("Forwarding from 127.0.0.1:{port} -> 7000")];
        if std::net::TcpListener::bind("[::1]:0").is_ok() {
            wanted.push(format!("Forwarding from [::1]:{port} -> 7000"));
        }
        wanted.push(handling.trim_end().to_owned());
        let stdout = pf.stdout();
        ensure!(
            whole_lines(&stdout).eq(wanted.iter()),
            "{stdout}\ninstead of {wanted:#?}"
        );
        ensure!(pf.stderr().is_empty(), "standard error: {}", pf.stderr());
        pf.still_runs()
    })
}

#[test]
fn ipv6_reaches_the_same_port() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        if std::net::TcpListener::bind("[::1]:0").is_err() {
            say("SKIPPED ipv6_reaches_the_same_port: this machine has no ::1");
            return Ok(());
        }
        let pf = pf(cluster, "pod/bare :7000").start()?;
        let lines = pf.ready_at(std::net::Ipv6Addr::LOCALHOST.into(), 1)?;
        exchange::echo(lines[0].local)
    })
}
