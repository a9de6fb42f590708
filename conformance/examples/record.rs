//! Records the transcripts of `conformance/transcripts` from the real cluster that `cluster/up`
//! starts: `cargo run -p conformance --example record -- DIRECTORY`. Needs a built `pf`.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, bail};
use conformance::{cluster::Cluster, program::Pf, say, transcript::capture::SCENARIOS};

fn main() -> anyhow::Result<()> {
    let directory: PathBuf = env::args_os().nth(1).context("which directory?")?.into();
    fs::create_dir_all(&directory)?;
    let Some(cluster) = Cluster::find("recording")? else {
        bail!("no cluster to record from");
    };
    for scenario in SCENARIOS {
        let file = directory.join(scenario.name).with_extension("pft");
        // pf replaces nothing.
        if file.exists() {
            fs::remove_file(&file)?;
        }
        // A user with a token: were it recorded, the tests would see it.
        let pf = Pf::line("pod/bare").kubeconfig(&cluster.kubeconfig("forwarder-token"));
        let transcript = scenario.record(pf, &file)?;
        say(&format!(
            "{}: {} events",
            file.display(),
            transcript.events.len()
        ));
    }
    Ok(())
}
