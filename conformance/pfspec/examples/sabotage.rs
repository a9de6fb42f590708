//! Runs the cases against every fault and writes down which case catches which.
//!
//! ```text
//! sabotage [--fault GLOB] [--case GLOB] [--patience-ms N] [--jobs N] [--seed N] [--enough N | --all] [--quick]
//!          [--minutes N] [--out FILE] [--keep FILE]
//!          [--kubeconfig FILE --pod NAMESPACE/NAME]
//! ```
//!
//! A fault that `--enough` cases have caught meets no more of them. `--quick` leaves out what else would be tried
//! with faults that nothing has caught, and with cases that have caught nothing. `--minutes` ends a run in time. `--keep` takes over what an earlier document says
//! of faults that were caught, so that after a change only what is new runs: take the lines of changed faults out of
//! it before. Without `--kubeconfig` the faults stand in front of the embedded cluster. Without `--out` the document goes to
//! standard output, and only a whole run should be written to `sabotage.md`.

use anyhow::{Context as _, bail};
use pfspec::sabotage::document::Expected;
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
        if word == "--all" {
            options.enough = usize::MAX;
            continue;
        }
        if word == "--quick" {
            options.quick = true;
            continue;
        }
        let value = words
            .next()
            .with_context(|| format!("{word} without a value"))?;
        match word.as_str() {
            "--fault" => options.faults = value,
            "--case" => options.cases = value,
            "--patience-ms" => options.patience = Duration::from_millis(value.parse()?),
            "--enough" => options.enough = value.parse()?,
            "--jobs" => options.jobs = value.parse()?,
            "--seed" => options.seed = value.parse()?,
            "--minutes" => {
                let time = Duration::from_secs(value.parse::<u64>()? * 60);
                options.until = Some(Instant::now() + time);
            }
            "--keep" => options.keep = Expected::read(&std::fs::read_to_string(value)?),
            "--out" => out = Some(PathBuf::from(value)),
            "--kubeconfig" => kubeconfig = Some(PathBuf::from(value)),
            "--pod" => pod = value,
            _ => bail!("unknown option {word}"),
        }
    }
    let (inner, server) = match kubeconfig {
        None => (pfspec::target::embedded().await?, "the embedded cluster"),
        Some(kubeconfig) => {
            let mut args = pfspec::target::ApiServerArgs::default();
            args.kubeconfig = Some(kubeconfig);
            args.pod = Some(pod);
            let target = args.open(None).await?;
            (target, "Kubernetes' own streaming server")
        }
    };
    let began = Instant::now();
    let matrix = judge(
        Arc::new(inner),
        &pfspec::catalogue::all(),
        &options,
        &mut |line| eprintln!("{:?} {line}", began.elapsed()),
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
