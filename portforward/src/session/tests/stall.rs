//! When a stream that nobody reads is reset for the sake of others (B14), without flow control.

use super::{open, pair_with};
use crate::session::{self, Config, Stream, StreamFailure, stream_failure};
use bytes::BytesMut;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::time::{Instant, sleep, timeout};

const STALL: Duration = Duration::from_secs(1);

fn config() -> Config {
    Config {
        windows: false,
        stream_receive: 64 << 10,
        stall: STALL,
        ..Config::default()
    }
}

/// Fills what may be unread of a stream, and more.
fn fill(mut writer: impl AsyncWrite + Send + Unpin + 'static) {
    tokio::spawn(async move {
        // Until it is reset.
        while writer.write_all(&[7; 4096]).await.is_ok() {}
    });
}

/// How long until the stream is reset, in seconds; `None`: not within 100.
async fn reset_after(unread: &mut Stream) -> Option<u64> {
    let start = Instant::now();
    let failure = std::future::poll_fn(|cx| unread.poll_failed(cx));
    let failure = timeout(Duration::from_secs(100), failure).await.ok()?;
    assert!(matches!(failure, StreamFailure::Stalled(_)), "{failure}");
    Some((start.elapsed() + Duration::from_millis(500)).as_secs())
}

#[tokio::test(start_paused = true)]
async fn at_once_if_another_waits_for_an_answer() {
    let (client, server) = pair_with(1 << 16, config());
    let (mut unread, writer) = open(&client, &server).await;
    let (mut other, mut theirs) = open(&client, &server).await;
    fill(writer);
    sleep(Duration::from_millis(10)).await;
    other.write_all(b"?").await.unwrap();
    theirs.read_u8().await.unwrap();
    theirs.write_all(b"!").await.unwrap();
    assert_eq!(reset_after(&mut unread).await, Some(1));
    assert_eq!(other.read_u8().await.unwrap(), b'!');
    let error = unread.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert!(stream_failure(&error).is_some());
}

#[tokio::test(start_paused = true)]
async fn later_if_others_only_listen() {
    let (client, server) = pair_with(1 << 16, config());
    let (mut unread, writer) = open(&client, &server).await;
    let (mut other, mut theirs) = open(&client, &server).await;
    other.write_all(b"?").await.unwrap();
    theirs.read_u8().await.unwrap();
    fill(writer);
    assert_eq!(reset_after(&mut unread).await, Some(4));
    theirs.write_all(b"!").await.unwrap();
    assert_eq!(other.read_u8().await.unwrap(), b'!');
}

/// An echo whose answers wait, behind all that a slow reader at the peer has not read, cannot go on
/// reading: that is not the fault of who reads it.
#[tokio::test(start_paused = true)]
async fn not_at_once_if_what_it_says_cannot_leave() {
    let (a, b) = duplex(1 << 10);
    let slow = Config {
        stream_receive: 4 << 10,
        stall: 100 * STALL,
        ..config()
    };
    let (client, driver) = session::client(a, BytesMut::new(), slow).unwrap();
    tokio::spawn(driver);
    let (server, driver) = session::server(b, BytesMut::new(), config()).unwrap();
    tokio::spawn(driver);
    let (ours, mut echo) = open(&client, &server).await;
    // A server takes one more stream for the partner of the one in question.
    let _partner = open(&client, &server).await;
    let (mut other, mut answers) = open(&client, &server).await;
    tokio::spawn(async move { other.read_to_end(&mut Vec::new()).await });
    let (mut read, write) = tokio::io::split(ours);
    fill(write);
    tokio::spawn(async move {
        while read.read_exact(&mut [0; 1000]).await.is_ok() {
            sleep(STALL / 20).await;
        }
    });
    tokio::spawn(async move {
        while answers.write_all(b"!").await.is_ok() {
            sleep(STALL / 10).await;
        }
    });
    let echoes = async {
        let mut some = [0; 4096];
        loop {
            let n = echo.read(&mut some).await?;
            echo.write_all(&some[..n]).await?;
        }
    };
    let echoes: Result<std::io::Result<()>, _> = timeout(100 * STALL, echoes).await;
    assert!(echoes.is_err(), "{echoes:?}");
}

/// What the others still have to say is their end.
#[tokio::test(start_paused = true)]
async fn never_because_of_streams_that_this_side_has_ended() {
    let (client, server) = pair_with(1 << 16, config());
    let (mut unread, writer) = open(&client, &server).await;
    let (mut ended, _theirs) = open(&client, &server).await;
    ended.shutdown().await.unwrap();
    fill(writer);
    assert_eq!(reset_after(&mut unread).await, None);
    let mut some = vec![0; 1 << 20];
    unread.read_exact(&mut some).await.unwrap();
}
