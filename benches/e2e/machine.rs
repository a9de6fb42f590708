//! What is measured on, and whether it is idle enough to begin.

use crate::args::Args;
use crate::far::Far;
use crate::parts::Part;
use crate::watch;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Beyond this the machine is busy, percent.
const BUSY: f64 = 20.0;
/// How long to look. The counters tick 100 times a second.
const WINDOW: Duration = Duration::from_millis(500);
/// How long a program may take to say its version.
const ANSWER: Duration = Duration::from_secs(10);

pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    /// How TCP reacts to congestion: on loopback, too, it decides how much is written at a time.
    tcp: String,
    date: String,
    pf: String,
    kubectl: Option<String>,
    server: Option<String>,
}

impl Machine {
    pub(crate) fn here(args: &Args, far: &Far) -> Self {
        let (kubectl, server) = match args.part {
            Part::Real => versions(&args.kubectl, far.kubeconfig()),
            Part::Peer | Part::Pinned | Part::Free => (None, None),
        };
        let (cpu, cores) = cpu().unwrap_or_else(|| (unknown(), 0));
        Self {
            cpu,
            cores,
            kernel: sysctl("kernel/osrelease"),
            tcp: sysctl("net/ipv4/tcp_congestion_control"),
            date: says(Path::new("date"), ["-u", "+%Y-%m-%d %H:%M UTC"]).unwrap_or_else(unknown),
            pf: says(&args.pf, ["--version"])
                .and_then(|text| Some(text.lines().next()?.trim_start_matches("pf ").to_owned()))
                .unwrap_or_else(unknown),
            kubectl,
            server,
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "cpu": self.cpu, "cores": self.cores, "kernel": self.kernel, "tcp": self.tcp, "date": self.date,
            "pf": self.pf, "kubectl": self.kubectl, "api_server": self.server,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "machine: {}, {} cores, Linux {}, TCP {}; {}; load {}",
            self.cpu,
            self.cores,
            self.kernel,
            self.tcp,
            self.date,
            load()
        )?;
        write!(f, "clients: pf {}", self.pf)?;
        if let (Some(kubectl), Some(server)) = (&self.kubectl, &self.server) {
            write!(f, ", kubectl {kubectl}; API server {server}")?;
        }
        writeln!(f)
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn sysctl(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/{name}"))
        .map_or_else(|_| unknown(), |text| text.trim().to_owned())
}

/// Its name, and how many: not those alone that this process may run on.
fn cpu() -> Option<(String, usize)> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let named = |what: &'static str| text.lines().filter(move |line| line.starts_with(what));
    // Not everywhere it has a name.
    let name = named("model name")
        .next()
        .and_then(|line| line.split_once(':'));
    let name = name.map_or_else(unknown, |(_, name)| name.trim().to_owned());
    Some((name, named("processor").count()))
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").map_or_else(
        |_| unknown(),
        |text| text.split(' ').take(3).collect::<Vec<_>>().join(" "),
    )
}

fn versions(kubectl: &Path, kubeconfig: &Path) -> (Option<String>, Option<String>) {
    let kubeconfig = [OsStr::new("--kubeconfig"), kubeconfig.as_os_str()];
    let rest = ["version", "-o", "json", "--request-timeout=5s"].map(OsStr::new);
    let json: Value = says(kubectl, kubeconfig.into_iter().chain(rest))
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let version = |side: &str| {
        let version = json[side]["gitVersion"].as_str();
        Some(version.map_or_else(unknown, str::to_owned))
    };
    (version("clientVersion"), version("serverVersion"))
}

/// What a program prints, no more than a pipe holds, if it succeeds in time.
fn says<A: AsRef<OsStr>>(program: &Path, args: impl IntoIterator<Item = A>) -> Option<String> {
    let mut process = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    watch::add(process.id());
    let deadline = Instant::now() + ANSWER;
    let mut status = None;
    while status.is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
        status = process.try_wait().ok()?;
    }
    if status.is_none() {
        // An error means that it has just ended.
        drop(process.kill());
        drop(process.wait());
    }
    watch::remove(process.id());
    let mut text = String::new();
    if status?.success() {
        process.stdout.take()?.read_to_string(&mut text).ok()?;
    }
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// How idle the machine was when a step began.
#[derive(Clone, Copy)]
pub(crate) struct Idle {
    pub(crate) busy: f64,
    pub(crate) reached: bool,
}

/// Waits until the machine is less than 20 % busy, but no longer than `patience`.
pub(crate) fn wait_for_idle(patience: Duration) -> Idle {
    let began = Instant::now();
    loop {
        let busy = busy_now();
        if busy < BUSY {
            return Idle {
                busy,
                reached: true,
            };
        }
        if began.elapsed() >= patience {
            eprintln!(
                "warning: the machine is {busy:.0} % busy and stays so (load {}); measuring all the same",
                load()
            );
            return Idle {
                busy,
                reached: false,
            };
        }
    }
}

/// The share of all cores' time that was not idle just now, percent.
fn busy_now() -> f64 {
    let before = ticks();
    std::thread::sleep(WINDOW);
    let after = ticks();
    let (Some((idle, all)), Some((idle_before, all_before))) = (after, before) else {
        return 0.0;
    };
    let all = all.saturating_sub(all_before);
    let idle = idle.saturating_sub(idle_before);
    if all == 0 {
        return 0.0;
    }
    100.0 * (1.0 - idle as f64 / all as f64)
}

/// Idle (waiting for a disk included) and all ticks since boot.
fn ticks() -> Option<(u64, u64)> {
    parse_ticks(std::fs::read_to_string("/proc/stat").ok()?.lines().next()?)
}

fn parse_ticks(line: &str) -> Option<(u64, u64)> {
    // user nice system idle iowait irq softirq steal; guests are counted under user already
    let fields: Vec<u64> = line
        .strip_prefix("cpu ")?
        .split_ascii_whitespace()
        .take(8)
        .map_while(|field| field.parse().ok())
        .collect();
    Some((fields.get(3)? + fields.get(4)?, fields.iter().sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_ticks_are_the_fourth_and_fifth() {
        let ticks = parse_ticks("cpu  1 2 4 100 10 8 16 32 64 128");
        assert_eq!(ticks, Some((110, 173)));
    }
}
