//! Which session a connection is put on. The peers here read all; PINGs they answer in every lane but the one that an
//! upload has blocked (PROTOCOL.md 1.7).

use super::*;
use bytes::BytesMut;
use portforward::session::{self, Stream};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

/// Whether the pods read: as long as not, the lane of the last DATA is blocked.
type Reads = Arc<AtomicBool>;

/// Workers of spdystream.
const LANES: u32 = 5;

async fn peer(mut io: DuplexStream, reads: Reads) -> std::io::Result<()> {
    let (mut blocked, mut waiting) = (None, Vec::<Vec<u8>>::new());
    loop {
        let mut head = [0; 8];
        // Who has begun to read answers what it was asked, also if nothing more comes.
        match timeout(Duration::from_millis(50), io.read_exact(&mut head)).await {
            Ok(read) => drop(read?),
            Err(_) if reads.load(Ordering::Relaxed) => {
                for pong in waiting.drain(..) {
                    io.write_all(&pong).await?;
                }
                continue;
            }
            Err(_) => continue,
        }
        let [a, b, c, d, _, len @ ..] = head;
        let of = |bytes: [u8; 4]| u32::from_be_bytes(bytes);
        let (word, len) = (of([a, b, c, d]), of([0, len[0], len[1], len[2]]));
        let mut payload = vec![0; usize::try_from(len).expect("it is short")];
        io.read_exact(&mut payload).await?;
        if word >> 31 == 0 {
            blocked = Some(word % LANES);
        } else if word == 0x8003_0006 {
            let id = of(payload.as_slice().try_into().expect("a PING has an id"));
            let pong = [&head[..], &payload[..]].concat();
            if blocked == Some((id >> 1) % LANES) && !reads.load(Ordering::Relaxed) {
                waiting.push(pong);
            } else {
                io.write_all(&pong).await?;
            }
        }
    }
}

fn session(reads: &Reads) -> (Session, JoinHandle<CloseReason>) {
    let (ours, theirs) = duplex(64 << 10);
    let (session, driver) =
        session::client(ours, BytesMut::new(), session::Config::default()).unwrap();
    tokio::spawn(peer(theirs, Arc::clone(reads)));
    (session, tokio::spawn(driver))
}

/// As many sessions as that; further ones cannot be opened.
fn pool(policy: Isolate, limit: usize, sessions: usize) -> (Pool, Reads) {
    let (output, reads) = (Output::new(0).unwrap(), Reads::default());
    let pool = Pool::new(session(&reads), Dialler::nowhere(), policy, limit, output);
    for _ in 1..sessions {
        pool.admit(session(&reads));
    }
    (pool, reads)
}

fn take(pool: &Pool, count: usize) -> (Vec<u64>, Vec<Place>) {
    let places: Vec<_> = (0..count).filter_map(|_| pool.choose()).collect();
    (places.iter().map(|place| place.number).collect(), places)
}

/// A forwarded connection that sends until it is held back.
async fn upload(place: &Place) -> (Stream, Stream) {
    let headers = || [("port", "80")].into_iter().collect();
    let pair = place.forwarder.session().open_pair(headers(), headers());
    let (error, mut data) = pair.unwrap();
    let chunk = vec![7; 64 << 10];
    let all = async {
        for _ in 0..1_000 {
            data.write_all(&chunk).await.unwrap();
        }
    };
    timeout(Duration::from_secs(1), all).await.unwrap_err();
    (data, error)
}

fn blocked(place: &Place) -> usize {
    place.forwarder.session().load().blocked_lanes
}

#[tokio::test(start_paused = true)]
async fn each_gets_its_own_while_there_are_some() {
    let (pool, _) = pool(Isolate::Auto, 4, 4);
    let (numbers, places) = take(&pool, 6);
    assert_eq!(numbers, [0, 1, 2, 3, 0, 1]);
    drop(places);
    // The first again, and not the last that was left.
    assert_eq!(take(&pool, 1).0, [0]);
}

#[tokio::test(start_paused = true)]
async fn always_is_alone_or_waits() {
    let (pool, _) = pool(Isolate::Always, 2, 2);
    let (numbers, mut places) = take(&pool, 3);
    assert_eq!(numbers, [0, 1]);
    drop(places.pop());
    assert_eq!(take(&pool, 1).0, [1]);
}

#[tokio::test(start_paused = true)]
async fn never_is_one_session_for_all() {
    let (pool, _) = pool(Isolate::Never, 16, 1);
    assert_eq!(take(&pool, 3).0, [0, 0, 0]);
}

/// One that moves much, read or not, is nobody's company while there is another.
#[tokio::test(start_paused = true)]
async fn nobody_is_put_beside_an_upload_while_there_is_another() {
    let (pool, reads) = pool(Isolate::Auto, 4, 4);
    let (_, mut places) = take(&pool, 4);
    let _streams = upload(&places[1]).await;
    assert_eq!(blocked(&places[1]), 1);
    let (numbers, more) = take(&pool, 7);
    assert_eq!(numbers, [0, 2, 3, 0, 2, 3, 0]);
    places.extend(more);
    // Nothing moves any more, and it stays so.
    sleep(Duration::from_secs(10)).await;
    assert!(!take(&pool, 6).0.contains(&1));
    reads.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(blocked(&places[1]), 0);
    // What it moved counts as bulk for a moment.
    sleep(Duration::from_secs(10)).await;
    assert!(take(&pool, 6).0.contains(&1));
}

/// With an upload that nobody reads on all of them: the stop of its lane leaves four others.
#[tokio::test(start_paused = true)]
async fn beside_an_upload_where_each_session_has_one() {
    let (pool, _) = pool(Isolate::Auto, 2, 2);
    let (_, places) = take(&pool, 2);
    let mut streams = Vec::new();
    for place in &places {
        streams.push(upload(place).await);
        assert_eq!(blocked(place), 1);
    }
    let (numbers, more) = take(&pool, 4);
    assert_eq!(numbers, [0, 1, 0, 1]);
    // Those too have a lane each.
    streams.push(upload(&more[0]).await);
    assert_eq!(more[0].forwarder.session().load().free_lanes, 3);
}

/// What it has left is in nobody's way; with the last session `pf` would end.
#[tokio::test(start_paused = true)]
async fn a_session_that_an_upload_has_left_blocked_is_closed_if_there_is_another() {
    let (pool, reads) = pool(Isolate::Auto, 4, 1);
    let (_, mut places) = take(&pool, 1);
    let left = places[0].forwarder.session().clone();
    drop(upload(&places[0]).await);
    drop(places.pop());
    sleep(Duration::from_secs(2)).await;
    assert_eq!(left.reason(), None);
    pool.admit(session(&reads));
    assert_eq!(take(&pool, 1).0, [1]);
    let reason = timeout(Duration::from_secs(10), left.closed()).await;
    assert_eq!(reason, Ok(CloseReason::Local));
    assert!(!pool.is_lost());
}

/// That a lane is free again is not told.
#[tokio::test(start_paused = true)]
async fn who_waits_sees_that_a_session_has_become_clear() {
    let (pool, reads) = pool(Isolate::Always, 1, 1);
    let (_, mut places) = take(&pool, 1);
    drop(upload(&places[0]).await);
    drop(places.pop());
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.place().await.map(|place| place.number) }
    });
    sleep(Duration::from_secs(2)).await;
    assert!(!waiting.is_finished());
    reads.store(true, Ordering::Relaxed);
    let placed = timeout(Duration::from_secs(2), waiting).await;
    assert_eq!(placed.unwrap().unwrap(), Some(0));
}
