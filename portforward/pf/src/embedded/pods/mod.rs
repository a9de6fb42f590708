//! The demo pods' servers: real TCP listeners on loopback ports that the system
//! chooses, each showing one behaviour that a forward has to carry faithfully.
//!
//! The services are those of the conformance suite's test image, with the same
//! ports and protocols, and a few more.

mod counts;
mod http;
mod tcp;

use std::{
    fmt::Write as _,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use counts::Counts;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

/// Every port a demo pod declares: what `objects` tells, and what listens here.
pub(crate) const PORTS: [(&str, u16); 13] = [
    ("http", 8080),
    ("echo", 7000),
    ("sink", 7001),
    ("source", 7002),
    ("reset", 7003),
    ("halfclose", 7004),
    ("hash", 7005),
    ("random", 7006),
    ("early", 7007),
    ("late", 7008),
    ("neverreads", 7009),
    ("stats", 8081),
    ("closed", 7999),
];

/// The port that is declared and not listened on.
const CLOSED: &str = "closed";

/// Connections at a time, over all ports. Those beyond wait to be served.
const MAX_CONNECTIONS: usize = 1024;

/// Before accepting again, once that has failed, as it does without descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running servers; dropping this ends them and their connections.
#[derive(Debug)]
pub(crate) struct DemoPods {
    addresses: Vec<(u16, SocketAddr)>,
    #[cfg(test)]
    slots: Arc<Semaphore>,
    _servers: JoinSet<()>,
}

impl DemoPods {
    /// Where a pod's port is served; `None` if nothing listens on it.
    pub(crate) fn address(&self, port: u16) -> Option<SocketAddr> {
        self.addresses
            .iter()
            .find(|(declared, _)| *declared == port)
            .map(|(_, address)| *address)
    }
}

/// Starts all services.
pub(crate) async fn start() -> io::Result<DemoPods> {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let counts = Arc::new(Counts::default());
    let mut addresses = Vec::with_capacity(PORTS.len());
    let mut servers = JoinSet::new();
    for (name, port) in PORTS {
        if name == CLOSED {
            continue;
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        addresses.push((port, listener.local_addr()?));
        servers.spawn(accept(name, listener, slots.clone(), counts.clone()));
    }
    Ok(DemoPods {
        addresses,
        #[cfg(test)]
        slots,
        _servers: servers,
    })
}

/// Serves one port. Ends only by being aborted, and its connections with it.
async fn accept(
    name: &'static str,
    listener: TcpListener,
    slots: Arc<Semaphore>,
    counts: Arc<Counts>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return; // never: nothing closes the semaphore
        };
        let counts = counts.clone();
        connections.spawn(async move {
            // Whatever fails, the peer sees it as the end of its connection; a demo
            // pod has nobody else to tell.
            drop(serve(name, stream, &counts).await);
            drop(slot);
        });
    }
}

async fn serve(name: &'static str, stream: TcpStream, counts: &Counts) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let _open = counts.opened(name);
    match name {
        "http" => http::serve(stream, None).await,
        "stats" => http::serve(stream, Some(counts)).await,
        "echo" => tcp::echo(stream).await,
        "sink" => tcp::sink(stream, counts).await,
        "source" => tcp::source(stream).await,
        "reset" => tcp::reset(&stream),
        "halfclose" => tcp::half_close(stream).await,
        "hash" => tcp::hash(stream).await,
        "random" => tcp::random(stream).await,
        "early" => tcp::early(stream).await,
        "late" => tcp::late(stream).await,
        "neverreads" => tcp::never_reads(stream).await,
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Bytes as lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    async fn connect(pods: &DemoPods, name: &str) -> TcpStream {
        let (_, port) = PORTS.into_iter().find(|(n, _)| *n == name).unwrap();
        TcpStream::connect(pods.address(port).unwrap())
            .await
            .unwrap()
    }

    async fn rest(stream: &mut TcpStream) -> Vec<u8> {
        let mut all = Vec::new();
        timeout(SOON, stream.read_to_end(&mut all))
            .await
            .unwrap()
            .unwrap();
        all
    }

    /// Sends `request`, closes the sending side, and returns all that comes.
    async fn exchange(pods: &DemoPods, name: &str, request: &[u8]) -> Vec<u8> {
        let mut stream = connect(pods, name).await;
        stream.write_all(request).await.unwrap();
        stream.shutdown().await.unwrap();
        rest(&mut stream).await
    }

    async fn until_unused(pods: &DemoPods) {
        timeout(SOON, async {
            while pods.slots.available_permits() < MAX_CONNECTIONS {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn every_port_but_closed_has_an_address() {
        let pods = start().await.unwrap();
        for (name, port) in PORTS {
            assert_eq!(pods.address(port).is_none(), name == CLOSED, "{name}");
        }
        assert_eq!(pods.address(1), None);
    }

    #[tokio::test]
    async fn echo_and_sink() {
        let pods = start().await.unwrap();
        assert_eq!(exchange(&pods, "echo", b"ping\n").await, b"ping\n");
        assert_eq!(exchange(&pods, "sink", &vec![7; 100_000]).await, b"");
        until_unused(&pods).await;
    }

    #[tokio::test]
    async fn stats_tell_what_was_seen() {
        let pods = start().await.unwrap();
        let open = connect(&pods, "neverreads").await;
        exchange(&pods, "echo", b"1").await;
        exchange(&pods, "sink", b"12345").await;
        let told = async || {
            let answer = exchange(&pods, "stats", b"GET /stats HTTP/1.0\r\n\r\n").await;
            let answer = String::from_utf8(answer).unwrap();
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            serde_json::from_str::<serde_json::Value>(body).unwrap()
        };
        // A connection counts as closed once its service has let it go, after its end.
        timeout(SOON, async {
            while told().await["open"]["sink"] != 0 || told().await["open"]["echo"] != 0 {}
        })
        .await
        .unwrap();
        let seen = told().await;
        assert_eq!(seen["sunk"], 5);
        for (name, open) in [("neverreads", 1), ("echo", 0), ("sink", 0)] {
            assert_eq!(seen["total"][name], 1, "{name}");
            assert_eq!(seen["open"][name], open, "{name}");
        }
        drop(open);
    }

    #[tokio::test]
    async fn source_counts_up() {
        let pods = start().await.unwrap();
        let mut stream = connect(&pods, "source").await;
        let mut start = vec![0; 3 << 20];
        stream.read_exact(&mut start).await.unwrap();
        for (i, byte) in start.iter().enumerate() {
            assert_eq!(usize::from(*byte), i % 256);
        }
        drop(stream);
        until_unused(&pods).await;
    }

    #[tokio::test]
    async fn reset_resets() {
        let pods = start().await.unwrap();
        let mut stream = connect(&pods, "reset").await;
        let error = timeout(SOON, stream.read_u8()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn half_close_keeps_receiving() {
        let pods = start().await.unwrap();
        let mut stream = connect(&pods, "halfclose").await;
        assert_eq!(rest(&mut stream).await, b"banner\n");
        for _ in 0..4 {
            stream.write_all(&vec![1; 1 << 20]).await.unwrap();
        }
        stream.shutdown().await.unwrap();
        until_unused(&pods).await;
    }

    #[tokio::test]
    async fn hash_answers_without_end_of_input() {
        let pods = start().await.unwrap();
        let mut stream = connect(&pods, "hash").await;
        stream.write_all(&3_u64.to_be_bytes()).await.unwrap();
        stream.write_all(b"abc").await.unwrap();
        let expected = b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n";
        assert_eq!(rest(&mut stream).await, expected);
        assert_eq!(exchange(&pods, "hash", &[0; 7]).await, b"");
        assert_eq!(exchange(&pods, "hash", &9_u64.to_be_bytes()).await, b"");
    }

    #[tokio::test]
    async fn random_is_the_test_images() {
        let pods = start().await.unwrap();
        let got = exchange(&pods, "random", &20_u64.to_be_bytes()).await;
        assert_eq!(hex(&got), "edae3ace32400e2ed071ab4cdca27535e4f1710f");
        assert_eq!(exchange(&pods, "random", &0_u64.to_be_bytes()).await, b"");
        let n = 1_000_003_u64;
        let got = exchange(&pods, "random", &n.to_be_bytes()).await;
        assert_eq!(got.len(), 1_000_003);
        // Stays open until the client has closed.
        let mut stream = connect(&pods, "random").await;
        stream.write_all(&1_u64.to_be_bytes()).await.unwrap();
        stream.read_u8().await.unwrap();
        let more = timeout(Duration::from_millis(50), stream.read_u8()).await;
        assert!(more.is_err());
    }

    #[tokio::test]
    async fn early_answers_before_the_end() {
        let pods = start().await.unwrap();
        let mut stream = connect(&pods, "early").await;
        stream.write_all(b"go\n").await.unwrap();
        let mut answer = vec![0; 65_536];
        timeout(SOON, stream.read_exact(&mut answer))
            .await
            .unwrap()
            .unwrap();
        let same = exchange(&pods, "random", &65_536_u64.to_be_bytes()).await;
        assert_eq!(answer, same);
        stream.write_all(&vec![1; 100_000]).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(rest(&mut stream).await, b"");
        assert_eq!(exchange(&pods, "early", b"no\n").await, b"");
    }

    #[tokio::test]
    async fn late_waits_for_the_end_and_longer() {
        let pods = start().await.unwrap();
        let mut stream = connect(&pods, "late").await;
        stream.write_all(b"100\nsomething").await.unwrap();
        let early = timeout(Duration::from_millis(50), stream.read_u8()).await;
        assert!(early.is_err());
        let closed = std::time::Instant::now();
        stream.shutdown().await.unwrap();
        assert_eq!(rest(&mut stream).await, b"late\n");
        assert!(closed.elapsed() >= Duration::from_millis(100));
        for wrong in [&b"soon\n"[..], b"\n", b"", b"5"] {
            assert_eq!(exchange(&pods, "late", wrong).await, b"", "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn never_reads_stalls_the_writer_and_notices_a_reset() {
        let pods = start().await.unwrap();
        let mut stream = connect(&pods, "neverreads").await;
        let stalled = timeout(Duration::from_millis(500), async {
            loop {
                stream.write_all(&vec![0; 1 << 20]).await.unwrap();
            }
        });
        stalled.await.unwrap_err();
        stream.set_zero_linger().unwrap();
        drop(stream);
        until_unused(&pods).await;
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait() {
        let pods = start().await.unwrap();
        let leave = u32::try_from(MAX_CONNECTIONS - 1).unwrap();
        let taken = pods.slots.acquire_many(leave).await.unwrap();
        let mut first = connect(&pods, "echo").await;
        first.write_all(b"1").await.unwrap();
        assert_eq!(first.read_u8().await.unwrap(), b'1');
        let mut second = connect(&pods, "echo").await;
        second.write_all(b"2").await.unwrap();
        let answer = timeout(Duration::from_millis(50), second.read_u8()).await;
        assert!(answer.is_err());
        drop(first);
        let answer = timeout(SOON, second.read_u8()).await.unwrap();
        assert_eq!(answer.unwrap(), b'2');
        drop(taken);
    }

    #[tokio::test]
    async fn dropping_ends_everything() {
        let pods = start().await.unwrap();
        let mut stream = connect(&pods, "echo").await;
        stream.write_all(b"1").await.unwrap();
        stream.read_u8().await.unwrap();
        let address = pods.address(7000).unwrap();
        drop(pods);
        assert!(timeout(SOON, stream.read_u8()).await.unwrap().is_err());
        assert!(TcpStream::connect(address).await.is_err());
    }
}
