//! `pf --record` on the real cluster, and the same session again without it.

use conformance::transcript::{capture::SCENARIOS, hex, parse, reenact};

use super::{on_cluster, pf_as};
use anyhow::{Context as _, ensure};

/// The user's token is nowhere in what is recorded, in whatever form.
#[test]
fn real_sessions_can_be_replayed_and_hold_no_token() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let directory = tempfile::tempdir()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        for scenario in SCENARIOS {
            let file = directory.path().join(scenario.name);
            let pf = pf_as(cluster, "forwarder-token", "pod/bare");
            let transcript = scenario.record(pf, &file)?;
            parse(&transcript)?;
            runtime
                .block_on(reenact(&transcript))
                .with_context(|| format!("{}\n{transcript}", scenario.name))?;
            let text = transcript.to_string();
            ensure!(
                transcript.provenance.peer.starts_with("kubernetes v1."),
                "{text}"
            );
            let hex = hex(b"forwarder-token");
            ensure!(
                !text.contains("forwarder-token") && !text.contains(&hex),
                "{text}"
            );
            ensure!(!text.contains("uthorization"), "{text}");
        }
        Ok(())
    })
}
