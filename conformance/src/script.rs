//! An API server without TLS that says what it is told to, right or wrong.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// What stands for bytes without end, so that a client which takes all of them fails a test and not
/// the machine.
pub const ENDLESS: u64 = 256 << 20;

/// What a server does with a request.
#[derive(Debug, Clone)]
pub enum Play {
    /// Says this and closes.
    Close(Vec<u8>),
    /// Says this, then nothing, and leaves the connection open.
    Hold(Vec<u8>),
    /// Says the first, then the second again and again, up to [`ENDLESS`] bytes.
    Endless(Vec<u8>, Vec<u8>),
    /// Resets the connection.
    Reset,
}

impl Play {
    /// An answer with a body.
    #[must_use]
    pub fn answer(status: &str, content_type: &str, body: &str) -> Self {
        let length = body.len();
        Self::Close(
            format!(
                "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n{body}"
            )
            .into_bytes(),
        )
    }

    /// An answer with a JSON body.
    #[must_use]
    pub fn json(status: &str, body: &str) -> Self {
        Self::answer(status, "application/json", body)
    }

    /// What a real API server says of the running pod `web` with the port `http`.
    #[must_use]
    pub fn pod() -> Self {
        Self::json(
            "200 OK",
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"default",
            "uid":"00000000-0000-4000-8000-000000000001"},"spec":{"nodeName":"node","containers":[
            {"name":"web","image":"web:1","ports":[{"name":"http","containerPort":8080}]}]},
            "status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#,
        )
    }

    /// The right 101, and these bytes behind it.
    #[must_use]
    pub fn upgraded(then: &[u8]) -> Vec<u8> {
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
                    X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n";
        [head.as_bytes(), then].concat()
    }
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct ScriptedServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicU64,
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn send(&self, mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
        stream.write_all(bytes)?;
        self.sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Ok(())
    }
}

impl ScriptedServer {
    /// Starts a server that does `upgrade` with requests for a port-forward and `lookup` with others.
    pub fn start(lookup: Play, upgrade: Play) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if theirs.stopped() {
                    return;
                }
                let (lookup, upgrade, shared) =
                    (lookup.clone(), upgrade.clone(), Arc::clone(&theirs));
                thread::spawn(move || {
                    // A client that goes away early is what many scripts provoke.
                    drop(stream.and_then(|stream| serve(stream, &lookup, &upgrade, &shared)));
                });
            }
        });
        Ok(Self { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many bytes all its clients took.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the listener up so that it goes away.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(mut stream: TcpStream, lookup: &Play, upgrade: &Play, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    let Some(head) = request_head(&stream, shared)? else {
        return Ok(());
    };
    let first_line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let is_upgrade = String::from_utf8_lossy(first_line).contains("/portforward");
    let play = if is_upgrade { upgrade } else { lookup };
    if matches!(play, Play::Reset) {
        // Closing with the request unread resets the connection.
        return Ok(());
    }
    stream.read_exact(&mut vec![0; head.len()])?;
    match play {
        Play::Reset => {}
        Play::Close(bytes) => shared.send(&stream, bytes)?,
        Play::Hold(bytes) => {
            shared.send(&stream, bytes)?;
            while !shared.stopped() {
                match stream.read(&mut [0; 4096]) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if is_timeout(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Play::Endless(first, again) => {
            shared.send(&stream, first)?;
            let mut sent = 0;
            while !shared.stopped() && sent < ENDLESS {
                shared.send(&stream, again)?;
                sent += again.len() as u64;
            }
        }
    }
    Ok(())
}

/// The head of the next request, left unread in the socket.
fn request_head(stream: &TcpStream, shared: &Shared) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; 64 * 1024];
    while !shared.stopped() {
        match stream.peek(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(got) => {
                let seen = &buffer[..got];
                if let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
                    return Ok(Some(seen[..end + 4].to_vec()));
                }
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
