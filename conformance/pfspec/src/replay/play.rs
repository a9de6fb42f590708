//! Sends the judge's part of a ladder again, each step behind as many answers as had come before it.

use super::Replay;
use super::answers::{Answers, Came, Difference};
use super::head::{self, Place};
use crate::case::{Stop, Way};
use crate::dice::Dice;
use crate::probe::connection::{Connection, Filled};
use crate::probe::http::Request;
use crate::probe::log::{Item, Layer, Log, Side};
use crate::probe::session::{Carrier, Session};
use crate::probe::websocket::{Next, WebSocket};
use crate::report::model::Step;
use crate::report::unhex;
use crate::target::Target;
use crate::trial::{Ready, TUNNEL, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// For an answer on a connection on which one was missed already.
const AGAIN: Duration = Duration::from_millis(200);

pub(super) struct Player<'a> {
    target: &'a Arc<Target>,
    way: Way,
    patience: Duration,
    replay: &'a Replay,
    lines: BTreeMap<usize, Line>,
}

impl<'a> Player<'a> {
    pub(super) fn new(
        target: &'a Arc<Target>,
        way: Way,
        patience: Duration,
        replay: &'a Replay,
    ) -> Self {
        Self {
            target,
            way,
            patience,
            replay,
            lines: BTreeMap::new(),
        }
    }

    /// Goes through a ladder.
    ///
    /// # Errors
    /// There is no connection.
    pub(super) async fn play(&mut self, steps: &[Step]) -> Result<(), Stop> {
        let on = |layer: &'static str| -> BTreeSet<usize> {
            let those = steps.iter().filter(|step| step.layer == layer);
            those.map(|step| step.connection).collect()
        };
        let (spdy, websocket) = (on("spdy"), on("websocket"));
        let mut sent: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for step in steps {
            let number = step.connection;
            let in_messages = websocket.contains(&number);
            let tunnelled = in_messages && spdy.contains(&number);
            if step.side == "server" {
                if let Some(line) = self.lines.get_mut(&number) {
                    let bytes = unhex(&step.hex).unwrap_or_default();
                    line.recorded.add(
                        Came {
                            layer: &step.layer,
                            text: &step.text,
                            bytes: &bytes,
                            length: step.length,
                        },
                        tunnelled,
                    );
                }
                continue;
            }
            if matches!(step.layer.as_str(), "spdy" | "raw") {
                let bytes = unhex(&step.hex).unwrap_or_default();
                sent.entry(number).or_default().extend(bytes);
            }
            let ends = step.layer == "transport" && step.text == "half-close";
            // What travels in messages stands there twice.
            let inner = in_messages && !matches!(step.layer.as_str(), "websocket" | "http");
            if step.layer == "note" || (!ends && (step.layer == "transport" || inner)) {
                continue;
            }
            if !self.lines.contains_key(&number) {
                let line = self.connect(step, tunnelled).await?;
                self.lines.insert(number, line);
            }
            let Some(line) = self.lines.get_mut(&number) else {
                continue;
            };
            line.wait(self.patience).await;
            if ends {
                if let Some(reader) = &mut line.reader {
                    reader.connection().shut_down().await;
                }
                continue;
            }
            let usual = self.replay.path.as_deref().filter(|_| !self.replay.once);
            line.send(step, usual).await;
        }
        for (number, line) in &mut self.lines {
            line.wait(self.patience).await;
            line.recorded.sent = sent.remove(number).unwrap_or_default();
        }
        Ok(())
    }

    async fn connect(&self, step: &Step, tunnelled: bool) -> Result<Line, Stop> {
        let target = head::target_of(&step.text).unwrap_or_default();
        let ports = match step.layer.as_str() {
            "http" => Request::new("GET", target).ports(),
            _ => Vec::new(),
        };
        // Each connection has a log of its own, and is number 1 there.
        let trial = Trial {
            target: self.target.clone(),
            way: self.way,
            dice: Dice::new(0, "replay"),
            log: Log::default(),
            patience: self.patience,
        };
        let ready = trial.connect_for(&ports).await?;
        Ok(Line {
            log: trial.log,
            reader: Some(Reader::Head(Box::new(ready))),
            recorded: Answers::default(),
            came: Answers::default(),
            looked_at: 0,
            tunnelled,
            missed: false,
        })
    }

    /// How many answers were recorded, and what came otherwise.
    pub(super) fn difference(&self) -> (usize, Difference) {
        let (mut count, mut all) = (0, Difference::default());
        for (number, line) in &self.lines {
            count += line.recorded.count();
            let difference = line.recorded.difference(&line.came, *number);
            all.text.push_str(&line.log.blot(&difference.text));
            all.is_other |= difference.is_other;
        }
        (count, all)
    }
}

/// One connection.
struct Line {
    log: Log,
    /// It is away only while it reads.
    reader: Option<Reader>,
    /// What had come so far, and what has now.
    recorded: Answers,
    came: Answers,
    /// Steps of the log that are in `came`.
    looked_at: usize,
    tunnelled: bool,
    /// An answer did not come.
    missed: bool,
}

enum Reader {
    Head(Box<Ready>),
    Session(Box<Session>),
    Messages(Box<WebSocket>),
}

impl Reader {
    fn connection(&mut self) -> &mut Connection {
        match self {
            Self::Head(ready) => &mut ready.connection,
            Self::Session(session) => session.connection(),
            Self::Messages(websocket) => &mut websocket.connection,
        }
    }

    /// Takes one answer. The session begins behind a 101.
    async fn step(self, deadline: Instant) -> (Self, Result<Filled, Stop>) {
        match self {
            Self::Head(mut ready) => {
                if ready.connection.end.is_some() {
                    return (Self::Head(ready), Ok(Filled::Ended));
                }
                let patience = deadline.saturating_duration_since(Instant::now());
                match ready.connection.answer(patience).await {
                    Ok(answer) if answer.status == 101 => {
                        let websocket = answer.field("sec-websocket-accept").is_some();
                        let tunnel = answer.field("sec-websocket-protocol") == Some(TUNNEL);
                        let connection = ready.connection;
                        let messages = |connection| {
                            let mut websocket = WebSocket::new(connection);
                            // What it would answer itself is among what is sent again.
                            websocket.answers = false;
                            websocket
                        };
                        let carrier = match (websocket, tunnel) {
                            (true, false) => {
                                let messages = Self::Messages(Box::new(messages(connection)));
                                return (messages, Ok(Filled::More));
                            }
                            (true, true) => Carrier::Tunnel(messages(connection)),
                            (false, _) => Carrier::Plain(connection),
                        };
                        let session = Session::new(carrier, patience);
                        (Self::Session(Box::new(session)), Ok(Filled::More))
                    }
                    other => (Self::Head(ready), other.map(|_| Filled::More)),
                }
            }
            Self::Session(mut session) => {
                let filled = session.step(deadline).await;
                (Self::Session(session), filled)
            }
            Self::Messages(mut websocket) => {
                let filled = match websocket.next(deadline).await {
                    Ok(Next::Message(_)) => Ok(Filled::More),
                    Ok(Next::Ended) => Ok(Filled::Ended),
                    Ok(Next::Late) => Ok(Filled::Late),
                    Err(stop) => Err(stop),
                };
                (Self::Messages(websocket), filled)
            }
        }
    }
}

impl Line {
    /// Until as much has come as had then.
    async fn wait(&mut self, patience: Duration) {
        let patience = if self.missed { AGAIN } else { patience };
        let deadline = Instant::now() + patience;
        self.look();
        while !self.came.covers(&self.recorded) {
            let Some(reader) = self.reader.take() else {
                return;
            };
            let (reader, filled) = reader.step(deadline).await;
            self.reader = Some(reader);
            self.look();
            if matches!(filled, Ok(Filled::Ended)) {
                self.read_out(deadline).await;
            }
            if !matches!(filled, Ok(Filled::More)) {
                self.missed |= !self.came.covers(&self.recorded);
                return;
            }
        }
    }

    /// Behind a Close, or what cannot be read, the connection still has an end.
    async fn read_out(&mut self, deadline: Instant) {
        let Some(reader) = &mut self.reader else {
            return;
        };
        let connection = reader.connection();
        while !self.came.covers(&self.recorded) && connection.end.is_none() {
            connection.buffer.clear();
            if connection.fill(deadline).await == Filled::Late {
                return;
            }
            let came = &mut self.came;
            self.looked_at = look(&self.log, self.looked_at, came, self.tunnelled);
        }
    }

    /// Takes what the log has of answers.
    fn look(&mut self) {
        let came = &mut self.came;
        self.looked_at = look(&self.log, self.looked_at, came, self.tunnelled);
    }

    async fn send(&mut self, step: &Step, usual: Option<&str>) {
        let bytes = match &self.reader {
            Some(Reader::Head(ready)) if step.layer == "http" => {
                let place = Place {
                    host: &ready.host,
                    path: ready.path(),
                    identity: &ready.identity,
                };
                head::renewed(step, usual, &place)
            }
            _ => unhex(&step.hex).unwrap_or_default(),
        };
        if let Some(reader) = &mut self.reader {
            // That it is not taken shows in the answers.
            drop(reader.connection().write(&bytes).await);
        }
    }
}

/// Adds the answers that a log has from this step on; how many steps it has.
fn look(log: &Log, from: usize, came: &mut Answers, tunnelled: bool) -> usize {
    let mut new: Vec<Item> = Vec::new();
    let count = log.look(from, |item| {
        if item.side == Side::Server {
            new.push(item.clone());
        }
    });
    for mut item in new {
        // Overwritten as in the report with which it is compared.
        if item.layer == Layer::Http {
            log.blot_bytes(&mut item.bytes);
        }
        came.add(
            Came {
                layer: item.layer.name(),
                text: &item.text,
                bytes: &item.bytes,
                length: item.length,
            },
            tunnelled,
        );
    }
    count
}
