//! One run: reserve ports, find the pod, upgrade, listen, carry, end.

use crate::api::{self, ApiServer};
use crate::cli::{Isolate, Request};
use crate::config;
use crate::embedded::{self, Embedded};
use crate::establish::{Established, establish};
use crate::exit::{Exit, Failure, Hop};
use crate::forward::{Acceptor, Carried, Way};
use crate::limits;
use crate::listen::{self, Bound};
use crate::output::Output;
use crate::pool::Pool;
use crate::record::Record;
use crate::reserve::Reservations;
use crate::resolve::resolve;
use crate::signals::Signals;
use portforward::session::CloseReason;
use portforward::transcript::Provenance;
use std::num::NonZeroU16;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// For the session to end in order.
const GRACE: Duration = Duration::from_secs(5);
/// For local connections to take what arrived before they are reset.
const DELIVERY: Duration = Duration::from_millis(1_500);

/// Runs until the user ends it.
///
/// # Errors
/// Whatever else ends it.
pub(crate) async fn run(
    request: Request,
    record: Option<&mut Record>,
    output: &Output,
) -> Result<(), Failure> {
    // A file was made that has to go if nothing comes of it; else signals end the program here.
    let mut signals = record.is_some().then(Signals::new).transpose()?;
    let stopped = async {
        match &mut signals {
            Some(signals) => signals.next().await,
            None => std::future::pending().await,
        }
    };
    let ready = tokio::select! {
        ready = prepare(request, record, output) => ready?,
        () = stopped => {
            let text = "ended by a signal before forwarding began";
            return Err(Failure::new(Exit::General, Hop::CommandLine, text));
        }
    };
    serve(ready, output).await
}

/// All that stands when forwarding begins.
struct Ready {
    established: Established,
    isolate: (Isolate, usize),
    bound: Vec<(Bound, NonZeroU16)>,
    place: String,
    /// Ends with this.
    _embedded: Option<Embedded>,
}

async fn prepare(
    request: Request,
    record: Option<&mut Record>,
    output: &Output,
) -> Result<Ready, Failure> {
    if let Some(warning) = listen::exposure(&request.addresses) {
        output.note(warning);
    }
    let command = command(&request);
    // Before the cluster is asked for anything: a taken port is cheaper to find here.
    let reserved = Reservations::early(request.addresses, &request.ports, request.partial, output)?;
    let (config, embedded) = if request.embedded {
        let embedded = embedded::start().await.map_err(|e| embedded::failure(&e))?;
        (embedded.config.clone(), Some(embedded))
    } else {
        (config::load(&request.selection, output).await?, None)
    };
    let namespace = request
        .namespace
        .unwrap_or_else(|| config.default_namespace.clone());
    let namespace = if namespace.is_empty() {
        "default".to_owned()
    } else {
        namespace
    };
    crate::target::check_name("namespace", &namespace)
        .map_err(|text| Failure::usage(portforward::escape::line(&text)))?;
    output.trace(1, || {
        format!("API server {}, namespace {namespace}", api::url_of(&config))
    });

    let server = ApiServer::new(&config, &namespace)?;
    let found = resolve(
        &server,
        &request.target,
        &request.ports,
        request.patience,
        output,
    )
    .await?;
    let bound = reserved.complete(&found.forwards)?;
    let recorder = match record {
        Some(record) => {
            let peer = server.version().await;
            let peer = peer.map_or_else(|| "unknown".to_owned(), |v| format!("kubernetes {v}"));
            let ours = crate::USER_AGENT.replace('/', " ");
            let provenance = Provenance::new(&peer, &command, &ours, "API server", &ours);
            Some(record.start(&provenance, output)?)
        }
        None => None,
    };
    let how = (request.protocol, request.isolate);
    let established = establish(&config, &server, &found.pod, how, recorder, output).await?;
    // Its pool of connections is of no more use.
    drop((server, config));
    let place = format!("pod/{} in namespace {namespace}", found.pod);
    Ok(Ready {
        established,
        isolate: (request.isolate, request.max_sessions),
        bound,
        place,
        _embedded: embedded,
    })
}

/// How to run it again, for a transcript: the target and the ports. Files, contexts and addresses are
/// this machine's.
fn command(request: &Request) -> String {
    let namespace = request.namespace.iter().map(|name| format!("-n {name} "));
    let ports = request
        .ports
        .iter()
        .map(|port| format!(" :{}", port.remote));
    format!(
        "pf {}{}{}",
        namespace.collect::<String>(),
        request.target,
        ports.collect::<String>()
    )
}

async fn serve(ready: Ready, output: &Output) -> Result<(), Failure> {
    let Ready {
        established,
        isolate: (isolate, limit),
        bound,
        place,
        _embedded,
    } = ready;
    limits::many_files();
    let (way, pool) = match established {
        Established::Session(first, dialler) => {
            let pool = Pool::new(first, dialler, isolate, limit, output.clone());
            (Way::Session(pool.clone()), Some(pool))
        }
        Established::Channels(channels) => (Way::Channels(channels), None),
    };
    let (acceptor, mut carried, mut gone) = Acceptor::new(way, output.clone());
    let mut accepting = JoinSet::new();
    // From here on signals are ours; before, they end the program as they would kubectl.
    let started = Signals::new().and_then(|signals| {
        for (bound, remote) in bound {
            let local = bound.port();
            for listener in bound.listen(remote, output)? {
                accepting.spawn(acceptor.clone().accept(listener, local, remote));
            }
        }
        Ok(signals)
    });
    drop(acceptor);
    let mut signals = match started {
        Ok(signals) => signals,
        Err(failure) => {
            accepting.shutdown().await;
            close(pool, &mut carried).await;
            return Err(failure);
        }
    };
    let session_lost = async {
        match &pool {
            Some(pool) => pool.lost().await,
            None => std::future::pending().await,
        }
    };
    let lost = tokio::select! {
        reason = session_lost => Some(lost_connection(&reason, &place)),
        Some(failure) = gone.recv() => Some(failure),
        () = signals.next() => None,
    };
    accepting.shutdown().await;
    if let Some(failure) = lost {
        // Local connections hear of it by a reset, not by an end that looks clean.
        drop(timeout(DELIVERY, carried.all_ended()).await);
        return Err(failure);
    }
    tokio::select! {
        () = close(pool, &mut carried) => {}
        () = signals.next() => {}
    }
    Ok(())
}

/// Ends all forwarded connections, then the sessions, in order and in bounded time. Connections with
/// WebSockets of their own end with the program.
async fn close(pool: Option<Pool>, carried: &mut Carried) {
    let Some(pool) = pool else {
        carried.stop().await;
        return;
    };
    let ended = async {
        pool.close().await;
        carried.all_ended().await;
    };
    drop(timeout(GRACE, ended).await);
}

fn lost_connection(reason: &CloseReason, place: &str) -> Failure {
    let reason = reason.to_string();
    // The TLS library refers to its manual.
    let reason = reason.split(": https://").next().unwrap_or(&reason);
    let reason = portforward::escape::line(reason);
    Failure::new(
        Exit::General,
        Hop::Way(place.to_owned()),
        "lost connection to pod",
    )
    .because(reason)
    .advise("run pf again")
}
