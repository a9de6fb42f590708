//! What a program prints: collected line by line in the background, waited for with a deadline.

use std::{
    fmt,
    io::Read,
    net::SocketAddr,
    str::FromStr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

/// Everything one output stream has said so far.
#[derive(Debug)]
pub struct Collector {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    said: Mutex<Said>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Said {
    bytes: Vec<u8>,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector {
    /// Starts to read `source` to its end.
    pub fn start(mut source: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let reader = thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                let got = source.read(&mut chunk).unwrap_or(0);
                let mut said = theirs.lock();
                said.bytes.extend_from_slice(&chunk[..got]);
                said.ended = got == 0;
                theirs.changed.notify_all();
                if got == 0 {
                    return;
                }
            }
        });
        Self {
            shared,
            reader: Some(reader),
        }
    }

    /// What was said so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.lock().bytes).into_owned()
    }

    /// Waits until `wanted` finds what it looks for in the text; `what` names it in the error.
    pub fn wait<T>(
        &self,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + within;
        let mut said = self.shared.lock();
        loop {
            let text = String::from_utf8_lossy(&said.bytes);
            if let Some(found) = wanted(&text) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if said.ended {
                bail!("the output ended without {what}; it was:\n{text}");
            }
            if left.is_zero() {
                bail!("no {what} within {within:?}; the output so far:\n{text}");
            }
            said = self
                .shared
                .changed
                .wait_timeout(said, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The whole text, once the stream has ended.
    pub fn finish(mut self) -> anyhow::Result<String> {
        self.wait_end(Duration::from_secs(5))?;
        if let Some(reader) = self.reader.take() {
            reader
                .join()
                .ok()
                .context("the reader of the output panicked")?;
        }
        Ok(self.text())
    }

    // A program's own children may hold its output open after it.
    fn wait_end(&self, within: Duration) -> anyhow::Result<()> {
        let (said, timeout) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), within, |said| !said.ended)
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            bail!(
                "the program has ended but its output has not; so far:\n{}",
                String::from_utf8_lossy(&said.bytes)
            );
        }
        Ok(())
    }
}

/// A line `Forwarding from LOCAL -> REMOTE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarding {
    /// Where the program listens.
    pub local: SocketAddr,
    /// The port in the pod.
    pub remote: u16,
}

impl FromStr for Forwarding {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> anyhow::Result<Self> {
        let unlike = || format!("not a line `Forwarding from LOCAL -> REMOTE`: {line:?}");
        let rest = line.strip_prefix("Forwarding from ").with_context(unlike)?;
        let (local, remote) = rest.split_once(" -> ").with_context(unlike)?;
        Ok(Self {
            local: local.parse().with_context(unlike)?,
            remote: remote.parse().with_context(unlike)?,
        })
    }
}

impl fmt::Display for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Forwarding from {} -> {}", self.local, self.remote)
    }
}

/// The whole lines of `text`; what is still being written is left out.
pub fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    let end = text.rfind('\n').map_or(0, |at| at + 1);
    text[..end].lines()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarding_lines_are_read_and_written_back() {
        for line in [
            "Forwarding from 127.0.0.1:8080 -> 80",
            "Forwarding from [::1]:8080 -> 80",
        ] {
            let read: Forwarding = line.parse().expect(line);
            assert_eq!(read.to_string(), line);
        }
        for line in [
            "",
            "Forwarding from 127.0.0.1:8080",
            "forwarding from 127.0.0.1:1 -> 1",
        ] {
            assert!(line.parse::<Forwarding>().is_err(), "{line}");
        }
    }

    #[test]
    fn unfinished_lines_wait() {
        assert_eq!(whole_lines("a\nb\nc").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(whole_lines("a").count(), 0);
    }

    #[test]
    fn waiting_ends_with_the_stream_and_shows_it() {
        let collector = Collector::start(&b"one\ntwo\n"[..]);
        let two = collector.wait("two", Duration::from_secs(5), |text| text.find("two"));
        assert_eq!(two.expect("two was said"), 4);
        let error = collector
            .wait("three", Duration::from_secs(60), |text| text.find("three"))
            .expect_err("three was never said");
        assert!(error.to_string().contains("one\ntwo"), "{error}");
    }
}
