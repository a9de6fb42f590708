//! `pf`: forwards local ports to a pod, as `kubectl port-forward` does.
//!
//! The protocol is the `portforward` library's. Here is what it must not know of: command line,
//! kubeconfig, API objects, listeners, signals, exit codes.
//!
//! No library to build on: of this crate only the program itself is offered, and [`cluster`], what the judge
//! `pfspec` needs of it.

mod api;
mod cli;
pub mod cluster;
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
mod pool;
mod portmap;
mod proxy;
mod record;
mod reserve;
mod resolve;
mod run;
mod serve;
mod signals;
#[cfg(unix)]
pub use signals::hangup_is_ignored;
mod target;

use cli::{Line, Order};
use exit::{Exit, Failure, Hop};
use output::Output;
use record::Record;
use std::process::ExitCode;
use std::time::Duration;

/// How requests name this program.
const USER_AGENT: &str = concat!("pf/", env!("CARGO_PKG_VERSION"));

/// The program, with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    limits::no_core_dumps();
    limits::keep_buffers();
    let line = Line::read(std::env::args_os().collect()).unwrap_or_else(|error| error.exit());
    let Ok(output) = Output::new(line.verbosity()) else {
        return Exit::General.into();
    };
    let exit = match start(line, &output) {
        Ok(()) => Exit::Success,
        Err(failure) => {
            output.note(failure.to_string());
            failure.exit
        }
    };
    output.finish(Duration::from_secs(1));
    exit.into()
}

fn start(line: Line, output: &Output) -> Result<(), Failure> {
    let order = line.check()?;
    // Before anything else: a file that cannot be had needs no cluster to be found.
    let mut record = match &order {
        Order::Forward(request) => request.record.as_deref().map(Record::create).transpose()?,
        _ => None,
    };
    let result = on_runtime(async {
        match order {
            Order::Forward(request) => Box::pin(run::run(*request, record.as_mut(), output)).await,
            Order::Explain(request) => Box::pin(explain::run(*request, output)).await,
            Order::Serve(serve) => serve::run(serve, output).await,
        }
    });
    if let Some(record) = record {
        record.finish(output);
    }
    result
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
    let result = runtime.block_on(async {
        signals::survive_file_limits();
        run.await
    });
    // A name lookup may still hang.
    runtime.shutdown_background();
    result
}
