//! `pf serve`: the embedded cluster for other programs.

mod file;

use crate::embedded::{self, objects};
use crate::exit::{Exit, Failure, Hop};
use crate::output::Output;
use crate::signals::Signals;
use crate::{holder, limits, listen};
use clap::ValueEnum;
use file::KubeconfigFile;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::net::TcpListener;

/// Serve a cluster for tests: API server, node and demo pods inside this program.
///
/// kubectl, pf and others can look objects up and forward ports; nothing else is served, and nothing
/// can be changed. Pod web and its ports are described in the README. Runs until Ctrl-C.
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// Where to listen; port 0 is any free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Write a kubeconfig here, and remove it at the end
    #[arg(long, value_name = "FILE")]
    kubeconfig_out: Option<PathBuf>,

    /// Whose kubeconfig: admin may all, viewer look up and not forward, nobody nothing
    #[arg(long, value_name = "NAME", value_enum, default_value_t = User::Admin)]
    user: User,

    /// What the kubeconfig proves it with
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Auth::Token)]
    auth: Auth,

    /// A pod that is this machine: each of its ports is that port of 127.0.0.1; may be repeated
    #[arg(long, value_name = "NAME")]
    host_pod: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum User {
    Admin,
    Viewer,
    Nobody,
}

impl User {
    const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Viewer => "viewer",
            Self::Nobody => "nobody",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Auth {
    /// A bearer token
    Token,
    /// A client certificate
    Cert,
}

impl Serve {
    /// # Errors
    /// Exit code 2.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        for name in &self.host_pod {
            let shown = portforward::escape::line(name);
            if !is_pod_name(name) {
                return Err(Failure::usage(format!(
                    "invalid --host-pod name '{shown}': a pod's name has lower-case letters, digits, '-' \
                     and '.', and begins and ends with a letter or digit"
                )));
            }
            if objects::is_demo_pod(name) {
                return Err(Failure::usage(format!(
                    "invalid --host-pod name '{shown}': there is a demo pod of that name"
                )));
            }
        }
        Ok(())
    }
}

/// A DNS subdomain, as the API server demands.
fn is_pod_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |label: &str| {
        label.bytes().all(|b| inner(b) || b == b'-')
            && label.bytes().next().is_some_and(inner)
            && label.bytes().next_back().is_some_and(inner)
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Serves until the user ends it.
///
/// # Errors
/// Whatever else ends it.
pub(crate) async fn run(serve: Serve, output: &Output) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    if let Some(warning) = exposure(&serve) {
        output.note(warning);
    }
    // Before anything listens: a path that cannot be written is cheaper to find here.
    let file = serve.kubeconfig_out.as_deref().map(KubeconfigFile::begin);
    let file = file.transpose()?;
    let listener = TcpListener::bind(serve.listen)
        .await
        .map_err(|error| taken(serve.listen, &error))?;
    limits::many_files();
    let embedded = embedded::start_on(listener, &serve.host_pod, None)
        .await
        .map_err(|error| embedded::failure(&error))?;
    let user = serve.user.name();
    // Removed when it is dropped, however this ends.
    let file = match file {
        None => None,
        Some(file) => Some(file.write(&embedded.kubeconfig(user, serve.auth == Auth::Cert))?),
    };
    output.line(format!("Serving a cluster on {}", embedded.url()));
    for line in directions(file.as_ref().map(file::Written::path), user) {
        output.line(line);
    }
    signals.next().await;
    tokio::select! {
        () = embedded.stop() => {}
        () = signals.next() => {}
    }
    Ok(())
}

/// How to use it, ready to paste.
fn directions(file: Option<&Path>, user: &str) -> Vec<String> {
    let Some(path) = file else {
        return vec![
            "No kubeconfig was asked for. With one:".to_owned(),
            "  pf serve --kubeconfig-out pf-serve.kubeconfig".to_owned(),
            "  export KUBECONFIG=pf-serve.kubeconfig".to_owned(),
        ];
    };
    let shown = quoted(&path.to_string_lossy());
    vec![
        format!("Kubeconfig of {user}: {shown}"),
        format!("  kubectl --kubeconfig {shown} port-forward pod/web 8080:http"),
        format!("  pf --kubeconfig {shown} pod/web 8080:http"),
    ]
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+=:@%,".contains(&b);
    if text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!(
            "'{}'",
            portforward::escape::line(text).replace('\'', r"'\''")
        )
    }
}

fn exposure(serve: &Serve) -> Option<String> {
    let ip = serve.listen.ip();
    (!ip.is_loopback()).then(|| {
        let what = if serve.host_pod.is_empty() {
            ""
        } else {
            ", and to every service of this machine that listens on 127.0.0.1"
        };
        format!(
            "warning: listening on {ip}: whoever reaches this machine there and has the kubeconfig gets to \
             the pods{what}"
        )
    })
}

fn taken(address: SocketAddr, error: &io::Error) -> Failure {
    let text = format!("Unable to listen on {address}: {}", listen::cause(error));
    let failure = Failure::new(Exit::Bind, Hop::Local, text);
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let who = holder::find(address.ip(), address.port()).map_or_else(
                || "end the program that has the port".to_owned(),
                |holder| format!("end {holder}"),
            );
            failure.advise(format!(
                "{who}, or give --listen another port, or 0 for any free one"
            ))
        }
        io::ErrorKind::AddrNotAvailable => {
            failure.advise("give --listen an address that this machine has")
        }
        _ => failure.advise("give --listen another address or port"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pods() {
        for good in ["a", "my-box", "a.b-0", "9"] {
            assert!(is_pod_name(good), "{good}");
        }
        let long = "a".repeat(254);
        for bad in [
            "", "A", "-a", "a-", "a..b", ".a", "a_b", "a/b", "\u{e4}", &long,
        ] {
            assert!(!is_pod_name(bad), "{bad}");
        }
    }

    #[test]
    fn paths_can_be_pasted() {
        assert_eq!(quoted("/tmp/a-b.c"), "/tmp/a-b.c");
        assert_eq!(quoted("/tmp/it's here"), r"'/tmp/it'\''s here'");
        assert_eq!(quoted("/tmp/\u{1b}[2J"), r"'/tmp/\x1b[2J'");
    }
}
