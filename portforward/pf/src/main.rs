//! `pf`: forwards local ports to a pod, as `kubectl port-forward` does.
//!
//! The protocol is the `portforward` library's. Here is what it must not know of: command line,
//! kubeconfig, API objects, listeners, signals, exit codes.

mod api;
mod cli;
mod config;
mod dial;
mod duration;
mod embedded;
mod establish;
mod exit;
mod explain;
mod forward;
mod holder;
mod kubeconfig;
mod limits;
mod listen;
mod output;
mod plugin;
mod podsort;
mod portmap;
mod proxy;
mod reserve;
mod resolve;
mod run;
mod target;

use clap::Parser as _;
use exit::{Exit, Failure, Hop};
use output::Output;
use std::process::ExitCode;
use std::time::Duration;

/// How requests name this program.
const USER_AGENT: &str = concat!("pf/", env!("CARGO_PKG_VERSION"));

fn main() -> ExitCode {
    limits::no_core_dumps();
    let cli = cli::Cli::parse();
    let Ok(output) = Output::new(cli.verbosity()) else {
        return Exit::General.into();
    };
    let exit = match start(cli, &output) {
        Ok(()) => Exit::Success,
        Err(failure) => {
            output.note(failure.to_string());
            failure.exit
        }
    };
    output.finish(Duration::from_secs(1));
    exit.into()
}

fn start(mut cli: cli::Cli, output: &Output) -> Result<(), Failure> {
    if let Some(request) = cli.explain()? {
        return on_runtime(explain::run(request, output));
    }
    let request = cli.check()?;
    on_runtime(run::run(request, output))
}

fn on_runtime(run: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // Fails only if there is one already.
    drop(rustls::crypto::ring::default_provider().install_default());
    // One thread moves bytes faster than two that hand them to each other.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            let text = format!("cannot start: {error}");
            Failure::new(Exit::General, Hop::Local, text)
        })?;
    let result = runtime.block_on(run);
    // A name lookup may still hang.
    runtime.shutdown_background();
    result
}
