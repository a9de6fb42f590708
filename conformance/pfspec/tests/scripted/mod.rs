//! Targets that answer as a test says, in this process.

use pfspec::case::{Role, Way};
use pfspec::probe::websocket;
use pfspec::run::{Plan, Report, run};
use pfspec::target::{Exec, NoPlace, Place, Placing, Reach, Target, Who, usual_services};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::watch;

/// What a dial comes to.
pub type Dial = Box<dyn Fn() -> Result<DuplexStream, NoPlace> + Send + Sync>;

/// A server behind each dial.
pub fn serving<F: Future<Output = std::io::Result<()>> + Send + 'static>(
    serve: impl Fn(DuplexStream) -> F + Send + Sync + 'static,
) -> Dial {
    Box::new(move || {
        let (near, far) = tokio::io::duplex(64 << 10);
        tokio::spawn(serve(far));
        Ok(near)
    })
}

/// A dial that comes to nothing.
pub fn refusing(none: NoPlace) -> Dial {
    Box::new(move || Err(none.clone()))
}

struct Scripted {
    dial: Dial,
    path: &'static str,
    agreed: Option<&'static [u8]>,
}

impl Scripted {
    fn placing(&self) -> Placing<'_> {
        Box::pin(async {
            Ok(Place {
                io: Box::new((self.dial)()?),
                agreed: self.agreed.map(<[u8]>::to_vec),
                host: "h".to_owned(),
                path: self.path.to_owned(),
                identity: Vec::new(),
            })
        })
    }
}

impl Reach for Scripted {
    fn place(&self, _: Who) -> Placing<'_> {
        self.placing()
    }

    fn place_with_alpn(&self, _: &[&[u8]]) -> Placing<'_> {
        self.placing()
    }
}

/// A target of this kind, which serves these ways at `path`, and agrees on this protocol in ALPN.
pub fn target(
    role: Role,
    ways: &[Way],
    path: &'static str,
    agreed: Option<&'static [u8]>,
    dial: Dial,
) -> Target {
    Target {
        name: "scripted".to_owned(),
        role,
        minor: None,
        ways: ways.to_vec(),
        exec: Some(Exec {
            container: String::new(),
            succeeds: vec!["/succeeds".to_owned()],
            fails: vec!["/fails".to_owned()],
            reads: Some(vec!["/reads".to_owned()]),
        }),
        services: usual_services(),
        reach: Box::new(Scripted { dial, path, agreed }),
    }
}

/// Runs one case.
pub async fn judge(target: Target, id: &str, way: Way) -> Report {
    let mut all = pfspec::catalogue::all().into_iter();
    let case = all.find(|case| case.id == id).unwrap();
    assert!(case.ways.contains(&way) && case.roles.contains(&target.role));
    let plan = Plan {
        cases: vec![(case, way)],
        jobs: 1,
        seed: 1,
        patience: Duration::from_secs(2),
        began: Instant::now(),
    };
    let (_stop, stopped) = watch::channel(false);
    let mut reports = run(Arc::new(target), &plan, stopped, &mut |_| {}).await;
    reports.remove(0)
}

/// Reads a request head.
pub async fn head(stream: &mut DuplexStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Reads a request head and agrees on a WebSocket with the first subprotocol; the head.
pub async fn upgrade(stream: &mut DuplexStream) -> std::io::Result<String> {
    let head = head(stream).await?;
    let named = head
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
    let named = named.unwrap_or_default();
    let accept = pfspec::trial::accept();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {named}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    Ok(head)
}

/// Reads a short frame of the client: opcode and payload.
pub async fn frame(stream: &mut DuplexStream) -> std::io::Result<(u8, Vec<u8>)> {
    let opcode = stream.read_u8().await? & 15;
    let length = usize::from(stream.read_u8().await? & 0x7f);
    assert!(length < 126, "a long frame");
    let mut key = [0; 4];
    stream.read_exact(&mut key).await?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
    Ok((opcode, payload))
}

/// Sends a message, or Close.
pub async fn say(stream: &mut DuplexStream, opcode: u8, payload: &[u8]) -> std::io::Result<()> {
    let frame = websocket::frame(websocket::LAST | opcode, false, payload);
    stream.write_all(&frame).await
}

/// Reads until the client goes.
pub async fn hold(stream: &mut DuplexStream) -> std::io::Result<()> {
    let mut bytes = [0; 1024];
    while stream.read(&mut bytes).await? > 0 {}
    Ok(())
}
