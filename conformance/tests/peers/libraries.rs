//! Client libraries of other people's against `pf serve`, over `v4.channel.k8s.io`: the programs of
//! `conformance/peers/clients`, whose README has what each does.

use std::{ffi::OsString, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use conformance::{
    peers::Peer,
    program::{Ended, Pf},
};
use ring::digest::{SHA256, digest};

use crate::{Server, find};

/// The programs end by themselves before that.
const WITHIN: Duration = Duration::from_secs(60);

const MIB: usize = 1 << 20;

/// The program of a library, and what that can do.
#[derive(Debug, Clone, Copy)]
struct Library {
    peer: Peer,
    /// Two ports on one WebSocket.
    two: bool,
}

const KUBE_RS: Library = Library {
    peer: Peer::KubeRs,
    two: true,
};

const PYTHON: Library = Library {
    peer: Peer::Python,
    two: true,
};

const NODE: Library = Library {
    peer: Peer::Node,
    two: false,
};

const FABRIC8: Library = Library {
    peer: Peer::Fabric8,
    two: false,
};

const JAVA: Library = Library {
    peer: Peer::Java,
    two: true,
};

impl Library {
    /// Runs a test with a server and the program, or says that it does not.
    fn test(
        self,
        test: impl FnOnce(&mut Server, &Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Some(program) = find(self.peer)? else {
            return Ok(());
        };
        let mut server = Server::ours()?;
        test(&mut server, &program)?;
        server.still_runs()
    }

    /// Every step, with an echo of so many bytes.
    fn forwards(self, bytes: usize) -> anyhow::Result<()> {
        self.test(|server, program| {
            let ended = run(server, program, "web", bytes)?;
            ensure!(ended.code == Some(0), "{ended}");
            let lines: Vec<_> = ended.stdout.lines().collect();
            let (echo, rest) = lines.split_first().context("no line")?;
            ensure!(*echo == format!("ok echo {}", digest_of(bytes)), "{ended}");
            let (refused, rest) = rest.split_first().context("one line")?;
            let text = refused.strip_prefix("ok refused ");
            let text = text.with_context(|| ended.to_string())?;
            ensure!(
                text.contains("error forwarding port 7999 to pod web")
                    && text.contains("connection refused"),
                "{ended}"
            );
            let two: &[&str] = if self.two { &["ok two"] } else { &[] };
            ensure!(rest == two, "{ended}");
            Ok(())
        })
    }
}

fn run(server: &Server, program: &Path, pod: &str, bytes: usize) -> anyhow::Result<Ended> {
    let words: [OsString; 4] = [
        server.kubeconfig().into(),
        pod.into(),
        "7000".into(),
        bytes.to_string().into(),
    ];
    Pf::new(words).start_program(program)?.wait_exit(WITHIN)
}

fn digest_of(bytes: usize) -> String {
    let sent: Vec<u8> = (0..=250).cycle().take(bytes).collect();
    let digest = digest(&SHA256, &sent);
    digest
        .as_ref()
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn forwards(library: Library) -> anyhow::Result<()> {
    library.forwards(MIB)
}

fn forwards_nothing(library: Library) -> anyhow::Result<()> {
    library.forwards(0)
}

/// The programs can fail: the lines above are none that they always print.
fn says_that_there_is_no_such_pod(library: Library) -> anyhow::Result<()> {
    library.test(|server, program| {
        let ended = run(server, program, "missing", 1)?;
        ensure!(ended.code != Some(0), "{ended}");
        ensure!(
            !ended.stdout.contains("ok") && !ended.stderr.is_empty(),
            "{ended}"
        );
        Ok(())
    })
}

/// client-java makes one message of so long a write.
#[test]
fn java_sends_a_long_message() -> anyhow::Result<()> {
    JAVA.forwards(8 * MIB)
}

/// As in `clients`.
macro_rules! for_each_library {
    ($cases:tt $($name:ident = $library:expr;)*) => {
        $(mod $name { for_each_library!(@tests $library, $cases); })*
    };
    (@tests $library:expr, [$($case:ident)*]) => {
        $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::$case($library)
            }
        )*
    };
}

for_each_library! {
    [
        forwards
        forwards_nothing
        says_that_there_is_no_such_pod
    ]
    kube_rs = super::KUBE_RS;
    python = super::PYTHON;
    node = super::NODE;
    fabric8 = super::FABRIC8;
    java = super::JAVA;
}
