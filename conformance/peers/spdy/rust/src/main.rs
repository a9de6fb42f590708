//! spdystream-rs as a peer. See ../README.md for what it is asked to do. It has no opening end, so there
//! is no `client`.

mod frames;
mod session;

use std::{process::exit, thread, time::Duration};

/// Nothing here may outlive the test that started it.
const DEADLINE: Duration = Duration::from_secs(120);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() {
    thread::spawn(|| {
        thread::sleep(DEADLINE);
        eprintln!("spdy-rust: still there after {DEADLINE:?}");
        exit(1);
    });
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.first().map(String::as_str) {
        Some("server") => session::serve().await,
        Some("decode") => frames::decode(args.get(1)).await,
        Some("encode") => frames::encode().await,
        _ => Err("usage: server | decode [CHUNK] | encode".into()),
    };
    if let Err(e) = done {
        eprintln!("spdy-rust: {e}");
        exit(1);
    }
    exit(0);
}
