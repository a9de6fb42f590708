//! Allocations of the copy loop: how many, and of how many bytes, for each MiB that passes a client and a
//! node in one process. What a connection costs to set up is taken off.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

use allocation_counter::{AllocationInfo, measure};
use benches::{Tls, Way};
use std::net::SocketAddr;
use tokio::runtime::{Builder, Runtime};

const MIB: usize = 1 << 20;
/// MiB: more than a connection takes to come to rest.
const SHORT: usize = 8;
const LONG: usize = SHORT + 64;

fn per_mib(runtime: &Runtime, address: SocketAddr, write: usize) -> (f64, f64) {
    let piece = vec![7; write];
    let of = |mib: usize| -> AllocationInfo {
        let times = mib * MIB / write;
        measure(|| {
            runtime
                .block_on(benches::fill(address, &piece, times))
                .unwrap();
        })
    };
    of(SHORT);
    let (short, long) = (of(SHORT), of(LONG));
    let mib = (LONG - SHORT) as f64;
    (
        (long.count_total as f64 - short.count_total as f64) / mib,
        (long.bytes_total as f64 - short.bytes_total as f64) / mib / MIB as f64,
    )
}

fn main() {
    let tls = Tls::new().unwrap();
    println!("| | writes | allocations a MiB | MiB allocated a MiB |");
    println!("|---|---|---|---|");
    for (tls, crypt) in [(None, "plain"), (Some(&tls), "TLS")] {
        for way in Way::ALL {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let address = runtime.block_on(async {
                let sink = benches::sink().await.unwrap();
                benches::start(way, sink, tls).await.unwrap()
            });
            for write in [16 << 10, 1 << 20] {
                let (count, bytes) = per_mib(&runtime, address, write);
                println!("| {crypt} {way} | {write} | {count:.1} | {bytes:.2} |");
            }
        }
    }
}
