//! The answering end.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use sha2::{Digest as _, Sha256};
use spdystream_rs::{Connection, RstStatus, Stream};
use tokio::{net::TcpListener, sync::watch};

use crate::Result;

const PIECE: u64 = 32 << 10;

pub(crate) async fn serve() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("port {}", listener.local_addr()?.port());
    let (socket, _) = listener.accept().await?;
    socket.set_nodelay(true)?;
    // What the stream `first` got, for `recall`.
    let recalled = Arc::new(watch::channel(String::new()).0);
    let connection = Connection::serve(socket, move |stream| {
        let recalled = Arc::clone(&recalled);
        // An error shows at the opener.
        Box::pin(async move { drop(answer(&stream, &recalled).await) })
    });
    connection.await?.wait_closed().await;
    println!("end");
    Ok(())
}

async fn sum(stream: &Stream) -> Result<String> {
    let mut hash = Sha256::new();
    while let Some(data) = stream.read_data().await? {
        hash.update(&data);
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

async fn answer(stream: &Stream, recalled: &watch::Sender<String>) -> Result<()> {
    let text = |name| {
        stream
            .headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    };
    if text("x-test") == "refuse" {
        return Ok(stream.reset(RstStatus::RefusedStream).await?);
    }
    stream.send_reply(HeaderMap::new(), false).await?;
    match text("x-test") {
        "echo" => {
            while let Some(data) = stream.read_data().await? {
                if !data.is_empty() {
                    stream.write_data(data, false).await?;
                }
            }
            stream.write_data(Bytes::new(), true).await?;
        }
        "source" => {
            let length: u64 = text("x-length").parse()?;
            for at in (0..length).step_by(PIECE as usize) {
                let piece = at..length.min(at + PIECE);
                let piece = piece.map(|i| u8::try_from(i % 251).unwrap_or(0)).collect();
                stream.write_data(piece, false).await?;
            }
            stream.write_data(Bytes::new(), true).await?;
        }
        "sink" => stream.write_data(sum(stream).await?.into(), true).await?,
        "reset" => {
            stream
                .write_data(Bytes::from_static(b"0123456789"), false)
                .await?;
            stream.reset(RstStatus::Cancel).await?;
        }
        "first" => {
            stream
                .write_data(Bytes::from_static(b"first"), true)
                .await?;
            recalled.send_replace(sum(stream).await?);
        }
        "recall" => {
            let mut watched = recalled.subscribe();
            let found = watched.wait_for(|found| !found.is_empty()).await?.clone();
            stream.write_data(found.into(), true).await?;
        }
        _ => stream.reset(RstStatus::Cancel).await?,
    }
    Ok(())
}
