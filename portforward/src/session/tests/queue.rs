//! What waits to be sent keeps to its budget (B15), however long it goes on.

use super::{open, pair_with};
use crate::session::Config;
use crate::session::queues::CHUNK_OVERHEAD;
use bytes::Bytes;
use std::future::poll_fn;
use std::task::Poll;
use tokio::io::AsyncReadExt;

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
    for size in [1, 100, 10_000] {
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
