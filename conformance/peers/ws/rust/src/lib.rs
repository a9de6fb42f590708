//! What the two programs have in common: what is sent, what has to come back, and when they end. See
//! ../README.md.

use sha2::{Digest, Sha256};
use std::{fmt::Write as _, io::Read, process::exit, sync::LazyLock, thread, time::Duration};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub const OFFERED: &str = "v4.channel.k8s.io";
/// Either end may send messages of this many bytes.
pub const LARGEST: usize = 64 << 20;

const LONGEST: u32 = 100_000;
const PERIOD: usize = 251;
static PATTERN: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..=250).cycle().take(PERIOD + LONGEST as usize).collect());

fn pattern(at: usize, length: usize) -> &'static [u8] {
    let start = at % PERIOD;
    &PATTERN[start..start + length]
}

/// Of a list offered by a client, what a server selects.
pub fn selected(offered: &str) -> Option<&str> {
    let known = [OFFERED, "SPDY/3.1+portforward.k8s.io"];
    offered
        .split(',')
        .map(str::trim)
        .find(|name| known.contains(name))
}

/// xorshift32.
struct Random(u32);

impl Random {
    fn new(seed: u32) -> Self {
        Self(seed.max(1))
    }

    fn below(&mut self, limit: u32) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        (self.0 % limit) as usize
    }
}

/// The lengths of the messages that `bytes` bytes are sent in.
struct Lengths {
    random: Random,
    left: usize,
}

impl Iterator for Lengths {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        let length = self.random.below(LONGEST + 1).min(self.left);
        self.left -= length;
        Some(length)
    }
}

pub enum Part {
    Data {
        first: bool,
        last: bool,
        bytes: &'static [u8],
    },
    Ping,
}

/// What the opening end sends: messages of one to four frames, a ping between some of them.
pub struct Bulk {
    lengths: Lengths,
    cuts: Random,
    at: usize,
    message: Vec<usize>,
    first: bool,
    pinged: bool,
}

impl Bulk {
    #[must_use]
    pub fn new(bytes: usize, seed: u32) -> Self {
        Self {
            lengths: Lengths {
                random: Random::new(seed),
                left: bytes,
            },
            cuts: Random::new(seed ^ 0x5bd1_e995),
            at: 0,
            message: Vec::new(),
            first: true,
            pinged: false,
        }
    }
}

impl Iterator for Bulk {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        if self.message.is_empty() {
            let mut left = self.lengths.next()?;
            for _ in 0..self.cuts.below(4) {
                let length = self.cuts.below(u32::try_from(left).ok()? + 1);
                left -= length;
                self.message.push(length);
            }
            self.message.push(left);
            self.message.reverse();
            self.first = true;
        } else if !self.pinged && self.cuts.below(2) == 0 {
            self.pinged = true;
            return Some(Part::Ping);
        }
        self.pinged = false;
        let length = self.message.pop()?;
        let bytes = pattern(self.at, length);
        self.at += length;
        let first = std::mem::take(&mut self.first);
        Some(Part::Data {
            first,
            last: self.message.is_empty(),
            bytes,
        })
    }
}

/// What has to come back of it.
pub struct Echo {
    lengths: std::iter::Peekable<Lengths>,
    at: usize,
    hash: Sha256,
}

impl Echo {
    #[must_use]
    pub fn new(bytes: usize, seed: u32) -> Self {
        let lengths = Lengths {
            random: Random::new(seed),
            left: bytes,
        };
        Self {
            lengths: lengths.peekable(),
            at: 0,
            hash: Sha256::new(),
        }
    }

    pub fn is_complete(&mut self) -> bool {
        self.lengths.peek().is_none()
    }

    /// # Errors
    /// Not the message that is next.
    pub fn take(&mut self, text: bool, message: &[u8]) -> Result<()> {
        let length = self.lengths.next().ok_or("more messages than were sent")?;
        let at = self.at;
        if text || message.len() != length {
            let came = message.len();
            return Err(
                format!("at byte {at} {came} bytes (text: {text}) instead of {length}").into(),
            );
        }
        if message != pattern(at, length) {
            return Err(format!("at byte {at} {length} bytes, not the same").into());
        }
        self.hash.update(message);
        self.at += length;
        Ok(())
    }

    #[must_use]
    pub fn sha256(self) -> String {
        self.hash
            .finalize()
            .iter()
            .fold(String::new(), |mut hex, byte| {
                let _infallible = write!(hex, "{byte:02x}");
                hex
            })
    }
}

/// What comes before the bulk: a text, an empty message, a ping, in whatever order the pong is.
#[derive(Default)]
pub struct Greeting {
    hello: bool,
    empty: bool,
    ping: bool,
}

impl Greeting {
    pub const TEXT: &str = "hello";
    pub const PING: &[u8] = b"first";

    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.hello && self.empty && self.ping
    }

    /// # Errors
    /// Not one of the two messages, or not in order.
    pub fn message(&mut self, text: bool, message: &[u8]) -> Result<()> {
        let (step, name) = match (text, message, self.hello) {
            (true, b"hello", false) => (&mut self.hello, "hello"),
            (false, b"", true) if !self.empty => (&mut self.empty, "empty"),
            _ => return Err(format!("{} bytes (text: {text}) first", message.len()).into()),
        };
        *step = true;
        println!("ok {name}");
        Ok(())
    }

    /// # Errors
    /// Not what the ping had.
    pub fn pong(&mut self, payload: &[u8]) -> Result<()> {
        if payload != Self::PING || self.ping {
            return Err(format!("a pong of {} bytes", payload.len()).into());
        }
        self.ping = true;
        println!("ok ping");
        Ok(())
    }
}

/// Nothing may outlive the test that started it.
pub fn end_after(name: &'static str, limit: Duration) {
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("{name}: still there after {limit:?}");
        exit(1);
    });
}

pub fn end_with_stdin() {
    thread::spawn(|| {
        let mut stdin = std::io::stdin().lock();
        while stdin.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {}
        exit(0);
    });
}

/// What the command line asks for.
pub enum Role {
    Server,
    Client { port: u16, bytes: usize, seed: u32 },
    Autobahn { port: u16 },
}

/// # Errors
/// Not as the README has it.
pub fn role(name: &'static str) -> Result<Role> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let usage =
        || format!("usage: {name} server [SECONDS] | client PORT BYTES [SEED] | autobahn PORT");
    let (role, seconds) = match *args {
        ["server"] => (Role::Server, 120),
        ["server", seconds] => (Role::Server, seconds.parse()?),
        ["client", port, bytes] => (
            Role::Client {
                port: port.parse()?,
                bytes: bytes.parse()?,
                seed: 1,
            },
            120,
        ),
        ["client", port, bytes, seed] => (
            Role::Client {
                port: port.parse()?,
                bytes: bytes.parse()?,
                seed: seed.parse()?,
            },
            120,
        ),
        ["autobahn", port] => (
            Role::Autobahn {
                port: port.parse()?,
            },
            2700,
        ),
        _ => return Err(usage().into()),
    };
    end_after(name, Duration::from_secs(seconds));
    if matches!(role, Role::Server) {
        end_with_stdin();
    }
    Ok(role)
}
