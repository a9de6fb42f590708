//! What the pod itself says it received, asked over a connection of its own.

use crate::child::{Child, STATS};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PAUSE: Duration = Duration::from_millis(10);
const TIMEOUT: Duration = Duration::from_secs(5);

/// What asks is a client that is not measured.
pub(crate) struct Pod(Child);

impl Pod {
    pub(crate) fn open(client: Child) -> Result<Self> {
        let pod = Self(client);
        pod.sunk().context("asking the pod")?;
        Ok(pod)
    }

    /// A number of bytes, at least `least` and little more, that no connection to sink had lately. By it
    /// an upload is told from those of others.
    pub(crate) fn unused_size(&self, least: u64) -> Result<u64> {
        let stats = self.stats()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let mut size = least + u64::from(now.subsec_micros()) % 65_536;
        while sinks(&stats).any(|(received, _)| received == size) {
            size += 1;
        }
        Ok(size)
    }

    /// What sink has read so far, on all connections.
    pub(crate) fn sunk(&self) -> Result<u64> {
        let sunk = self.stats()?["sunk"].as_u64();
        sunk.context("the pod does not say what sink has read; build it again")
    }

    /// Waits until sink has read so much. The end of the connection would be a second late: the runtime waits
    /// for it.
    pub(crate) fn wait_for_sunk(&self, total: u64, deadline: Instant) -> Result<()> {
        loop {
            // An answer may get lost: ask again.
            let sunk = self.sunk().unwrap_or_default();
            if sunk >= total {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "of what was sent the pod did not get the last {} bytes",
                    total - sunk
                );
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until a connection to sink has ended after exactly `bytes`.
    pub(crate) fn wait_for_upload(&self, bytes: u64, deadline: Instant) -> Result<()> {
        loop {
            // An answer may get lost: ask again.
            let stats = self.stats().unwrap_or_default();
            if sinks(&stats).any(|(received, _)| received == bytes) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let seen: Vec<String> = sinks(&stats)
                    .map(|(received, error)| format!("{received} {error}").trim().to_owned())
                    .collect();
                bail!(
                    "the pod did not get the {bytes} bytes sent; its latest connections got [{}], still open: {}",
                    seen.join(", "),
                    stats["open"]["sink"]
                );
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn stats(&self) -> Result<Value> {
        let mut socket = TcpStream::connect(self.0.address(STATS)?)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        socket.write_all(b"GET /stats HTTP/1.0\r\n\r\n")?;
        // Up to the end of the object: the end of the connection comes a second later, when the runtime has waited.
        let mut answer = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let n = socket.read(&mut buffer)?;
            answer.extend_from_slice(&buffer[..n]);
            let text = String::from_utf8_lossy(&answer);
            let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
            let line = head.split("\r\n").next().unwrap_or_default();
            match serde_json::from_str(body) {
                Ok(stats) if line.ends_with(" 200 OK") => return Ok(stats),
                _ if n == 0 => bail!("/stats: {line}"),
                _ => {}
            }
        }
    }
}

/// Bytes received and error of the latest connections to sink.
fn sinks(stats: &Value) -> impl Iterator<Item = (u64, &str)> {
    let latest = stats["latest"].as_array().map_or(&[][..], Vec::as_slice);
    latest
        .iter()
        .filter(|it| it["Service"] == "sink")
        .map(|it| {
            let error = it["Error"].as_str().unwrap_or_default();
            (it["Received"].as_u64().unwrap_or_default(), error)
        })
}
