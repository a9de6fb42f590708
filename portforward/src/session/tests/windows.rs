//! Flow control between our own roles.

use super::{open, pair, pair_with, pattern};
use crate::session::{Config, Stream};
use bytes::Bytes;
use std::future::poll_fn;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::time::{Instant, sleep, timeout};

fn without() -> Config {
    Config {
        windows: false,
        ..Config::default()
    }
}

/// Writes until nothing more is taken.
async fn flood(stream: &mut Stream) -> usize {
    let mut sent = 0;
    loop {
        let mut chunk = Bytes::from(vec![7; 16 << 10]);
        let write = poll_fn(|cx| stream.poll_write_chunk(cx, &mut chunk));
        match timeout(Duration::from_millis(1), write).await {
            Ok(written) => written.unwrap(),
            Err(_) => return sent,
        }
        sent += 16 << 10;
    }
}

/// With the clock standing still while there is work: a wake-up that is lost would show as time.
#[tokio::test(start_paused = true)]
async fn a_bulk_transfer_waits_for_credit_only() {
    let (client, server) = pair(64 << 10);
    let (ours, theirs) = open(&client, &server).await;
    let start = Instant::now();
    let all = pattern(24 << 20, 3);
    let whole = all.clone();
    let (mut read, mut write) = split(ours);
    let upload = tokio::spawn(async move {
        write.write_all(&whole).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let (mut their_read, mut their_write) = split(theirs);
    let whole = all.clone();
    let download = tokio::spawn(async move {
        their_write.write_all(&whole).await.unwrap();
        their_write.shutdown().await.unwrap();
    });
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let (a, b) = tokio::join!(their_read.read_to_end(&mut up), read.read_to_end(&mut down));
    a.and(b).unwrap();
    upload.await.unwrap();
    download.await.unwrap();
    assert!(up == all && down == all);
    assert!(
        start.elapsed() < Duration::from_millis(100),
        "{:?}",
        start.elapsed()
    );
}

/// The sender is held at its window, and the others do not notice.
#[tokio::test(start_paused = true)]
async fn an_unread_stream_holds_its_window_and_no_more() {
    let (client, server) = pair(64 << 10);
    for upwards in [true, false] {
        let (ours, theirs) = open(&client, &server).await;
        let (mut sender, mut reader) = if upwards {
            (ours, theirs)
        } else {
            (theirs, ours)
        };
        let sent = flood(&mut sender).await;
        assert!(sent >= 1 << 20, "{sent}");
        // The window, and what waits on the way: two queues of 64 KiB.
        assert!(sent <= (1 << 20) + (192 << 10), "{sent}");
        let (mut ours, mut theirs) = open(&client, &server).await;
        for _ in 0..1000 {
            ours.write_all(b"ping").await.unwrap();
            let mut got = [0; 4];
            let read = theirs.read_exact(&mut got);
            timeout(Duration::from_millis(100), read)
                .await
                .unwrap()
                .unwrap();
        }
        // Whenever it is read, everything is there.
        let mut got = vec![0; sent];
        let read = reader.read_exact(&mut got);
        timeout(Duration::from_millis(100), read)
            .await
            .unwrap()
            .unwrap();
        assert!(got.iter().all(|byte| *byte == 7));
    }
}

/// Payload that nobody will read is credited to the session all the same.
#[tokio::test(start_paused = true)]
async fn a_reader_that_goes_away_gives_its_credit_back() {
    let (client, server) = pair(64 << 10);
    for round in 0..60 {
        let (mut ours, mut theirs) = open(&client, &server).await;
        let sent = flood(&mut theirs).await;
        assert!(sent >= 1 << 20, "round {round}: {sent}");
        // Some of it was read, and some had ended by FIN.
        let mut some = vec![0; 1000 * round];
        ours.read_exact(&mut some).await.unwrap();
        if round % 2 == 0 {
            theirs.shutdown().await.unwrap();
            ours.shutdown().await.unwrap();
        }
        drop(ours);
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(client.load().unread, 0);
}

/// Both must want it.
#[tokio::test(start_paused = true)]
async fn one_side_alone_has_no_windows() {
    for (ours, theirs) in [
        (without(), Config::default()),
        (Config::default(), without()),
    ] {
        let (a, b) = tokio::io::duplex(64 << 10);
        let (client, driver) = crate::session::client(a, bytes::BytesMut::new(), ours).unwrap();
        tokio::spawn(driver);
        let (server, driver) = crate::session::server(b, bytes::BytesMut::new(), theirs).unwrap();
        tokio::spawn(driver);
        let (mut sender, _reader) = {
            let (ours, theirs) = open(&client, &server).await;
            (theirs, ours)
        };
        let sent = flood(&mut sender).await;
        assert!(sent >= 4 << 20, "what B14 lets wait: {sent}");
    }
    let (client, server) = pair_with(64 << 10, Config::default());
    let (_ours, mut theirs) = open(&client, &server).await;
    assert!(flood(&mut theirs).await < 2 << 20);
}
