//! The hot copy loop: an application's writes through a client and a node, by each protocol, plain and TLS,
//! on 1 and 32 connections at once, beside streams of h2 and two tokio copy loops. Only ratios count.
//!
//! `PF_TURNS=N` takes all ways in turn instead, N times, and prints a table of ratios: on a shared machine
//! what is compared has to be close in time.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

use benches::stats::Spread;
use benches::{Tls, Way};
use criterion::{BenchmarkId, Criterion, Throughput};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

const SIZES: [usize; 3] = [1 << 10, 16 << 10, 1 << 20];
const STREAMS: [usize; 2] = [1, 32];

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Bytes of one run, over all connections.
const fn total(write: usize) -> usize {
    if write < 4096 { 4 << 20 } else { 32 << 20 }
}

/// Sends `total` bytes over `streams` connections at once and waits until all has arrived.
async fn send(address: SocketAddr, write: usize, streams: usize) {
    let tasks: Vec<_> = (0..streams)
        .map(|_| {
            tokio::spawn(async move {
                let piece = vec![7; write];
                let writes = total(write) / write / streams;
                benches::fill(address, &piece, writes).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

struct Case {
    way: Way,
    runtime: Runtime,
    address: SocketAddr,
}

fn cases(tls: Option<&Tls>) -> Vec<Case> {
    let case = |way| {
        let runtime = runtime();
        let address = runtime.block_on(async {
            let sink = benches::sink().await.unwrap();
            benches::start(way, sink, tls).await.unwrap()
        });
        Case {
            way,
            runtime,
            address,
        }
    };
    Way::ALL.map(case).into()
}

fn copy(c: &mut Criterion) {
    let tls = Tls::new().unwrap();
    for (tls, crypt) in [(None, "plain"), (Some(&tls), "TLS")] {
        let cases = cases(tls);
        for write in SIZES {
            for streams in STREAMS {
                let mut group = c.benchmark_group(format!("{crypt}, writes of {write}, {streams}"));
                let bytes = u64::try_from(total(write) / streams / write * streams * write);
                group
                    .throughput(Throughput::Bytes(bytes.unwrap()))
                    .sample_size(10);
                for case in &cases {
                    group.bench_function(BenchmarkId::from_parameter(case.way), |b| {
                        b.to_async(&case.runtime)
                            .iter(|| send(case.address, write, streams));
                    });
                }
                group.finish();
            }
        }
    }
}

/// All ways in turn; medians of the ratios within a turn.
fn turns(n: usize) {
    let tls = Tls::new().unwrap();
    println!("| | writes | connections | relays, MiB/s | spdy / relays | tunnel | channels | h2 |");
    println!("|---|---|---|---|---|---|---|---|");
    for (tls, crypt) in [(None, "plain"), (Some(&tls), "TLS")] {
        let cases = cases(tls);
        for write in SIZES {
            for streams in STREAMS {
                // The first warms up.
                let mut rows = Vec::new();
                for turn in 0..=n {
                    let mut row: Vec<Duration> = vec![Duration::ZERO; cases.len()];
                    for at in 0..cases.len() {
                        // Each second one backwards.
                        let at = if turn % 2 == 0 {
                            at
                        } else {
                            cases.len() - 1 - at
                        };
                        let begin = Instant::now();
                        cases[at]
                            .runtime
                            .block_on(send(cases[at].address, write, streams));
                        row[at] = begin.elapsed();
                    }
                    if turn > 0 {
                        rows.push(row);
                    }
                }
                let last = cases.len() - 1;
                let ratio = |at: usize| {
                    let ratios = rows
                        .iter()
                        .map(|row| row[last].as_secs_f64() / row[at].as_secs_f64());
                    median(ratios)
                };
                let relays =
                    median(rows.iter().map(|row| {
                        total(write) as f64 / f64::from(1 << 20) / row[last].as_secs_f64()
                    }));
                let ratios: Vec<_> = (0..last).map(|at| format!("{:.2}", ratio(at))).collect();
                println!(
                    "| {crypt} | {write} | {streams} | {relays:.0} | {} |",
                    ratios.join(" | ")
                );
            }
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    Spread::of(values.collect()).unwrap().median
}

fn main() {
    if let Some(n) = std::env::var("PF_TURNS").ok().and_then(|n| n.parse().ok()) {
        return turns(n);
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    copy(&mut criterion);
    criterion.final_summary();
}
