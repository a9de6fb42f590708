//! See the library beside it.

use pfspec::case::Word;
use pfspec::run::{Plan, choose, reserved, run};
use pfspec::session_patience;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::watch;

fn main() -> ExitCode {
    drop(rustls::crypto::ring::default_provider().install_default());
    // For now: words that ids must contain; PFSPEC_KUBECONFIG and PFSPEC_POD (NAMESPACE/NAME) name an API server.
    let globs: Vec<String> = std::env::args().skip(1).collect();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(4);
        }
    };
    runtime.block_on(async {
        let target = match std::env::var_os("PFSPEC_KUBECONFIG") {
            None => pfspec::target::embedded().await,
            Some(kubeconfig) => {
                let choice = pf_program::cluster::Choice {
                    kubeconfig: Some(kubeconfig.into()),
                    ..Default::default()
                };
                let pod = std::env::var("PFSPEC_POD").unwrap_or_default();
                let (namespace, name) = pod.split_once('/').unwrap_or(("default", "peer"));
                pfspec::target::apiserver(&choice, namespace, name).await
            }
        };
        let target = match target {
            Ok(target) => Arc::new(target),
            Err(error) => {
                eprintln!("error: {error:#}");
                return ExitCode::from(3);
            }
        };
        let catalogue = pfspec::catalogue::all();
        let (cases, _) = choose(&catalogue, &target, &|case, _| {
            if globs.iter().any(|glob| !case.id.contains(glob.as_str())) {
                return Some("not asked for");
            }
            reserved(case, false, false)
        });
        let plan = Plan {
            cases,
            jobs: 8,
            seed: 1,
            patience: session_patience(),
            fail_fast: false,
        };
        let (_stop, stopped) = watch::channel(false);
        let reports = run(target, &plan, stopped, &mut |report| {
            println!(
                "{} {}: {} ({:?})",
                report.word.name(),
                report.name(),
                report.detail(),
                report.took
            );
        })
        .await;
        let failed = reports.iter().any(|report| report.word == Word::Fail);
        ExitCode::from(u8::from(failed))
    })
}
