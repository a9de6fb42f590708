//! When a stream that nobody reads is reset for the sake of others (B14), without flow control.

use super::{open, pair_with};
use crate::session::{Config, Stream, StreamFailure, stream_failure};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
fn fill(mut writer: Stream) {
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
