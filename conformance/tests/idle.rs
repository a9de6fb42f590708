//! Many idle forwarded connections through `pf` and `pf serve`: all are there, and what each costs.
//!
//! `PF_IDLE_CONNECTIONS` sets how many (1,000 unless told; the goal is for 10,000, which needs 20,000
//! descriptors a process). Target and generator are processes of their own.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use conformance::{cases::connect, program::Pf};

/// Set in the process that is the target.
const TARGET: &str = "PF_IDLE_TARGET";

/// Connections whose first byte may be on its way at a time.
const AT_ONCE: usize = 32;

/// In a process of its own: echoes single bytes on any number of connections.
#[test]
fn target() -> anyhow::Result<()> {
    if std::env::var_os(TARGET).is_none() {
        return Ok(());
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("\ntarget {}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        let mut stream = stream?;
        thread::Builder::new().stack_size(64 << 10).spawn(move || {
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
        })?;
    }
    Ok(())
}

struct Target(Child);

impl Drop for Target {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start_target() -> anyhow::Result<(Target, u16)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", "target", "--nocapture"])
        .env(TARGET, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("no output")?;
    let target = Target(child);
    for line in BufReader::new(stdout).lines() {
        if let Some(port) = line?.strip_prefix("target ") {
            return Ok((target, port.parse()?));
        }
    }
    anyhow::bail!("the target did not start")
}

fn echo(stream: &mut TcpStream, byte: u8) -> anyhow::Result<()> {
    stream.write_all(&[byte])?;
    let mut got = [0];
    stream.read_exact(&mut got)?;
    ensure!(got == [byte], "{got:?} instead of {byte}");
    Ok(())
}

fn open(at: SocketAddr, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let one = move |nth: usize| -> anyhow::Result<TcpStream> {
        let mut stream = connect(at)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        echo(&mut stream, 1).with_context(|| format!("connection {nth}"))?;
        Ok(stream)
    };
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|first| {
            thread::spawn(move || (first..count).step_by(AT_ONCE).map(one).collect::<Vec<_>>())
        })
        .collect();
    let mut all = Vec::new();
    for worker in workers {
        for stream in worker.join().expect("the thread does not panic") {
            all.push(stream?);
        }
    }
    Ok(all)
}

#[test]
fn idle_connections() -> anyhow::Result<()> {
    let count: usize = match std::env::var("PF_IDLE_CONNECTIONS") {
        Ok(text) => text.parse()?,
        Err(_) => 1_000,
    };
    let (_target, port) = start_target()?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("kubeconfig");
    let serve = format!("serve --host-pod host --kubeconfig-out {}", file.display());
    let server = Pf::line(&serve).start()?;
    server
        .stdout_says("KUBECONFIG", Duration::from_secs(20))
        .ok();
    for _ in 0..200 {
        if file.exists() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    for how in ["tunnel", "spdy"] {
        let line = format!("--protocol {how} pod/host :{port}");
        let (client, at) = Pf::line(&line).kubeconfig(&file).forward(1)?;
        // What it needs once, for the first.
        drop(open(at[0], 64)?);
        thread::sleep(Duration::from_secs(3));
        let before = (client.resident()?, server.resident()?);
        let mut streams = open(at[0], count)?;
        thread::sleep(Duration::from_secs(5));
        let after = (client.resident()?, server.resident()?);
        let each = |before: u64, after: u64| after.saturating_sub(before) / count as u64;
        println!(
            "MEASURED {count} idle connections over {how}: {} B each at the client, {} B each at gateway \
             and node together",
            each(before.0, after.0),
            each(before.1, after.1),
        );
        for (nth, stream) in streams.iter_mut().enumerate() {
            echo(stream, 2).with_context(|| format!("connection {nth}, after its rest"))?;
        }
        ensure!(streams.len() == count, "{} of {count}", streams.len());
    }
    Ok(())
}
