//! Connections that ask and are answered, and how long that takes.

use std::{
    fmt,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use conformance::cases::connect;

/// An answer that takes longer is a stall.
const STALL: Duration = Duration::from_secs(1);
/// After this time a connection counts as lost.
const LOST: Duration = Duration::from_secs(10);
/// Between two questions on one connection.
const PAUSE: Duration = Duration::from_millis(100);

/// One byte there and back.
pub(crate) fn echo(stream: &mut TcpStream) -> anyhow::Result<Duration> {
    let asked = Instant::now();
    stream.write_all(b"x").context("asking")?;
    stream.read_exact(&mut [0]).context("the answer")?;
    Ok(asked.elapsed())
}

/// Connections to port `echo`.
pub(crate) struct Echoes(Vec<anyhow::Result<TcpStream>>);

impl Echoes {
    /// Opens them, and has each answered once.
    pub(crate) fn connect(address: SocketAddr, count: usize) -> Self {
        let one = move || {
            let mut stream = connect(address)?;
            stream.set_read_timeout(Some(LOST))?;
            stream.set_nodelay(true)?;
            echo(&mut stream)?;
            Ok(stream)
        };
        let all: Vec<_> = (0..count).map(|_| thread::spawn(one)).collect();
        let all = all.into_iter().map(thread::JoinHandle::join);
        Self(
            all.map(|one| one.expect("the thread does not panic"))
                .collect(),
        )
    }

    /// Each asks again and again.
    pub(crate) fn run(self, time: Duration) -> Figures {
        let run = move |stream: anyhow::Result<TcpStream>| {
            let mut took = Vec::new();
            let Ok(mut stream) = stream else {
                return (took, true);
            };
            let until = Instant::now() + time;
            while Instant::now() < until {
                match echo(&mut stream) {
                    Ok(time) => took.push(time),
                    Err(_) => return (took, true),
                }
                thread::sleep(PAUSE);
            }
            (took, false)
        };
        let all: Vec<_> = self
            .0
            .into_iter()
            .map(|stream| thread::spawn(move || run(stream)))
            .collect();
        let (mut took, mut lost) = (Vec::new(), 0);
        for one in all {
            let (times, gone) = one.join().expect("the thread does not panic");
            took.extend(times);
            lost += usize::from(gone);
        }
        Figures::of(took, lost)
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) longest: Duration,
    /// Answers that took more than a second.
    pub(crate) stalls: usize,
    /// Connections that were not answered at all within 10 s, or broke.
    pub(crate) lost: usize,
}

impl Figures {
    fn of(mut took: Vec<Duration>, lost: usize) -> Self {
        took.sort_unstable();
        let at = |part: usize| {
            let last = took.len().saturating_sub(1);
            took.get(last * part / 100).copied().unwrap_or_default()
        };
        Self {
            p50: at(50),
            p99: at(99),
            longest: at(100),
            stalls: took.iter().filter(|time| **time > STALL).count(),
            lost,
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let (p50, p99, longest) = (ms(self.p50), ms(self.p99), ms(self.longest));
        write!(f, "{p50:.1}, {p99:.1}, {longest:.0} ms")
    }
}
