//! `pf --embedded`: the same bytes as against the real cluster, through our own gateway and node. Needs
//! nothing but the program. Here half-close and isolation hold in full, whatever the runtimes of real
//! clusters make of them.

use std::{
    io::Read as _,
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use conformance::{
    cases::{bulk, connect, ending, exchange, many, stuck},
    output::whole_lines,
    program::Pf,
    say,
};

const MIB: u64 = 1 << 20;

/// How long a command that ends by itself may take; the machine may be busy with other tests.
const SOON: Duration = Duration::from_secs(20);

fn pf(line: &str) -> Pf {
    Pf::line(&format!("--embedded {line}"))
}

#[test]
fn echo() -> anyhow::Result<()> {
    let (_pf, at) = pf("pod/web :7000").forward(1)?;
    exchange::echo(at[0])
}

#[test]
fn http() -> anyhow::Result<()> {
    let (_pf, at) = pf("pod/web :http").forward(1)?;
    exchange::http(at[0]).map(drop)
}

#[test]
fn upload_of_256_mib() -> anyhow::Result<()> {
    let (_pf, at) = pf("pod/web :7005").forward(1)?;
    bulk::upload(at[0], 256 * MIB)
}

#[test]
fn download_of_256_mib() -> anyhow::Result<()> {
    let (_pf, at) = pf("pod/web :7006").forward(1)?;
    bulk::download(at[0], 256 * MIB)
}

#[test]
fn odd_lengths() -> anyhow::Result<()> {
    let (_pf, at) = pf("pod/web :7005 :7006").forward(2)?;
    for length in [0, 1, 7, 8191, 65_537, 1_000_001] {
        bulk::upload(at[0], length).with_context(|| format!("upload of {length}"))?;
        bulk::download(at[1], length).with_context(|| format!("download of {length}"))?;
    }
    Ok(())
}

#[test]
fn two_hundred_connections_at_once() -> anyhow::Result<()> {
    let (_pf, at) = pf("pod/web :7000").forward(1)?;
    many::concurrent(at[0], 200)
}

#[test]
fn a_thousand_connections_in_a_row() -> anyhow::Result<()> {
    let (_pf, at) = pf("pod/web :7000").forward(1)?;
    many::sequential(at[0], 1000)
}

#[test]
fn half_close_with_an_immediate_answer() -> anyhow::Result<()> {
    let (_pf, at) = pf("pod/web :7007 :7000").forward(2)?;
    for _ in 0..20 {
        ending::early(at[0])?;
        ending::echo_behind_half_close(at[1])?;
    }
    Ok(())
}

#[test]
fn half_close_with_an_answer_ten_seconds_later() -> anyhow::Result<()> {
    let (_pf, at) = pf("pod/web :7008").forward(1)?;
    ending::late(at[0], Duration::from_secs(10))
}

#[test]
fn half_close_by_the_pod() -> anyhow::Result<()> {
    let (_pf, at) = pf("pod/web :7004").forward(1)?;
    exchange::banner(at[0])?;
    ending::upload_behind_half_close(at[0])
}

#[test]
fn refused_port() -> anyhow::Result<()> {
    let (mut pf, at) = pf("pod/web :7999 :7000").forward(2)?;
    let mut other = connect(at[1])?;
    exchange::echo_on(&mut other, 1, 100).context("before")?;
    for nth in 1..=20 {
        ending::is_reset(at[0]).with_context(|| format!("refused connection {nth}"))?;
        exchange::echo_on(&mut other, 2, 100).context("the connection opened before")?;
    }
    pf.stderr_says("connection refused", Duration::from_secs(5))?;
    exchange::echo(at[1]).context("a new connection after")?;
    pf.still_runs()
}

#[test]
fn pod_that_resets() -> anyhow::Result<()> {
    let (mut pf, at) = pf("pod/web :7003 :7000").forward(2)?;
    let mut other = connect(at[1])?;
    exchange::echo_on(&mut other, 1, 100).context("before")?;
    for nth in 1..=20 {
        ending::is_reset(at[0]).with_context(|| format!("reset connection {nth}"))?;
        exchange::echo_on(&mut other, 2, 100).context("the connection opened before")?;
    }
    exchange::echo(at[1]).context("a new connection after")?;
    pf.still_runs()
}

#[test]
fn aborted_downloads() -> anyhow::Result<()> {
    let (mut pf, at) = pf("pod/web :7002 :7000").forward(2)?;
    ending::aborted_downloads(at[0], 100)?;
    exchange::echo(at[1]).context("after them")?;
    pf.still_runs()
}

/// Without flow control the protocol cannot hold back one stream. A node that reads no further
/// because of one stuck upload sees no new streams either, so what is shown here is that streams
/// which are there already go on: the stuck one is reset for them.
#[test]
fn connections_beside_a_stuck_upload() -> anyhow::Result<()> {
    let (mut pf, at) = pf("pod/web :7009 :7000").forward(2)?;
    let mut others = Vec::new();
    for nth in 1..=50 {
        let mut other = connect(at[1])?;
        exchange::echo_on(&mut other, nth, 100).context("before")?;
        others.push(other);
    }
    // The reset may come while it still sends.
    let upload = stuck::stuck_upload(at[0]);
    if let Err(error) = &upload {
        let kind = error
            .downcast_ref::<std::io::Error>()
            .map(std::io::Error::kind);
        ensure!(
            kind == Some(std::io::ErrorKind::ConnectionReset),
            "{error:#}"
        );
    }
    for (nth, other) in (1..).zip(&mut others) {
        exchange::echo_on(other, 100 + nth, 100)
            .with_context(|| format!("connection {nth} beside it"))?;
    }
    stuck::new_connections(at[1], 50).context("new connections")?;
    pf.still_runs()
}

#[test]
fn new_connections_beside_an_unread_download() -> anyhow::Result<()> {
    let (mut pf, at) = pf("pod/web :7002 :7000").forward(2)?;
    let download = stuck::unread_download(at[0])?;
    stuck::new_connections(at[1], 50)?;
    ensure!(
        download.take_error()?.is_none(),
        "the unread download has broken"
    );
    pf.still_runs()
}

/// With flow control, sessions that carry bulk take others too: no more of them are opened.
#[test]
fn new_connections_beside_bulk() -> anyhow::Result<()> {
    let (mut pf, at) = pf("pod/web :7002 :7000").forward(2)?;
    let mut downloads = Vec::new();
    for _ in 0..4 {
        let mut download = connect(at[0])?;
        let mut buffer = vec![0; 1 << 20];
        for _ in 0..16 {
            download.read_exact(&mut buffer)?;
        }
        downloads.push(download);
    }
    stuck::new_connections(at[1], 20)?;
    pf.still_runs()
}

#[test]
fn standard_output_is_kubectls() -> anyhow::Result<()> {
    let (mut pf, at) = pf("pod/web :7000").forward(1)?;
    let port = at[0].port();
    exchange::echo_once(at[0], 1)?;
    let handling = format!("Handling connection for {port}\n");
    pf.stdout_says(&handling, Duration::from_secs(5))?;
    let mut wanted = vec![format!("Forwarding from 127.0.0.1:{port} -> 7000")];
    if TcpListener::bind("[::1]:0").is_ok() {
        wanted.push(format!("Forwarding from [::1]:{port} -> 7000"));
    }
    wanted.push(handling.trim_end().to_owned());
    let stdout = pf.stdout();
    ensure!(
        whole_lines(&stdout).eq(wanted.iter()),
        "{stdout}\ninstead of {wanted:#?}"
    );
    pf.still_runs()
}

#[test]
fn ports_by_name_and_services() -> anyhow::Result<()> {
    let pf = pf("svc/web :80 :http").start()?;
    for line in pf.ready(2)? {
        ensure!(line.remote == 8080, "the target port is {}", line.remote);
        exchange::http(line.local)?;
    }
    Ok(())
}

#[test]
fn every_kind_of_target() -> anyhow::Result<()> {
    let targets = [
        "web",
        "pod/web",
        "po/web",
        "deployment/web",
        "deploy/web",
        "service/web",
        "svc/web",
    ];
    for target in targets {
        let (_pf, at) = pf(&format!("{target} :http")).forward(1)?;
        exchange::http(at[0]).with_context(|| target.to_owned())?;
    }
    Ok(())
}

#[test]
fn every_named_port() -> anyhow::Result<()> {
    let names = [
        ("http", 8080),
        ("echo", 7000),
        ("sink", 7001),
        ("source", 7002),
        ("reset", 7003),
        ("halfclose", 7004),
        ("hash", 7005),
        ("random", 7006),
        ("early", 7007),
        ("closed", 7999),
        ("late", 7008),
        ("neverreads", 7009),
    ];
    let forms: Vec<_> = names.iter().map(|(name, _)| format!(":{name}")).collect();
    let pf = pf(&format!("pod/web {}", forms.join(" "))).start()?;
    let remotes: Vec<_> = pf
        .ready(names.len())?
        .iter()
        .map(|line| line.remote)
        .collect();
    ensure!(
        remotes.iter().eq(names.iter().map(|(_, port)| port)),
        "{remotes:?}"
    );
    Ok(())
}

#[test]
fn what_is_not_there() -> anyhow::Result<()> {
    let table = [
        ("pod/no-such :80", "pods \"no-such\" not found"),
        (
            "deployment/no-such :80",
            "deployments.apps \"no-such\" not found",
        ),
        ("svc/no-such :80", "services \"no-such\" not found"),
    ];
    for (line, part) in table {
        pf(line)
            .run(SOON)?
            .failed_with(4, &[part])
            .with_context(|| line.to_owned())?;
    }
    Ok(())
}

#[test]
fn local_port_taken() -> anyhow::Result<()> {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = taken.local_addr()?;
    let line = format!("--address 127.0.0.1 pod/web {}:8080", address.port());
    pf(&line).run(SOON)?.failed_with(5, &[&address.to_string()])
}

#[test]
fn addresses() -> anyhow::Result<()> {
    let addresses = [Ipv4Addr::new(127, 0, 70, 8), Ipv4Addr::new(127, 0, 70, 9)];
    let list = addresses.map(|address| address.to_string()).join(",");
    let pf = pf(&format!("--address {list} pod/web :7000")).start()?;
    let mut ports = Vec::new();
    for address in addresses {
        let line = pf.ready_at(address.into(), 1)?[0];
        exchange::echo(line.local)?;
        ports.push(line.local.port());
    }
    ensure!(
        ports[0] == ports[1],
        "not the same port at each address: {ports:?}"
    );
    Ok(())
}

#[test]
fn interrupt() -> anyhow::Result<()> {
    for open in [false, true] {
        let (mut pf, at) = pf("pod/web :7000").forward(1)?;
        let mut stream = connect(at[0])?;
        exchange::echo_on(&mut stream, 1, 100)?;
        let stream = open.then_some(stream);
        pf.interrupt()?;
        let ended = pf.wait_exit(Duration::from_secs(5))?;
        ensure!(ended.code == Some(0) && ended.stderr.is_empty(), "{ended}");
        drop(stream);
    }
    Ok(())
}

#[test]
fn usage() -> anyhow::Result<()> {
    let required = "TYPE/NAME and list of ports are required for port-forward";
    let table: &[(&str, i32, &str)] = &[
        ("", 2, required),
        ("pod/web", 2, required),
        ("--embedded", 2, required),
        ("--embedded pod/web", 2, required),
        ("--no-such-flag pod/web 80", 2, "--no-such-flag"),
        ("--embedded --protocol smoke pod/web :80", 2, "smoke"),
        (
            "--embedded --protocol channel --record x pod/web :80",
            2,
            "--protocol channel has none",
        ),
        (
            "--embedded --pod-running-timeout=0s pod/web :80",
            2,
            "--pod-running-timeout",
        ),
        (
            "--embedded --pod-running-timeout=soon pod/web :80",
            2,
            "soon",
        ),
        (
            "--embedded --address 1.2.3 pod/web :80",
            2,
            "1.2.3 is not a valid IP",
        ),
    ];
    for (line, code, part) in table {
        let ended = Pf::line(line).run(SOON)?;
        ended
            .failed_with(*code, &[part])
            .with_context(|| format!("pf {line}"))?;
        ensure!(
            ended.stdout.is_empty(),
            "pf {line}: something on standard output: {ended}"
        );
    }
    Ok(())
}

#[test]
fn help_and_version() -> anyhow::Result<()> {
    let table = [
        ("--help", "TYPE/NAME"),
        ("-h", "TYPE/NAME"),
        ("--version", "pf "),
    ];
    for (flag, part) in table {
        let ended = Pf::line(flag).run(SOON)?;
        let fine = ended.code == Some(0) && ended.stdout.contains(part) && ended.stderr.is_empty();
        ensure!(fine, "pf {flag}: {ended}");
    }
    Ok(())
}

#[test]
fn protocols() -> anyhow::Result<()> {
    for flags in ["--protocol auto", "--protocol=spdy", "--no-reconnect"] {
        let (_pf, at) = pf(&format!("{flags} pod/web :7000")).forward(1)?;
        exchange::echo(at[0]).with_context(|| flags.to_owned())?;
    }
    Ok(())
}

#[test]
fn the_tested_program_is_told() -> anyhow::Result<()> {
    say(&format!(
        "the program under test is {}",
        conformance::program::find()?.display()
    ));
    Ok(())
}
