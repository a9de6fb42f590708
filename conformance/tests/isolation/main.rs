//! One connection's fate is its own, on the real cluster: `pf` beside kubectl and client-go, one harness,
//! one table.
//!
//! `PF_ISOLATION_SECONDS` sets how long each load lasts (3 unless told; the goals are those of 60), and
//! `PF_ISOLATION_CLIENTS=all` measures the others too. `-- --nocapture --test-threads 1` shows the table.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use conformance::{
    cases::{connect, stuck},
    cluster::Cluster,
    peers::Peer,
    program::{Pf, PfProcess},
};
use socket2::SockRef;

mod load;

use load::{Echoes, Figures};

/// The ports that each client forwards, of pod `bare`.
const PORTS: &str = ":7000 :7002 :7009 :7003";

/// A client of the port-forward protocol.
#[derive(Clone, Copy)]
struct Client {
    name: &'static str,
    peer: Option<Peer>,
    command: &'static str,
    env: Option<(&'static str, &'static str)>,
}

const fn pf(name: &'static str, command: &'static str) -> Client {
    Client {
        name,
        peer: None,
        command,
        env: None,
    }
}

const OURS: [Client; 2] = [
    pf("pf, tunnel", "--protocol tunnel pod/bare"),
    pf("pf, SPDY", "--protocol spdy pod/bare"),
];

const ALWAYS: Client = pf(
    "pf, tunnel, --isolate always",
    "--isolate always --max-sessions 256 pod/bare",
);

const THEIRS: [Client; 4] = [
    Client {
        name: "kubectl 1.37, tunnel",
        peer: Some(Peer::Kubectl),
        command: "port-forward pod/bare",
        env: Some(("KUBECTL_PORT_FORWARD_WEBSOCKETS", "true")),
    },
    Client {
        name: "kubectl 1.37, SPDY",
        peer: Some(Peer::Kubectl),
        command: "port-forward pod/bare",
        env: Some(("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false")),
    },
    Client {
        name: "client-go 0.37, tunnel",
        peer: Some(Peer::Client),
        command: "-transport fallback bare",
        env: None,
    },
    Client {
        name: "client-go 0.37, SPDY",
        peer: Some(Peer::Client),
        command: "-transport spdy bare",
        env: None,
    },
];

/// A client that forwards [`PORTS`].
struct Forward {
    process: PfProcess,
    echo: SocketAddr,
    source: SocketAddr,
    deaf: SocketAddr,
    reset: SocketAddr,
}

impl Client {
    /// `None`, said loudly, where it is not built.
    fn start(self, cluster: &Cluster) -> anyhow::Result<Option<Forward>> {
        let program: Option<PathBuf> = match self.peer {
            None => None,
            Some(peer) => match peer.find(self.name)? {
                Some(program) => Some(program),
                None => return Ok(None),
            },
        };
        let line = format!("{} {PORTS}", self.command);
        let mut command = Pf::line(&line).kubeconfig(&cluster.kubeconfig("forwarder"));
        if let Some((name, value)) = self.env {
            command = command.env(name, value);
        }
        let process = match program {
            Some(program) => command.start_program(&program)?,
            None => command.start()?,
        };
        let at = process.ready(4)?;
        let [echo, source, deaf, reset] = at[..] else {
            anyhow::bail!("{} ports instead of 4", at.len());
        };
        Ok(Some(Forward {
            process,
            echo: echo.local,
            source: source.local,
            deaf: deaf.local,
            reset: reset.local,
        }))
    }
}

fn seconds() -> anyhow::Result<Duration> {
    let seconds = std::env::var("PF_ISOLATION_SECONDS").unwrap_or_else(|_| "3".to_owned());
    Ok(Duration::from_secs(seconds.parse()?))
}

fn clients() -> Vec<Client> {
    let mut all = OURS.to_vec();
    if std::env::var("PF_ISOLATION_CLIENTS").is_ok_and(|which| which == "all") {
        all.push(ALWAYS);
        all.extend(THEIRS);
    }
    all
}

fn on_each(
    test: &str,
    mut run: impl FnMut(Client, &Forward) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Some(cluster) = Cluster::find(test)? else {
        return Ok(());
    };
    for client in clients() {
        if let Some(forward) = client.start(&cluster)? {
            run(client, &forward).with_context(|| client.name)?;
        }
    }
    Ok(())
}

fn say(line: &str) {
    println!("MEASURED {line}");
}

/// A download that nobody reads, and 99 connections that came after it.
#[test]
fn an_unread_download_beside_99_echoes() -> anyhow::Result<()> {
    say(
        "| client | p50, p99, longest without | beside an unread download | p99 ratio | stalls | lost | the download |",
    );
    on_each("an_unread_download_beside_99_echoes", |client, forward| {
        let alone = Echoes::connect(forward.echo, 99).run(seconds()?);
        let download = stuck::unread_download(forward.source)?;
        let beside = Echoes::connect(forward.echo, 99).run(seconds()?);
        let read = read_all(download);
        say(&format!(
            "| {} | {alone} | {beside} | {:.2} | {} | {} | {} |",
            client.name,
            beside.p99.as_secs_f64() / alone.p99.as_secs_f64(),
            beside.stalls,
            beside.lost,
            told(&read),
        ));
        if client.peer.is_none() {
            unharmed(&beside)?;
            ensure!(
                read == Ok(1 << 30),
                "the download, alone on its session: {read:?}"
            );
        }
        Ok(())
    })
}

/// The same with connections that were there before: they share what sessions there are.
#[test]
fn an_unread_download_that_comes_later() -> anyhow::Result<()> {
    say(
        "| client | beside a download that came later, p50, p99, longest | stalls | lost | the download |",
    );
    on_each("an_unread_download_that_comes_later", |client, forward| {
        let echoes = Echoes::connect(forward.echo, 99);
        let begun = Arc::new(AtomicBool::new(false));
        let (source, told_begun) = (forward.source, Arc::clone(&begun));
        let download = thread::spawn(move || {
            thread::sleep(Duration::from_millis(500));
            let download = stuck::unread_download(source);
            told_begun.store(true, Ordering::Relaxed);
            download
        });
        let beside = echoes.run(seconds()?.max(Duration::from_secs(5)));
        ensure!(begun.load(Ordering::Relaxed), "the download did not begin");
        let read = match download.join().expect("the thread does not panic") {
            Ok(download) => read_all(download),
            Err(error) => Err(format!("{error:#}")),
        };
        say(&format!(
            "| {} | {beside} | {} | {} | {} |",
            client.name,
            beside.stalls,
            beside.lost,
            told(&read),
        ));
        if client.peer.is_none() {
            unharmed(&beside)?;
        }
        Ok(())
    })
}

/// An upload to a pod that does not read: 20 connections from before, and 50 new ones.
#[test]
fn an_upload_that_no_pod_reads() -> anyhow::Result<()> {
    say(
        "| client | connections before it that it stopped, of 20 | new ones answered, of 50 | bytes taken |",
    );
    on_each("an_upload_that_no_pod_reads", |client, forward| {
        let mut before = Vec::new();
        for _ in 0..20 {
            let mut stream = connect(forward.echo)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            load::echo(&mut stream)?;
            before.push(stream);
        }
        let (_upload, taken) = stuck::stuck_upload(forward.deaf)?;
        let answered = stuck::count_answered(forward.echo, 50);
        let checks: Vec<_> = before
            .into_iter()
            .map(|mut stream| thread::spawn(move || load::echo(&mut stream).is_err()))
            .collect();
        let checks = checks.into_iter().map(thread::JoinHandle::join);
        let stopped = checks.filter(|check| matches!(check, Ok(true))).count();
        say(&format!(
            "| {} | {stopped} | {answered} | {} KiB |",
            client.name,
            taken >> 10,
        ));
        if client.peer.is_none() {
            ensure!(answered == 50, "{answered} of 50 were answered");
            let most = if client.name == ALWAYS.name { 0 } else { 5 };
            ensure!(stopped <= most, "{stopped} of 20 were stopped");
        }
        Ok(())
    })
}

/// One more than `pf` may have sessions.
const UPLOADS: usize = 17;

/// So many of those that each session has one, and one has two: whoever comes then is answered, also once they are
/// given up.
#[test]
fn uploads_that_no_pod_reads_on_every_session() -> anyhow::Result<()> {
    say("| client | new ones answered beside 17 uploads, of 20 | the same once they are gone |");
    let test = "uploads_that_no_pod_reads_on_every_session";
    on_each(test, |client, forward| {
        let deaf = forward.deaf;
        let uploads: Vec<_> = (0..UPLOADS)
            .map(|_| thread::spawn(move || stuck::stuck_upload(deaf)))
            .collect();
        let uploads = uploads.into_iter().map(thread::JoinHandle::join);
        let uploads: Vec<_> = uploads
            .map(|upload| upload.expect("the thread does not panic"))
            .collect::<anyhow::Result<_>>()?;
        let beside = stuck::count_answered(forward.echo, 20);
        for (upload, _) in uploads {
            // As when a program is killed: nothing more is to be delivered.
            SockRef::from(&upload).set_linger(Some(Duration::ZERO))?;
        }
        let after = stuck::count_answered(forward.echo, 20);
        say(&format!("| {} | {beside} | {after} |", client.name));
        if client.peer.is_none() && client.name != ALWAYS.name {
            ensure!(beside == 20, "{beside} of 20 were answered");
            ensure!(after == 20, "{after} of 20 were answered afterwards");
        }
        Ok(())
    })
}

/// Pods that reset, 100 a second: nobody else notices.
#[test]
fn resets_by_the_pod_harm_nobody() -> anyhow::Result<()> {
    say("| client | beside 100 resets a second, p50, p99, longest | stalls | lost |");
    on_each("resets_by_the_pod_harm_nobody", |client, forward| {
        let over = Arc::new(AtomicBool::new(false));
        let (stop, reset) = (Arc::clone(&over), forward.reset);
        let resets = thread::spawn(move || {
            let (mut count, mut open) = (0, VecDeque::new());
            while !stop.load(Ordering::Relaxed) {
                // Whether the client still listens is not what is asked here.
                open.extend(connect(reset));
                if open.len() > 100
                    && let Some(mut stream) = open.pop_front()
                {
                    drop(stream.set_read_timeout(Some(Duration::from_millis(1))));
                    count += u32::from(stream.read(&mut [0; 1]).is_err());
                }
                thread::sleep(Duration::from_millis(9));
            }
            count
        });
        let beside = Echoes::connect(forward.echo, 20).run(seconds()?);
        over.store(true, Ordering::Relaxed);
        let count = resets.join().expect("the thread does not panic");
        say(&format!(
            "| {} ({count} resets) | {beside} | {} | {} |",
            client.name, beside.stalls, beside.lost,
        ));
        if client.peer.is_none() {
            unharmed(&beside)?;
            ensure!(count > 0, "no reset was seen");
        }
        Ok(())
    })
}

/// By then sessions without connections are closed, and what is resident is what stays.
const SESSIONS_CLOSED: Duration = Duration::from_secs(65);

/// Downloads that are given up halfway, in numbers, leave nothing behind. `PF_ISOLATION_ABORTED=10000` is the
/// long form (half an hour a client), which compares memory.
#[test]
fn aborted_downloads_leave_nothing() -> anyhow::Result<()> {
    let all: u32 = match std::env::var("PF_ISOLATION_ABORTED") {
        Ok(text) => text.parse()?,
        Err(_) => 300,
    };
    // What fewer leave in the allocator says nothing.
    let compare = all >= 2_000;
    on_each("aborted_downloads_leave_nothing", |client, forward| {
        if client.peer.is_some() {
            return Ok(());
        }
        let mut before = 0;
        for nth in 1..=all {
            let mut stream = connect(forward.source)?;
            stream
                .read_exact(&mut [0; 4096])
                .with_context(|| format!("download {nth}"))?;
            drop(stream);
            if nth == 1_000 && compare {
                thread::sleep(SESSIONS_CLOSED);
                before = forward.process.resident()?;
            }
        }
        load::echo(&mut connect(forward.echo)?).context("after them")?;
        if compare {
            thread::sleep(SESSIONS_CLOSED);
            let after = forward.process.resident()?;
            say(&format!(
                "{}: {} KiB resident after 1,000 aborted downloads, {} KiB after {all}",
                client.name,
                before >> 10,
                after >> 10,
            ));
            ensure!(after <= before + (1 << 20), "{before} bytes became {after}");
        }
        Ok(())
    })
}

fn unharmed(figures: &Figures) -> anyhow::Result<()> {
    ensure!(figures.stalls == 0, "{} stalls: {figures}", figures.stalls);
    ensure!(figures.lost == 0, "{} were lost", figures.lost);
    Ok(())
}

/// To the end: how much there was, or how it ended.
fn read_all(mut stream: TcpStream) -> Result<u64, String> {
    let mut got = 1024;
    let mut buffer = vec![0; 256 << 10];
    let until = Instant::now() + Duration::from_secs(120);
    if let Err(error) = stream.set_read_timeout(Some(Duration::from_secs(20))) {
        return Err(error.to_string());
    }
    while Instant::now() < until {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(got),
            Ok(n) => got += n as u64,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("{error} after {got} bytes")),
        }
    }
    drop(stream.flush());
    Err(format!("{got} bytes in 120 s"))
}

fn told(read: &Result<u64, String>) -> String {
    match read {
        Ok(n) => format!("whole, {} MiB", n >> 20),
        Err(error) => error.clone(),
    }
}
