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
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

const MIB: u64 = 1 << 20;
/// More than a connection takes to come to rest.
const SHORT: u64 = 8 * MIB;
const LONG: u64 = SHORT + 64 * MIB;

async fn send(address: SocketAddr, piece: &[u8], total: u64) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket.write_u64(total).await.unwrap();
    for _ in 0..total / piece.len() as u64 {
        socket.write_all(piece).await.unwrap();
    }
    assert_eq!(socket.read_u8().await.unwrap(), b'!');
}

fn per_mib(runtime: &Runtime, address: SocketAddr, write: usize) -> (f64, f64) {
    let piece = vec![7; write];
    let of =
        |total| -> AllocationInfo { measure(|| runtime.block_on(send(address, &piece, total))) };
    of(SHORT);
    let (short, long) = (of(SHORT), of(LONG));
    let mib = ((LONG - SHORT) / MIB) as f64;
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
