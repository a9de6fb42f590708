//! A port-forward in memory: a client and a server joined by two buffers.
//!
//! The client opens an error stream, on which it will send nothing, and the data stream. The server
//! answers both, sends back what it gets, and ends the error stream without a word: all went well.
//!
//!     cargo run -p spdy --example pipe
#![allow(clippy::arithmetic_side_effects, reason = "an example")]

use bytes::{Buf, Bytes, BytesMut};
use spdy::{Config, Connection, Event, GoAwayStatus, HeaderBlock, Role, StreamId};
use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::time::Instant;

/// What waits to be sent on a stream, and whether FIN follows.
#[derive(Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    fin: bool,
}

/// One end: a connection, and what a socket and an application would be.
struct End {
    connection: Connection,
    input: BytesMut,
    queues: HashMap<StreamId, Queue>,
}

impl End {
    fn new(config: Config, now: Instant) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            connection: Connection::new(config, now)?,
            input: BytesMut::new(),
            queues: HashMap::new(),
        })
    }

    /// "Reads the socket": what came is in `input`. Gives all events to `on`.
    fn receive(
        &mut self,
        now: Instant,
        mut on: impl FnMut(&mut Self, Event) -> Result<(), Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        loop {
            let before = self.input.len();
            let received = self.connection.recv(now, &mut self.input);
            let mut events = false;
            // Also behind an error: what came before it counts.
            while let Some(event) = self.connection.poll_event() {
                events = true;
                on(self, event)?;
            }
            received?;
            if !events && self.input.len() == before {
                return Ok(());
            }
        }
    }

    /// Hands over what the connection takes.
    fn send(&mut self, id: StreamId) -> Result<(), Box<dyn Error>> {
        let Some(queue) = self.queues.get_mut(&id) else {
            return Ok(());
        };
        loop {
            // FIN leaves with the last of the payload, or not yet.
            let last = queue.fin && queue.chunks.len() == 1;
            let Some(chunk) = queue.chunks.front_mut() else {
                break;
            };
            if self.connection.send(id, chunk, last)? == 0 {
                // `Event::Writable` tells when to go on.
                return Ok(());
            }
            if chunk.is_empty() {
                queue.chunks.pop_front();
                if last {
                    self.queues.remove(&id);
                    return Ok(());
                }
            }
        }
        if queue.fin {
            self.queues.remove(&id);
            self.connection.send(id, &mut Bytes::new(), true)?;
        }
        Ok(())
    }

    /// "Writes the socket". How much.
    fn write(&mut self, to: &mut BytesMut) -> usize {
        let mut written = 0;
        while self.connection.outgoing().has_remaining() {
            let n = self.connection.outgoing().chunk().len();
            to.extend_from_slice(self.connection.outgoing().chunk());
            self.connection.outgoing().advance(n);
            written += n;
        }
        written
    }
}

fn headers(kind: &str) -> HeaderBlock {
    // The request id pairs the two streams of a connection to a port.
    [("streamtype", kind), ("port", "8080"), ("requestid", "0")]
        .into_iter()
        .collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let now = Instant::now();
    let mut client = End::new(Config::kubernetes(Role::Client), now)?;
    let mut server = End::new(Config::kubernetes(Role::Server), now)?;

    let error = client.connection.open(&headers("error"), true)?;
    let data = client.connection.open(&headers("data"), false)?;
    let sent = Bytes::from(vec![7; 1 << 20]);
    let queue = Queue {
        chunks: VecDeque::from([sent.clone()]),
        fin: true,
    };
    client.queues.insert(data, queue);
    client.send(data)?;

    let (mut got, mut ended) = (BytesMut::new(), Vec::new());
    loop {
        let mut moved = client.write(&mut server.input);
        server.receive(now, |server, event| {
            match event {
                Event::Opened { id, headers, .. } => {
                    server.connection.reply(id, &HeaderBlock::new(), false)?;
                    let fin = headers.get("streamtype") == Some(b"error".as_slice());
                    let queue = server.queues.entry(id).or_default();
                    queue.fin = fin;
                    server.send(id)?;
                }
                Event::Data { id, payload, fin } => {
                    server.connection.consumed(id, payload.len());
                    let queue = server.queues.entry(id).or_default();
                    queue.chunks.push_back(payload);
                    queue.fin = fin;
                    server.send(id)?;
                }
                Event::Writable { id } => server.send(id)?,
                _ => {}
            }
            Ok(())
        })?;
        moved += server.write(&mut client.input);
        client.receive(now, |client, event| {
            match event {
                Event::Data { id, payload, fin } => {
                    client.connection.consumed(id, payload.len());
                    got.extend_from_slice(&payload);
                    if fin {
                        ended.push(id);
                    }
                }
                Event::Writable { id } => client.send(id)?,
                Event::Reset { id, status } => return Err(format!("{id}: {status}").into()),
                _ => {}
            }
            Ok(())
        })?;
        if moved == 0 {
            break;
        }
    }
    assert!(got == sent);
    assert!(ended.contains(&error) && ended.contains(&data));
    println!(
        "{} bytes there and back; {:?}",
        got.len(),
        client.connection.stats()
    );

    client.connection.go_away(now, GoAwayStatus::OK);
    client.write(&mut server.input);
    assert!(client.connection.is_done());
    Ok(())
}
