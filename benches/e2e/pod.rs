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
        pod.stats().context("asking the pod")?;
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
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        if !head
            .split("\r\n")
            .next()
            .is_some_and(|line| line.ends_with(" 200 OK"))
        {
            bail!("/stats: {head}");
        }
        Ok(serde_json::from_str(body)?)
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
