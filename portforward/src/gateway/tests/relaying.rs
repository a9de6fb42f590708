//! After the 101: bytes, and ends of either kind.

use super::*;
use crate::observe::{Place, Watch};
use tokio::sync::mpsc;

/// A forwarding through the gateway: the client's end, the node's end, and what the gateway would
/// do to either.
struct Session {
    client: DuplexStream,
    node: DuplexStream,
    client_leg: Watcher,
    node_leg: Watcher,
}

async fn session() -> Session {
    let (give, mut take) = mpsc::unbounded_channel();
    let backend = Scripted::new(move |mut io| {
        let give = give.clone();
        async move {
            read_head(&mut io).await;
            io.write_all(format!("{GOOD}behind the head").as_bytes())
                .await
                .unwrap();
            let _nobody = give.send(io);
        }
    });
    let gateway = gateway(backend.clone());
    let (mut client, client_leg) = connect(&gateway);
    client
        .write_all(format!("{}ahead", upgrade("admin")).as_bytes())
        .await
        .unwrap();
    let mut node = take.recv().await.unwrap();
    let mut first = format!("{GOOD}behind the head").into_bytes();
    first.fill(0);
    client.read_exact(&mut first).await.unwrap();
    assert_eq!(
        first,
        format!("{GOOD}behind the head").as_bytes(),
        "relayed verbatim"
    );
    let mut ahead = [0; 5];
    node.read_exact(&mut ahead).await.unwrap();
    assert_eq!(&ahead, b"ahead");
    let node_leg = backend.watcher();
    Session {
        client,
        node,
        client_leg,
        node_leg,
    }
}

async fn rest(io: &mut DuplexStream) -> String {
    let mut rest = Vec::new();
    let _broken = io.read_to_end(&mut rest).await;
    String::from_utf8(rest).unwrap()
}

#[tokio::test(start_paused = true)]
async fn bytes_cross_both_ways() {
    let Session { client, node, .. } = session().await;
    let up: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let down: Vec<u8> = up.iter().rev().copied().collect();
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut node_read, mut node_write) = tokio::io::split(node);
    let (mut got_up, mut got_down) = (vec![0; up.len()], vec![0; down.len()]);
    tokio::try_join!(
        client_write.write_all(&up),
        node_write.write_all(&down),
        async { node_read.read_exact(&mut got_up).await.map(drop) },
        async { client_read.read_exact(&mut got_down).await.map(drop) },
    )
    .unwrap();
    assert!(got_up == up && got_down == down);
}

#[tokio::test(start_paused = true)]
async fn a_clean_end_of_the_node_is_a_clean_end() {
    let mut s = session().await;
    s.node.write_all(b"last words").await.unwrap();
    s.node.shutdown().await.unwrap();
    assert_eq!(rest(&mut s.client).await, "last words");
    assert!(!s.client_leg.resets());
}

#[tokio::test(start_paused = true)]
async fn a_cut_of_the_node_is_a_reset() {
    let mut s = session().await;
    s.node_leg.break_it();
    s.node.write_all(b"half a fra").await.unwrap();
    drop(s.node);
    assert_eq!(rest(&mut s.client).await, "half a fra");
    assert!(s.client_leg.resets() && s.node_leg.resets());
}

#[tokio::test(start_paused = true)]
async fn ends_of_the_client() {
    let mut s = session().await;
    s.client.write_all(b"GOAWAY").await.unwrap();
    s.client.shutdown().await.unwrap();
    assert_eq!(rest(&mut s.node).await, "GOAWAY");
    assert!(!s.node_leg.resets());

    let mut s = session().await;
    s.client_leg.break_it();
    s.client.write_all(b"half").await.unwrap();
    drop(s.client);
    assert_eq!(rest(&mut s.node).await, "half");
    assert!(s.node_leg.resets());
}

/// A node that has said its last words and gone is not known to be gone until something is written
/// to it; the words must arrive all the same.
#[tokio::test(start_paused = true)]
async fn last_words_survive_a_failed_write() {
    let mut s = session().await;
    let words = "w".repeat(400_000);
    let (to_write, mut node) = (words.clone(), s.node);
    let writer = tokio::spawn(async move {
        node.write_all(to_write.as_bytes())
            .await
            .map(|()| drop(node))
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!writer.is_finished());
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        let mut piece = vec![0; 1000];
        loop {
            // Each byte of the client's may be the one that finds the node gone.
            let _gone = s.client.write_all(b"p").await;
            match s.client.read(&mut piece).await {
                Ok(n) if n > 0 => all.extend_from_slice(&piece[..n]),
                _ => return (all, s.client_leg.resets()),
            }
        }
    });
    writer.await.unwrap().unwrap();
    let (all, reset) = reader.await.unwrap();
    assert_eq!(all.len(), words.len());
    assert!(!reset);
}

/// F10, T35: dropping the gateway resets both sides.
#[tokio::test]
async fn a_dropped_gateway_resets() {
    let s = session().await;
    assert!(
        s.client_leg.resets() && s.node_leg.resets(),
        "armed while it runs"
    );
}

/// A client of a tunnel that closes it in order gets its answer, and no reset; one of SPDY, whose end is only
/// TCP's, is let go.
#[tokio::test(start_paused = true)]
async fn a_close_is_answered_before_the_end() {
    let (mut client, near, watcher) = pipe(1 << 16);
    let (mut node, far, node_watcher) = pipe(1 << 16);
    let tunnel = crate::websocket::WsByteStream::server(near, BytesMut::new()).unwrap();
    let none = BytesMut::new;
    let relayed = tokio::spawn(async move {
        let watch = Watch::new(None, Place::Gateway);
        relay::run(tunnel, far, none(), none(), &watch).await;
    });
    // Close 1000, masked with zeroes.
    client.write_all(b"\x88\x82\0\0\0\0\x03\xE8").await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"\x88\x02\x03\xE8");
    assert_eq!(node.read(&mut [0; 9]).await.unwrap(), 0);
    drop((client, node));
    relayed.await.unwrap();
    assert!(!watcher.resets() && !node_watcher.resets());
}
