//! `--url-cmd`: a command of the user's that prints a URL.

use crate::probe::secrets::Secrets;
use anyhow::{Context as _, bail};
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// For one run of it.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// For what is still to be read once it has ended: what it leaves running may hold its pipes open.
const REST: Duration = Duration::from_secs(1);

/// What a command prints. If it takes longer than `patience`, it is killed with its process group (on Unix).
///
/// # Cancel safety
/// Dropping the future kills them too.
///
/// # Errors
/// Why there is no URL. Of what it printed only its errors are in the text, and of its own words only the first, the name
/// of a program.
pub(super) async fn printed(
    command: &str,
    ports: &[u16],
    patience: Duration,
) -> anyhow::Result<String> {
    let (shell, flag) = if cfg!(windows) {
        ("cmd", "/C")
    } else {
        ("sh", "-c")
    };
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let mut running = Command::new(shell);
    running
        .args([flag, command])
        .env("PFSPEC_PORTS", ports.join(","))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    #[cfg(unix)]
    running.process_group(0);
    let mut running = running.spawn().context("--url-cmd cannot be run")?;
    let group = Group::of(&running);
    let (stdout, stderr) = (running.stdout.take(), running.stderr.take());
    let (mut printed, mut errors) = (Vec::new(), Vec::new());
    let status = {
        let both = async { tokio::join!(read(stdout, &mut printed), read(stderr, &mut errors)) };
        let mut both = pin!(both);
        let mut is_read = false;
        let ended = timeout(patience, async {
            tokio::select! {
                ended = running.wait() => ended,
                _ = &mut both => {
                    is_read = true;
                    running.wait().await
                }
            }
        });
        let Ok(ended) = ended.await else {
            bail!(
                "--url-cmd took longer than {patience:?}, and was killed; it cannot ask anything on the terminal"
            );
        };
        let status = ended.context("--url-cmd")?;
        // At once: with its leader gone the number of the group may become a stranger's.
        group.leave();
        if !is_read {
            timeout(REST, both).await.ok();
        }
        status
    };
    let said = told(command).finder();
    let said = said.text(&String::from_utf8_lossy(&errors));
    let said = said.trim();
    if !status.success() {
        bail!("--url-cmd failed, {status}: {said}");
    }
    let printed = String::from_utf8_lossy(&printed);
    let mut words = printed.split_whitespace();
    match (words.next(), words.next()) {
        (Some(url), None) => Ok(url.to_owned()),
        (None, _) => bail!("--url-cmd printed no URL; on stderr: {said:?}"),
        // Not what it printed: that may hold a token.
        (Some(_), Some(_)) => {
            let count = printed.split_whitespace().count();
            bail!("--url-cmd printed more than a URL: {count} words")
        }
    }
}

/// What comes, to the end or until this is dropped.
async fn read(pipe: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    while pipe.read_buf(into).await.is_ok_and(|count| count > 0) {}
}

/// The words of a command, of which any may be a token: shells and programs repeat what they were told. Not the first,
/// unless it sets a variable: it says what has failed.
fn told(command: &str) -> Secrets {
    let mut told = Secrets::default();
    let words = command.split(|c: char| c.is_whitespace() || "'\"".contains(c));
    for (number, word) in words.filter(|word| !word.is_empty()).enumerate() {
        if number == 0 && !word.contains('=') {
            continue;
        }
        told.add(word.as_bytes());
        // What a shell cuts there, and a value, comes back alone.
        for part in word.split([';', '&', '|', '(', ')']) {
            told.add(part.as_bytes());
            if let Some((_, value)) = part.split_once('=') {
                told.add(value.as_bytes());
            }
        }
    }
    told
}

/// A shell and what it started, which a signal to the shell alone leaves behind. Killed when this is dropped.
#[cfg(unix)]
struct Group(Option<rustix::process::Pid>);

#[cfg(unix)]
impl Group {
    fn of(leader: &Child) -> Self {
        let number = leader.id().and_then(|id| i32::try_from(id).ok());
        Self(number.and_then(rustix::process::Pid::from_raw))
    }

    /// What the command has left running on purpose, such as a shared connection of ssh, is the user's.
    fn leave(mut self) {
        self.0 = None;
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Nobody may be left in it.
            rustix::process::kill_process_group(leader, rustix::process::Signal::KILL).ok();
        }
    }
}

/// Elsewhere the shell alone is killed.
#[cfg(not(unix))]
struct Group;

#[cfg(not(unix))]
impl Group {
    fn of(_: &Child) -> Self {
        Self
    }

    fn leave(self) {}
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn commands() {
        let url = printed("echo http://h/$PFSPEC_PORTS", &[80, 81], PATIENCE).await;
        assert_eq!(url.unwrap(), "http://h/80,81");
        let table = [
            ("true", "printed no URL"),
            ("echo a b", "more than a URL"),
            ("echo gone >&2; exit 3", "exit status: 3: gone"),
            (
                "echo \"who is canary-3f81\" >&2; exit 3",
                "3: who is ***********",
            ),
            (
                "TOKEN=s3cret-token-1234; echo who is $TOKEN >&2; exit 3",
                "3: who is *****************",
            ),
            (
                "T=s3cret;sh -c 'echo who is '$T';exit 4'>&2",
                "exit status: 4: who is ******",
            ),
            ("no-such-program s3cret", "no-such-program: "),
        ];
        for (command, expected) in table {
            let text = printed(command, &[], PATIENCE)
                .await
                .unwrap_err()
                .to_string();
            assert!(text.contains(expected), "{text}");
            assert!(!text.contains("s3cret"), "{text}");
        }
    }

    /// What a command leaves running is no part of it, and lives on.
    #[tokio::test]
    async fn what_it_leaves_running() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        let command = format!("sleep 120 & echo $! >{}; echo http://h/", file.display());
        let began = std::time::Instant::now();
        let url = printed(&command, &[], PATIENCE).await;
        assert_eq!(url.unwrap(), "http://h/");
        assert!(began.elapsed() < Duration::from_secs(20), "{began:?}");
        let number = std::fs::read_to_string(file).unwrap();
        let left = rustix::process::Pid::from_raw(number.trim().parse().unwrap()).unwrap();
        rustix::process::test_kill_process(left).unwrap();
        rustix::process::kill_process(left, rustix::process::Signal::KILL).unwrap();
    }

    /// Makes a FIFO, and tells when somebody has opened it, and when nobody has it open any more.
    fn watched(path: &std::path::Path) -> tokio::sync::mpsc::UnboundedReceiver<&'static str> {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
        let (sender, told) = tokio::sync::mpsc::unbounded_channel();
        let path = path.to_owned();
        std::thread::spawn(move || {
            let mut fifo = std::fs::File::open(path).unwrap();
            sender.send("held").unwrap();
            std::io::Read::read_to_end(&mut fifo, &mut Vec::new()).unwrap();
            sender.send("free").unwrap();
        });
        told
    }

    #[tokio::test]
    async fn nothing_stays_behind() {
        let folder = tempfile::tempdir().unwrap();
        let long = Duration::from_secs(60);
        for name in ["late", "dropped"] {
            let fifo = folder.path().join(name);
            let mut told = watched(&fifo);
            // A child of the shell, and one of that.
            let work = format!("exec 3>{}; sleep 600; true", fifo.display());
            let command = format!("({work}) & wait");
            if name == "late" {
                let patience = Duration::from_secs(5);
                let printed = printed(&command, &[], patience).await;
                let text = printed.unwrap_err().to_string();
                assert!(text.contains("longer than 5s"), "{text}");
                assert_eq!(timeout(long, told.recv()).await, Ok(Some("held")));
            } else {
                tokio::select! {
                    printed = printed(&command, &[], PATIENCE) => panic!("{printed:?}"),
                    told = told.recv() => assert_eq!(told, Some("held")),
                }
            }
            assert_eq!(timeout(long, told.recv()).await, Ok(Some("free")), "{name}");
        }
    }
}
