//! Bad input of every kind: command lines, kubeconfigs, credentials, API servers. Each row of the
//! tables is wrong in one way, and `pf` has to say so in one error that names what and where, with the
//! right exit code, in time, and without showing a secret or passing a control character on.
//!
//! Needs nothing but the program: the servers are the suite's own, on loopback.

use std::{
    collections::VecDeque,
    fs,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use conformance::{
    program::Pf,
    script::{Play, ScriptedServer},
};

mod command_line;
mod credentials;
mod kubeconfig;
mod lookup;
mod tls;
mod upgrade;

/// In every secret of the tables; no message may show it.
const SECRET: &str = "s3cr3t";

/// Which deadlines of the program the limit has to leave room for: 10 s for a head.
const WITHIN: Duration = Duration::from_secs(15);

/// What a program takes at most from a server that does not stop, with all buffers on the way.
const MOST_TAKEN: u64 = 64 << 20;

/// Rows that run at once. Most only wait.
const TOGETHER: usize = 8;

/// One bad input, and how `pf` has to end.
///
/// In every text, `{DIR}` stands for the row's own directory and `{SERVER}` for the address of its
/// server.
#[derive(Debug)]
struct Row {
    name: &'static str,
    args: Vec<String>,
    env: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>)>,
    programs: Vec<(String, String)>,
    server: Option<(Play, Play)>,
    code: i32,
    says: Vec<String>,
    within: Duration,
}

impl Row {
    fn new(name: &'static str, code: i32, says: &[&str]) -> Self {
        Self {
            name,
            args: Vec::new(),
            env: Vec::new(),
            files: Vec::new(),
            programs: Vec::new(),
            server: None,
            code,
            says: says.iter().map(|&text| text.to_owned()).collect(),
            within: WITHIN,
        }
    }

    /// The whole command line.
    fn args(mut self, args: &[&str]) -> Self {
        self.args = args.iter().map(|&text| text.to_owned()).collect();
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file in the row's directory.
    fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// An executable shell script in the row's directory.
    fn program(mut self, name: &str, script: &str) -> Self {
        self.programs
            .push((name.to_owned(), format!("#!/bin/sh\n{script}\n")));
        self
    }

    /// A kubeconfig, and a command line that uses it.
    fn kubeconfig(self, content: impl Into<Vec<u8>>) -> Self {
        self.file("config", content)
            .args(&["--kubeconfig", "{DIR}/config", "pod/web", ":8080"])
    }

    /// A kubeconfig with these fields of the cluster and the user.
    fn with(self, cluster: &str, user: &str) -> Self {
        self.kubeconfig(kubeconfig_of(cluster, user))
    }

    /// A server, and a kubeconfig that names it without TLS.
    fn server(mut self, lookup: Play, upgrade: Play) -> Self {
        self.server = Some((lookup, upgrade));
        if self.files.is_empty() {
            self = self.with("server: http://{SERVER}", "{}");
        }
        self
    }

    /// A server that finds the pod and then answers the upgrade so.
    fn upgrade(self, answer: Play) -> Self {
        self.server(Play::pod(), answer)
    }

    fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    fn check(&self) -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory
            .path()
            .to_str()
            .context("a directory that is no text")?;
        let server = match &self.server {
            Some((lookup, upgrade)) => {
                Some(ScriptedServer::start(lookup.clone(), upgrade.clone())?)
            }
            None => None,
        };
        let address = server.as_ref().map(|server| server.address().to_string());
        let fill = |text: &str| {
            text.replace("{DIR}", path)
                .replace("{SERVER}", address.as_deref().unwrap_or("-"))
        };
        for (name, content) in &self.files {
            // Only text has places to fill.
            let content = match std::str::from_utf8(content) {
                Ok(text) => fill(text).into_bytes(),
                Err(_) => content.clone(),
            };
            fs::write(directory.path().join(name), content)?;
        }
        for (name, script) in &self.programs {
            use std::os::unix::fs::PermissionsExt as _;
            let file = directory.path().join(name);
            fs::write(&file, fill(script))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
        let mut pf = Pf::new(self.args.iter().map(|text| fill(text))).env("HOME", path);
        for (name, value) in &self.env {
            pf = pf.env(name, fill(value));
        }
        let ended = pf.run(self.within)?;

        let says: Vec<_> = self.says.iter().map(|text| fill(text)).collect();
        ended.failed_with(
            self.code,
            &says.iter().map(String::as_str).collect::<Vec<_>>(),
        )?;
        let both = [&ended.stdout, &ended.stderr];
        ensure!(
            !both.iter().any(|text| text.contains("panicked")),
            "a panic: {ended}"
        );
        ensure!(
            !both.iter().any(|text| text.contains(SECRET)),
            "a secret is shown: {ended}"
        );
        let bad = |c: char| c.is_control() && c != '\n';
        ensure!(
            !both.iter().any(|text| text.contains(bad)),
            "a control character: {ended:?}"
        );
        let taken = server.as_ref().map_or(0, ScriptedServer::sent);
        ensure!(taken <= MOST_TAKEN, "{taken} bytes were taken: {ended}");
        ensure!(
            ended.stderr.len() < 4096,
            "{} bytes of error",
            ended.stderr.len()
        );
        Ok(())
    }
}

/// A kubeconfig with one entry of each kind; `cluster` and `user` are YAML, fields or a flow mapping.
fn kubeconfig_of(cluster: &str, user: &str) -> String {
    let block = |fields: &str| fields.replace('\n', "\n    ");
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: lab\n\
         contexts:\n- name: lab\n  context: {{cluster: lab, user: me}}\n\
         clusters:\n- name: lab\n  cluster:\n    {}\n\
         users:\n- name: me\n  user:\n    {}\n",
        block(cluster),
        block(user)
    )
}

/// Runs all rows, some at a time, and fails with all that is wrong.
fn check_all(rows: Vec<Row>, at_least: usize) -> anyhow::Result<()> {
    let count = rows.len();
    ensure!(count >= at_least, "the table has shrunk to {count} rows");
    let queue = Mutex::new(VecDeque::from(rows));
    let wrong = Mutex::new(Vec::new());
    let lock_wrong = || wrong.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                loop {
                    let next = queue
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .pop_front();
                    let Some(row) = next else { return };
                    if let Err(why) = row.check() {
                        lock_wrong().push(format!("## {}\n{why:#}", row.name));
                    }
                }
            });
        }
    });
    let wrong = std::mem::take(&mut *lock_wrong());
    ensure!(
        wrong.is_empty(),
        "{} of {count} rows:\n\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    Ok(())
}

#[test]
fn command_lines() -> anyhow::Result<()> {
    check_all(command_line::rows(), 25)
}

#[test]
fn kubeconfigs() -> anyhow::Result<()> {
    check_all(kubeconfig::rows(), 25)
}

#[test]
fn credentials() -> anyhow::Result<()> {
    check_all(credentials::rows(), 20)
}

#[test]
fn lookups() -> anyhow::Result<()> {
    check_all(lookup::rows(), 20)
}

#[test]
fn upgrades() -> anyhow::Result<()> {
    check_all(upgrade::rows(), 35)
}

#[test]
fn certificates() -> anyhow::Result<()> {
    tls::check_all()
}
