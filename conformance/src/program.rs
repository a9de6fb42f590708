//! The program under test: where it is, how it is started, what it does until it ends.

use std::{
    env,
    ffi::OsString,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::output::{Collector, Forwarding, whole_lines};

/// Names the program under test; else it is looked for beside the test executable.
pub const PROGRAM: &str = "PF_BIN";

/// How long a forward may take to be ready.
const READY: Duration = Duration::from_secs(30);

/// The environment that would make a result depend on who runs the suite.
const FOREIGN: &[&str] = &[
    "KUBECONFIG",
    "KUBECTL_PORT_FORWARD_WEBSOCKETS",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
];

/// Where the program is: `PF_BIN`, else the more recently built of `release/pf` and `debug/pf` in the
/// target directory of the running test.
pub fn find() -> anyhow::Result<PathBuf> {
    if let Some(named) = env::var_os(PROGRAM) {
        let named = PathBuf::from(named);
        ensure!(
            named.is_file(),
            "{PROGRAM} names {}, which is no file",
            named.display()
        );
        return Ok(named);
    }
    let test = env::current_exe().context("the running test has no path")?;
    // TARGET/PROFILE/deps/test-HASH
    let target = test
        .ancestors()
        .nth(3)
        .context("the running test is in no target directory")?;
    let name = format!("pf{}", env::consts::EXE_SUFFIX);
    let built = |profile: &str| {
        let path = target.join(profile).join(&name);
        let when = path.metadata().and_then(|data| data.modified()).ok()?;
        Some((when, path))
    };
    let newest = [built("release"), built("debug")]
        .into_iter()
        .flatten()
        .max();
    let (_, path) = newest.with_context(|| {
        format!(
            "no program to test: neither {0}/release/{name} nor {0}/debug/{name} is there. \
             Build it with `cargo build --release -p pf`, or name one in {PROGRAM}",
            target.display()
        )
    })?;
    Ok(path)
}

/// A command line of `pf`, to be started.
#[derive(Debug)]
pub struct Pf {
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl Pf {
    /// The program with these arguments.
    pub fn new<A: Into<OsString>>(args: impl IntoIterator<Item = A>) -> Self {
        Self {
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
        }
    }

    /// The arguments are the words of `line`, which may not need quoting.
    #[must_use]
    pub fn line(line: &str) -> Self {
        Self::new(line.split_whitespace())
    }

    /// Puts `--kubeconfig FILE` before the other arguments.
    #[must_use]
    pub fn kubeconfig(mut self, file: &Path) -> Self {
        self.args.splice(..0, ["--kubeconfig".into(), file.into()]);
        self
    }

    /// Adds arguments behind the others.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = OsString>) -> Self {
        self.args.extend(args);
        self
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts it.
    pub fn start(self) -> anyhow::Result<PfProcess> {
        let program = find()?;
        self.start_program(&program)
    }

    /// Starts another program with the same arguments.
    pub fn start_program(self, program: &Path) -> anyhow::Result<PfProcess> {
        let mut command = Command::new(program);
        for name in FOREIGN {
            command.env_remove(name);
        }
        command.envs(self.env).args(&self.args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let stderr = child.stderr.take().context("no standard error")?;
        Ok(PfProcess {
            child,
            stdout: Collector::start(stdout),
            stderr: Collector::start(stderr),
            name: program.file_name().unwrap_or_default().to_owned(),
            args: self.args,
        })
    }

    /// Runs it to its end, which has to come in time.
    pub fn run(self, within: Duration) -> anyhow::Result<Ended> {
        self.start()?.wait_exit(within)
    }

    /// Starts it and waits until it listens for all its ports; see [`PfProcess::ready`].
    pub fn forward(self, ports: usize) -> anyhow::Result<(PfProcess, Vec<SocketAddr>)> {
        let process = self.start()?;
        let listening = process.ready(ports)?;
        Ok((process, listening.iter().map(|line| line.local).collect()))
    }
}

/// A running `pf`. Killed when dropped.
#[derive(Debug)]
pub struct PfProcess {
    child: Child,
    stdout: Collector,
    stderr: Collector,
    name: OsString,
    args: Vec<OsString>,
}

/// A `pf` that ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
    /// How long it was waited for.
    pub after: Duration,
}

impl Ended {
    /// Fails unless this is the exit code, and standard error holds exactly one error, which contains
    /// all of `parts`.
    pub fn failed_with(&self, code: i32, parts: &[&str]) -> anyhow::Result<()> {
        ensure!(self.code == Some(code), "not exit code {code}: {self}");
        let errors = self
            .stderr
            .lines()
            .filter(|line| begins_an_error(line))
            .count();
        ensure!(errors == 1, "{errors} errors instead of one: {self}");
        for part in parts {
            ensure!(
                self.stderr.contains(part),
                "no {part:?} on standard error: {self}"
            );
        }
        Ok(())
    }
}

/// kubectl has two ways to begin.
fn begins_an_error(line: &str) -> bool {
    line.starts_with("error: ") || line.starts_with("Error from server")
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            stdout,
            stderr,
            after,
        } = self;
        write!(
            f,
            "exit code {code:?} after {after:?}\nstdout:\n{stdout}\nstderr:\n{stderr}"
        )
    }
}

impl PfProcess {
    /// Waits for as many `Forwarding from 127.0.0.1:...` lines as ports were asked for and returns
    /// them in their order.
    pub fn ready(&self, ports: usize) -> anyhow::Result<Vec<Forwarding>> {
        self.ready_at(Ipv4Addr::LOCALHOST.into(), ports)
    }

    /// As [`PfProcess::ready`], for another address.
    pub fn ready_at(&self, address: IpAddr, ports: usize) -> anyhow::Result<Vec<Forwarding>> {
        let what = format!("{ports} line(s) `Forwarding from {address}:...`");
        self.stdout
            .wait(&what, READY, |text| {
                let lines: Vec<_> = whole_lines(text)
                    .filter_map(|line| line.parse::<Forwarding>().ok())
                    .filter(|line| line.local.ip() == address)
                    .collect();
                (lines.len() >= ports).then_some(lines)
            })
            .with_context(|| self.describe())
    }

    /// Waits for `wanted` on standard error.
    pub fn stderr_says(&self, wanted: &str, within: Duration) -> anyhow::Result<()> {
        self.stderr
            .wait(&format!("{wanted:?} on standard error"), within, |text| {
                text.contains(wanted).then_some(())
            })
            .with_context(|| self.describe())
    }

    /// Waits for `wanted` on standard output.
    pub fn stdout_says(&self, wanted: &str, within: Duration) -> anyhow::Result<()> {
        self.stdout
            .wait(&format!("{wanted:?} on standard output"), within, |text| {
                text.contains(wanted).then_some(())
            })
            .with_context(|| self.describe())
    }

    /// Standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// What Ctrl-C in a terminal does.
    pub fn interrupt(&mut self) -> anyhow::Result<()> {
        ensure!(
            self.child.try_wait()?.is_none(),
            "{}: has ended already",
            self.describe()
        );
        // Not reaped, so the pid is still this child's.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("no pid")?, Signal::INT).context("SIGINT")
    }

    /// Memory that it has to itself, bytes: resident, without what its files lend it.
    pub fn resident(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.context("no RssAnon")?.trim().trim_end_matches(" kB");
        Ok(kib.parse::<u64>()? << 10)
    }

    /// Fails if it has ended.
    pub fn still_runs(&mut self) -> anyhow::Result<()> {
        let status = self.child.try_wait()?;
        ensure!(
            status.is_none(),
            "{}: ended with {status:?}",
            self.describe()
        );
        Ok(())
    }

    /// Waits until it ends by itself.
    pub fn wait_exit(mut self, within: Duration) -> anyhow::Result<Ended> {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if began.elapsed() > within {
                bail!("{}: still runs after {within:?}", self.describe());
            }
            thread::sleep(Duration::from_millis(5));
        };
        let after = began.elapsed();
        // Both collectors are replaced by ones that have ended, for `drop`.
        let stdout = std::mem::replace(&mut self.stdout, Collector::start(std::io::empty()));
        let stderr = std::mem::replace(&mut self.stderr, Collector::start(std::io::empty()));
        Ok(Ended {
            code: status.code(),
            stdout: stdout.finish()?,
            stderr: stderr.finish()?,
            after,
        })
    }

    fn describe(&self) -> String {
        let words: Vec<_> = [&self.name]
            .into_iter()
            .chain(&self.args)
            .map(|word| word.to_string_lossy())
            .collect();
        format!(
            "{}\nstdout so far:\n{}\nstderr so far:\n{}",
            words.join(" "),
            self.stdout(),
            self.stderr()
        )
    }
}

impl Drop for PfProcess {
    fn drop(&mut self) {
        // Fails only if it has ended, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
