//! Runs the cases against every fault and writes down which case catches which.
//!
//! ```text
//! sabotage [--fault GLOB] [--case GLOB] [--patience-ms N] [--together N] [--jobs N] [--seed N] [--out FILE]
//!          [--all] [--brief] [--kubeconfig FILE --pod NAMESPACE/NAME]
//! ```
//!
//! Without `--kubeconfig` the faults stand in front of the embedded cluster. Without `--out` the document goes to
//! standard output, and only a whole run should be written to `sabotage.md`.

use anyhow::{Context as _, bail};
use pfspec::sabotage::matrix::{Options, judge};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut options = Options::default();
    let (mut out, mut kubeconfig, mut pod) = (None, None, "default/peer".to_owned());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--all" => options.all = true,
            "--brief" => options.brief = true,
            _ => {}
        }
        if matches!(word.as_str(), "--all" | "--brief") {
            continue;
        }
        let value = words
            .next()
            .with_context(|| format!("{word} without a value"))?;
        match word.as_str() {
            "--fault" => options.faults = value,
            "--case" => options.cases = value,
            "--patience-ms" => options.patience = Duration::from_millis(value.parse()?),
            "--together" => options.together = value.parse()?,
            "--jobs" => options.jobs = value.parse()?,
            "--seed" => options.seed = value.parse()?,
            "--out" => out = Some(PathBuf::from(value)),
            "--kubeconfig" => kubeconfig = Some(PathBuf::from(value)),
            "--pod" => pod = value,
            _ => bail!("unknown option {word}"),
        }
    }
    let (inner, server) = match kubeconfig {
        None => (pfspec::target::embedded().await?, "the embedded cluster"),
        Some(kubeconfig) => {
            let args = pfspec::target::ApiServerArgs {
                kubeconfig: Some(kubeconfig),
                pod: Some(pod),
                ..Default::default()
            };
            let target = args.open(None).await?;
            (target, "the API server of a kubeconfig")
        }
    };
    let began = Instant::now();
    let matrix = judge(
        Arc::new(inner),
        &pfspec::catalogue::all(),
        &options,
        &mut |row| {
            let first = row.caught.first();
            let first = first.map_or_else(
                || "nothing".to_owned(),
                |catch| format!("{} ({:?}): {}", catch.case, catch.took, catch.detail),
            );
            eprintln!(
                "{}: {} of {}; {first}",
                row.fault.id,
                row.caught.len(),
                row.ran
            );
        },
    )
    .await;
    eprintln!("{:?}", began.elapsed());
    let document = matrix.document(server);
    match out {
        None => println!("{document}"),
        Some(out) => std::fs::write(out, document)?,
    }
    Ok(())
}
