//! What waits to be sent keeps to its budget (B15), however long it goes on.

use super::{headers, open, pair_with};
use crate::session::queues::CHUNK_OVERHEAD;
use crate::session::{CHUNK, Config, DATA_PAYLOAD, Stream, client};
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::task::Poll;
use tokio::io::{AsyncReadExt, AsyncWriteExt as _, DuplexStream, duplex};

#[tokio::test]
async fn a_queue_that_never_empties_does_not_grow() {
    let config = Config {
        stream_send: 16 << 10,
        ..Config::default()
    };
    let budget = config.stream_send;
    let (client, server) = pair_with(1 << 10, config);
    let (mut ours, mut theirs) = open(&client, &server).await;
    let mut most = 0;
    for size in [1, 100, 10_000, 300_000] {
        for _ in 0..400 {
            // As much as fits, then a little is read: the queue is never empty.
            loop {
                let mut chunk = Bytes::from(vec![7; size]);
                let written = poll_fn(|cx| match ours.poll_write_chunk(cx, &mut chunk) {
                    Poll::Ready(written) => Poll::Ready(Some(written)),
                    Poll::Pending => Poll::Ready(None),
                });
                let Some(written) = written.await else { break };
                written.unwrap();
                tokio::task::yield_now().await;
            }
            {
                let state = ours.cell.lock();
                let held = state.sending.iter().map(|c| c.len() + CHUNK_OVERHEAD);
                let held = held.sum::<usize>();
                assert!(held > 0);
                most = most.max(held);
                // One chunk more than the budget, and never less than is there: a part of the first may
                // have left, with none of its overhead.
                assert!(held < budget + size + CHUNK_OVERHEAD, "{held} of {budget}");
                assert!(
                    state.sending_bytes >= held,
                    "{} counted of {held}",
                    state.sending_bytes
                );
            }
            let mut buffer = vec![0; 64 << 10];
            assert!(theirs.read(&mut buffer).await.unwrap() > 0);
        }
    }
    assert!(most > budget / 2);
}

async fn queue(stream: &mut Stream, len: usize) {
    let mut chunk = Bytes::from(vec![7; len]);
    let queued = poll_fn(|cx| stream.poll_write_chunk(cx, &mut chunk));
    queued.await.unwrap();
}

/// Two long chunks take turns in frames that all carry something: no rest of a few bytes has a turn of its own.
#[tokio::test]
async fn a_long_chunk_leaves_no_crumbs() {
    let (a, mut b) = duplex(1 << 10);
    let (session, driver) = client(a, BytesMut::new(), Config::default()).unwrap();
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = session.open(headers()).unwrap();
        queue(&mut stream, DATA_PAYLOAD).await;
        streams.push(stream);
    }
    tokio::spawn(driver);
    let frames = data_frames(&mut b, 2 * DATA_PAYLOAD).await;
    assert_eq!(frames.len(), 8, "{frames:?}");
    assert!(frames.iter().all(|(_, n)| *n >= CHUNK), "{frames:?}");
}

/// The DATA frames, by stream and length, until so many bytes have come.
async fn data_frames(b: &mut DuplexStream, bytes: usize) -> Vec<(u8, usize)> {
    let mut frames = Vec::new();
    while frames.iter().map(|(_, n)| n).sum::<usize>() < bytes {
        let mut head = [0; 8];
        b.read_exact(&mut head).await.unwrap();
        let len = u32::from_be_bytes([0, head[5], head[6], head[7]]);
        let len = usize::try_from(len).unwrap();
        let mut payload = vec![0; len];
        b.read_exact(&mut payload).await.unwrap();
        if head[0] & 0x80 == 0 {
            frames.push((head[3], len));
        }
    }
    frames
}

/// A frame of 256 KiB is nobody's turn: it leaves only while nobody else has something to send, and no more waits
/// before it than before.
#[tokio::test]
async fn long_frames_leave_while_nobody_else_is_in_line() {
    let (a, mut b) = duplex(1 << 10);
    let (session, driver) = client(a, BytesMut::new(), Config::default()).unwrap();
    let mut first = session.open(headers()).unwrap();
    let mut second = session.open(headers()).unwrap();
    queue(&mut first, 2 * DATA_PAYLOAD).await;
    queue(&mut second, 100_000).await;
    tokio::spawn(driver);
    let frames = data_frames(&mut b, 2 * DATA_PAYLOAD + 100_000).await;
    let rest = 100_000 - CHUNK;
    let begin = [(1, CHUNK), (3, CHUNK), (1, CHUNK), (3, rest)];
    let end = [(1, DATA_PAYLOAD), (1, DATA_PAYLOAD - 2 * CHUNK)];
    assert_eq!(frames, [&begin[..], &end[..]].concat());
    for stream in [&mut first, &mut second] {
        stream.flush().await.unwrap();
        assert_eq!(stream.cell.lock().sending_bytes, 0);
        assert_eq!(stream.shared.sending_bytes.load(Ordering::Relaxed), 0);
    }
}
