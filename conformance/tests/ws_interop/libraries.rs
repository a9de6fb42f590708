//! Six libraries, both roles: text, an empty message, a ping, 256 MiB in messages of random sizes with
//! random fragments where the peer reassembles, and the closing handshake.

use std::{thread, time::Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use conformance::{peers::Peer, say};
use ring::digest::{Context, SHA256};
use wsstream::{CloseCode, CloseFrame, Event, Kind};

use crate::{
    Running, find, listen,
    socket::{Message, Socket},
};

const PROTOCOL: &[&str] = &["v4.channel.k8s.io"];
const BULK: usize = 256 << 20;

/// Ours is the server, the library's client judges.
fn peer_opens(peer: Peer) -> anyhow::Result<()> {
    let Some(program) = find(peer)? else {
        return Ok(());
    };
    let (listener, at) = listen()?;
    let ours = thread::spawn(move || echo(Socket::accept(listener.accept()?.0, PROTOCOL)?));
    let client = Running::start(
        &program,
        &["client", &at.port().to_string(), &BULK.to_string(), "7"],
    )?;
    let said = client.end();
    let ours = ours.join().ok().context("our end panicked")?;
    let said = said.with_context(|| format!("our end: {ours:?}"))?;
    ours?;
    // x/net/websocket does not tell the code.
    let close = if peer == Peer::WsXnet {
        "ok close"
    } else {
        "ok close 1000"
    };
    for step in ["ok hello", "ok empty", "ok bulk ", close] {
        ensure!(said.contains(step), "no {step:?}:\n{said}");
    }
    let sum = said.split("ok bulk ").nth(1).and_then(|s| s.lines().next());
    ensure!(sum == Some(&sum_of(BULK)), "{said}");
    Ok(())
}

/// Echoes until the peer closes.
fn echo(mut socket: Socket) -> anyhow::Result<()> {
    loop {
        match socket.next()? {
            Message::Whole(kind, payload) => socket.send(kind, payload)?,
            Message::Pong(_) => {}
            Message::Closed(_) => return Ok(()),
            Message::Broken(error) => bail!("{error}"),
            Message::End => bail!("the connection ended without a Close"),
        }
    }
}

fn byte(i: usize) -> u8 {
    u8::try_from(i % 251).unwrap_or(0)
}

/// The SHA-256 of the first `length` bytes of the sequence.
fn sum_of(length: usize) -> String {
    let mut hash = Context::new(&SHA256);
    let period: Vec<u8> = (0..251 * 1024).map(byte).collect();
    let mut left = length;
    while left > 0 {
        let n = left.min(period.len());
        hash.update(&period[..n]);
        left -= n;
    }
    hex(hash)
}

fn hex(hash: Context) -> String {
    hash.finish()
        .as_ref()
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// A small generator: what is random here need only be uneven.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % n
    }
}

/// Ours is the client. `fragments`: the library reassembles.
fn ours_opens(peer: Peer, fragments: bool) -> anyhow::Result<()> {
    let Some(program) = find(peer)? else {
        return Ok(());
    };
    let mut server = Running::start(&program, &["server"])?;
    let at = server.port()?;
    let mut socket = Socket::connect(at, "/", &[])
        .or_else(|_| Socket::connect(at, "/", PROTOCOL))
        .context("opening")?;
    socket.send(Kind::Text, "hello")?;
    ensure!(socket.next()? == Message::Whole(Kind::Text, b"hello".to_vec()));
    socket.send(Kind::Binary, Bytes::new())?;
    ensure!(socket.next()? == Message::Whole(Kind::Binary, Vec::new()));
    socket.conn.ping(Bytes::from_static(b"are you there"))?;
    socket.flush()?;
    ensure!(socket.next()? == Message::Pong(Bytes::from_static(b"are you there")));
    let began = Instant::now();
    bulk(&mut socket, fragments).context("bulk")?;
    let took = began.elapsed();
    socket.conn.close(&CloseFrame::new(CloseCode::NORMAL))?;
    socket.flush()?;
    let mut last = socket.next()?;
    // The end of the last message may be an empty frame of its own.
    if last == Message::Whole(Kind::Binary, Vec::new()) {
        last = socket.next()?;
    }
    match last {
        Message::Closed(frame) => ensure!(frame.code == Some(CloseCode::NORMAL), "{frame}"),
        other => bail!("{other:?} instead of Close"),
    }
    say(&format!(
        "{peer:?}: {} MiB there and back in {took:.1?}",
        BULK >> 20
    ));
    Ok(())
}

/// Sends and reads the echo at once, each as far as the socket allows.
fn bulk(socket: &mut Socket, fragments: bool) -> anyhow::Result<()> {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut sent, mut got) = (0, 0);
    let mut hash = Context::new(&SHA256);
    socket.io.set_nonblocking(true)?;
    while got < BULK {
        let mut progress = false;
        if sent < BULK && socket.conn.outgoing().len() < 1 << 20 {
            let end = (sent + random.below(100_001)).min(BULK);
            message(socket, sent, end, fragments, &mut random)?;
            sent = end;
            progress = true;
        }
        progress |= socket.write_some()?;
        progress |= socket.read_some()?;
        while let Some(event) = socket.event()? {
            if let Event::Message { kind, payload, .. } = event {
                ensure!(kind == Kind::Binary);
                got += payload.len();
                hash.update(&payload);
            }
        }
        if !progress {
            socket.wait()?;
        }
    }
    socket.io.set_nonblocking(false)?;
    ensure!(got == BULK, "{got} bytes");
    let sum = hex(hash);
    ensure!(sum == sum_of(BULK), "other bytes came back: {sum}");
    Ok(())
}

/// Queues one message: whole, or in frames of random sizes, some of them empty.
fn message(
    socket: &mut Socket,
    mut at: usize,
    end: usize,
    fragments: bool,
    random: &mut Random,
) -> anyhow::Result<()> {
    loop {
        let left = end - at;
        let part = if fragments {
            random.below(left + 1)
        } else {
            left
        };
        let mut payload: Bytes = (at..at + part).map(byte).collect();
        at += part;
        socket.conn.send(Kind::Binary, &mut payload, at == end)?;
        if at == end {
            return Ok(());
        }
    }
}

macro_rules! libraries {
    ($($name:ident: $peer:expr, $fragments:literal;)*) => {
        $(mod $name {
            #[test]
            fn peer_opens() -> anyhow::Result<()> {
                super::peer_opens($peer)
            }

            #[test]
            fn ours_opens() -> anyhow::Result<()> {
                super::ours_opens($peer, $fragments)
            }
        })*
    };
}

libraries! {
    tungstenite: super::Peer::WsTungstenite, true;
    fastwebsockets: super::Peer::WsFastwebsockets, true;
    npm_ws: super::Peer::WsNpm, true;
    gorilla: super::Peer::WsGorilla, true;
    x_net: super::Peer::WsXnet, false;
    python: super::Peer::WsPython, true;
}
