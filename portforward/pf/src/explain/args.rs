//! The words behind `pf explain`.

use crate::config::Selection;
use crate::exit::Failure;
use crate::target::{Target, check_name};
use clap::ValueEnum;
use portforward::escape;
use portforward::ports::{PortSpec, RemotePort};
use std::path::PathBuf;
use std::time::Duration;

/// Make one real forwarded connection and draw it, hop by hop, as it happened
///
/// Connects to PORT through pf, the API server, the kubelet and the container runtime, waits 300 ms
/// for the pod to speak first, sends what --send says, reads the answer, and ends. Every step is drawn
/// with the time at which it began and how long it took, in milliseconds. Hops that cannot be seen
/// from here are drawn dashed and without times; with --embedded all are measured.
///
/// What fails is drawn up to where it failed. The exit codes are those of pf.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to connect to; NAME alone is a pod
    #[arg(value_name = "TYPE/NAME")]
    explained: String,

    /// One port, by number or name
    #[arg(value_name = "PORT")]
    port: String,

    /// What to send; \n, \r, \t, \0, \\ and \xHH are understood [default: a HEAD request if the port
    /// is 80 or 8080 or named http, else nothing]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    send: Option<String>,

    /// How to draw it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Also write the bytes behind the 101, payload included, to a file
    #[arg(long, value_name = "FILE", hide = true)]
    wire_log: Option<PathBuf>,
}

/// What the drawing is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines for a terminal
    Text,
    /// A Mermaid sequenceDiagram
    Mermaid,
    /// One JSON object
    Json,
}

/// The same, checked.
#[derive(Debug)]
pub(crate) struct Request {
    pub(super) target: Target,
    pub(super) port: PortSpec,
    pub(super) send: Option<Vec<u8>>,
    pub(super) format: Format,
    pub(super) wire_log: Option<PathBuf>,
    pub(super) selection: Selection,
    pub(super) namespace: Option<String>,
    pub(super) patience: Duration,
    pub(super) embedded: bool,
}

impl Args {
    /// # Errors
    /// Exit code 2.
    pub(crate) fn check(
        self,
        selection: Selection,
        namespace: Option<String>,
        patience: Duration,
        embedded: bool,
    ) -> Result<Request, Failure> {
        let usage = |text: String| Failure::usage(escape::line(&text));
        let target: Target = self.explained.parse().map_err(usage)?;
        if self.port.contains(':') {
            return Err(usage(format!(
                "explain connects to one remote port: '{}' names a local one too",
                self.port
            )));
        }
        let port: PortSpec = format!(":{}", self.port)
            .parse()
            .map_err(|error| usage(format!("{error}")))?;
        if let Some(namespace) = &namespace {
            check_name("namespace", namespace).map_err(usage)?;
        }
        // Flags before and behind the word: clap sees each side alone.
        let named = [&selection.context, &selection.cluster, &selection.user];
        if embedded && (selection.kubeconfig.is_some() || named.iter().any(|n| n.is_some())) {
            return Err(usage(
                "--embedded cannot be used with a kubeconfig".to_owned(),
            ));
        }
        let send = self.send.as_deref().map(unescape).transpose();
        Ok(Request {
            target,
            port,
            send: send.map_err(usage)?,
            format: self.format,
            wire_log: self.wire_log,
            selection,
            namespace: namespace.filter(|namespace| !namespace.is_empty()),
            patience,
            embedded,
        })
    }
}

impl Request {
    /// The port as it was asked for.
    pub(super) fn asked(&self) -> String {
        match &self.port.remote {
            RemotePort::Number(number) => number.to_string(),
            RemotePort::Name(name) => escape::line(name),
        }
    }
}

/// The escapes of `--send`.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let byte = match chars.next() {
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => {
                let hex: String = chars.by_ref().take(2).collect();
                let digits = hex.len() == 2 && hex.bytes().all(|b| b.is_ascii_hexdigit());
                u8::from_str_radix(&hex, 16)
                    .ok()
                    .filter(|_| digits)
                    .ok_or("--send: \\x needs two hexadecimal digits")?
            }
            Some(other) => return Err(format!("--send: unknown escape \\{other}")),
            None => return Err("--send: a \\ at the end".to_owned()),
        };
        bytes.push(byte);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        assert_eq!(
            unescape(r"GET / HTTP/1.0\r\n\r\n").unwrap(),
            b"GET / HTTP/1.0\r\n\r\n"
        );
        assert_eq!(unescape(r"\\\t\0\x7fä").unwrap(), b"\\\t\0\x7f\xc3\xa4");
        for bad in [r"\q", "\\", r"\x1", r"\x+1", r"\xä"] {
            assert!(unescape(bad).is_err(), "{bad}");
        }
    }
}
