//! The stronger replay: our client in the place of the recorded one.

use std::{collections::BTreeMap, io, time::Duration};

use anyhow::{Context as _, bail, ensure};
use bytes::BytesMut;
use portforward::{
    client::{ForwardError, Forwarder, Summary},
    http1::{HeadLimits, read_request_head},
    session::{self, CloseReason},
    transcript::{Direction, Head, Transcript, What},
    upgrade::UpgradeRequest,
};
use spdy::Frame;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Outcome,
    carrier::{Carried, Carrier},
    view::{View, Whose},
};

/// For each thing that is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Goes through the transcript again: the local programs write, in the recorded order and not before
/// they have read what they had read then; the peer says what it said once the client has sent what
/// it had sent. In the end the client must have sent the same, stream by stream, and the local
/// sockets must have come to the ends of the `expect` lines.
pub async fn reenact(transcript: &Transcript) -> anyhow::Result<()> {
    play(transcript, Carrier::Connection, Whose::Ours).await
}

/// The same in the place of client-go. With `tunnel` the bytes are those of a WebSocket with a tunnel in it, and
/// the peer's messages are sent as they were cut.
pub async fn reenact_client_go(transcript: &Transcript, tunnel: bool) -> anyhow::Result<()> {
    let carrier = if tunnel {
        Carrier::WebSocket
    } else {
        Carrier::Connection
    };
    play(transcript, carrier, Whose::ClientGo).await
}

async fn play(transcript: &Transcript, carrier: Carrier, whose: Whose) -> anyhow::Result<()> {
    let mut heads = transcript
        .events
        .iter()
        .filter_map(|event| match &event.what {
            What::Head(head) => Some(head),
            _ => None,
        });
    let (near, mut peer) = tokio::io::duplex(1 << 20);
    let request = heads.next().context("no request head")?;
    let path = request.line.split(' ').nth(1).context("no path")?;
    let asked = UpgradeRequest::new(path, "replay");
    let (upgraded, answered) = tokio::join!(
        timeout(PATIENCE, carrier.upgrade(near, &asked)),
        answer(&mut peer, request, heads)
    );
    answered?;
    let upgraded = upgraded.context("no upgrade in time")??;
    let opened = opened(transcript, carrier)?;
    // Older recordings are of a client without flow control and lanes, whose ids leave nothing out.
    let mut config = session::Config::default();
    config.windows = opened.offered;
    config.lanes = opened.offered;
    let (session, driver) = session::client(upgraded.io, upgraded.early, config)?;
    let driver = tokio::spawn(driver);

    let mut play = Play {
        peer,
        forwarder: Forwarder::new(session),
        frames: Carried::new(carrier, Direction::ClientToServer)?,
        sent: View::new(whose),
        recorded: View::new(whose),
        heard: View::default(),
        data: opened.data,
        locals: BTreeMap::new(),
        over: false,
    };
    let mut client = Carried::new(carrier, Direction::ClientToServer)?;
    let mut server = Carried::new(carrier, Direction::ServerToClient)?;
    for (number, event) in transcript.events.iter().enumerate() {
        let at = || format!("event {number} ({:?} at {:?})", event.direction, event.at);
        match (event.direction, &event.what) {
            (_, What::Head(_)) => {}
            (Direction::ClientToServer, What::Bytes(bytes)) => {
                for frame in client.push(bytes)? {
                    play.recorded.add(&frame)?;
                    play.act(&frame).await.with_context(at)?;
                }
                if client.is_closed() {
                    play.close().await.with_context(at)?;
                }
                play.listen().await.with_context(at)?;
            }
            (Direction::ServerToClient, What::Bytes(bytes)) => {
                for frame in server.push(bytes)? {
                    play.heard.add(&frame)?;
                }
                timeout(PATIENCE, play.peer.write_all(bytes))
                    .await
                    .with_context(at)??;
            }
            (Direction::ClientToServer, What::End) => play.end().await.with_context(at)?,
            (Direction::ServerToClient, What::End) => play.peer.shutdown().await?,
            // It was reset behind its end: the same to a client that is through.
            (Direction::ServerToClient, What::Failed(_)) if play.over => {
                play.peer.shutdown().await?;
            }
            (_, what) => bail!("{}: a replay knows no {what:?}", at()),
        }
    }
    play.close().await?;
    timeout(PATIENCE, driver)
        .await
        .context("the session does not end")??;
    if carrier == Carrier::WebSocket {
        play.sent.forget_goaway();
        play.recorded.forget_goaway();
    }
    ensure!(
        play.sent == play.recorded,
        "the client sent {}",
        play.sent.difference(&play.recorded)
    );
    // Data streams come in the order of their requests.
    let mut ended = Vec::new();
    for (_, local) in play.locals {
        ended.push(local.outcome().await?.to_string());
    }
    let expected = &transcript.provenance.expect;
    ensure!(
        ended == *expected,
        "the local sockets came to the ends\n{ended:#?}\ninstead of\n{expected:#?}"
    );
    Ok(())
}

/// What the recorded client opened.
#[derive(Default)]
struct Opened {
    /// It offered flow control.
    offered: bool,
    /// The data stream of each request.
    data: BTreeMap<String, u32>,
}

fn opened(transcript: &Transcript, carrier: Carrier) -> anyhow::Result<Opened> {
    let mut opened = Opened::default();
    let mut frames = Carried::new(carrier, Direction::ClientToServer)?;
    for event in &transcript.events {
        let (Direction::ClientToServer, What::Bytes(bytes)) = (event.direction, &event.what) else {
            continue;
        };
        for frame in frames.push(bytes)? {
            let Frame::SynStream(syn) = frame else {
                continue;
            };
            opened.offered |= syn.headers.get("flow-control").is_some();
            if let (Some(b"data"), Some(request)) =
                (syn.headers.get("streamtype"), syn.headers.get("requestid"))
            {
                let request = String::from_utf8_lossy(request).into_owned();
                opened.data.insert(request, syn.id.get());
            }
        }
    }
    Ok(opened)
}

/// The peer's side of the upgrade.
async fn answer(
    peer: &mut DuplexStream,
    request: &Head,
    answers: impl Iterator<Item = &Head>,
) -> anyhow::Result<()> {
    let limits = HeadLimits::default();
    let mut behind = BytesMut::new();
    let asked = read_request_head(peer, &mut behind, &limits, limits.deadline()).await?;
    let key = asked.fields.get_str("sec-websocket-key");
    let accept = key.and_then(wsstream::accept_key);
    let asked = Head::of_request(&asked);
    ensure!(asked == *request, "asked {asked:?} instead of {request:?}");
    for head in answers {
        let mut text = format!("{}\r\n", head.line);
        for (name, value) in &head.fields {
            text = text + name + ": " + value + "\r\n";
        }
        if let Some(accept) = &accept {
            // It belongs to the key, which is another each time.
            text = text + "sec-websocket-accept: " + accept + "\r\n";
        }
        text += "\r\n";
        peer.write_all(text.as_bytes()).await?;
    }
    Ok(())
}

struct Play {
    peer: DuplexStream,
    forwarder: Forwarder,
    frames: Carried,
    /// What our client has sent.
    sent: View,
    /// What the recorded client had sent so far.
    recorded: View,
    /// What the peer has said so far.
    heard: View,
    /// The data stream of each request.
    data: BTreeMap<String, u32>,
    /// By data stream.
    locals: BTreeMap<u32, Local>,
    /// Our client has ended.
    over: bool,
}

/// All that a local program read, and how that ended.
type Read = (Vec<u8>, io::Result<()>);

/// A local program and its forwarded connection.
struct Local {
    request: u64,
    port: u16,
    write: OwnedWriteHalf,
    /// Bytes read so far.
    progress: watch::Receiver<usize>,
    read: JoinHandle<Read>,
    ended: Option<Read>,
    forward: JoinHandle<Result<Summary, ForwardError>>,
}

impl Play {
    /// What the local side did to make the recorded client send this.
    async fn act(&mut self, frame: &Frame) -> anyhow::Result<()> {
        match frame {
            Frame::SynStream(f) => {
                let text = |name: &str| {
                    let value = f.headers.get(name).with_context(|| format!("no {name}"));
                    value.map(|value| String::from_utf8_lossy(value).into_owned())
                };
                if text("streamtype")? == "data" {
                    return Ok(());
                }
                // The error stream comes first and brings the data stream with it.
                let request = text("requestid")?;
                let Some(data) = self.data.get(&request).copied() else {
                    bail!("request {request} has no data stream");
                };
                let local = Local::start(&self.forwarder, request.parse()?, text("port")?.parse()?);
                self.locals.insert(data, local.await?);
            }
            Frame::Data(f) => {
                let id = f.id.get();
                let Some(local) = self.locals.get_mut(&id) else {
                    return Ok(());
                };
                let heard = self
                    .heard
                    .streams
                    .get(&id)
                    .map_or(0, |sent| sent.data.len());
                let read = local.progress.wait_for(|read| *read >= heard);
                timeout(PATIENCE, read).await.with_context(|| {
                    format!("stream {id}: not {heard} bytes at the local socket")
                })??;
                local.write.write_all(&f.payload).await?;
                if f.fin {
                    local.write.shutdown().await?;
                }
            }
            Frame::GoAway(_) => self.close().await?,
            // Reactions of the client itself.
            _ => {}
        }
        Ok(())
    }

    /// Until the client has sent as much as the recorded one.
    async fn listen(&mut self) -> anyhow::Result<()> {
        // One deadline for all of it: PINGs keep coming.
        let deadline = Instant::now() + PATIENCE;
        while !self.sent.covers(&self.recorded) {
            let Ok(read) = timeout_at(deadline, self.read()).await else {
                bail!("the client sent {}", self.sent.difference(&self.recorded));
            };
            ensure!(read?, "the client ended early");
        }
        Ok(())
    }

    /// Until the client ends.
    async fn end(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let late = "the client does not end";
        while timeout_at(deadline, self.read()).await.context(late)?? {}
        self.over = true;
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<bool> {
        let mut bytes = BytesMut::new();
        let more = self.peer.read_buf(&mut bytes).await? > 0;
        for frame in self.frames.push(&bytes)? {
            self.sent.add(&frame)?;
        }
        Ok(more)
    }

    /// Ends the session, once all local programs have read to their ends, as they had.
    async fn close(&mut self) -> anyhow::Result<()> {
        for local in self.locals.values_mut() {
            local.read_to_end().await?;
        }
        self.forwarder.session().close();
        Ok(())
    }
}

impl Local {
    async fn start(forwarder: &Forwarder, request: u64, port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let program = TcpStream::connect(listener.local_addr()?).await?;
        let (accepted, _) = listener.accept().await?;
        let forwarder = forwarder.clone();
        let forward = tokio::spawn(async move { forwarder.forward(accepted, port).await });
        let (mut read, write) = program.into_split();
        let (tell, progress) = watch::channel(0);
        let read = tokio::spawn(async move {
            let mut all = Vec::new();
            let end = loop {
                match read.read_buf(&mut all).await {
                    Ok(0) => break Ok(()),
                    Ok(_) => tell.send_replace(all.len()),
                    Err(error) => break Err(error),
                };
            };
            (all, end)
        });
        Ok(Self {
            request,
            port,
            write,
            progress,
            read,
            ended: None,
            forward,
        })
    }

    async fn read_to_end(&mut self) -> anyhow::Result<()> {
        if self.ended.is_none() {
            let read = timeout(PATIENCE, &mut self.read).await;
            let late = || format!("request {}: no end at the local socket", self.request);
            self.ended = Some(read.with_context(late)??);
        }
        Ok(())
    }

    /// After the end of the session.
    async fn outcome(mut self) -> anyhow::Result<Outcome> {
        self.read_to_end().await?;
        let Self { request, port, .. } = self;
        let (received, read) = self.ended.context("no end")?;
        let forwarded = timeout(PATIENCE, self.forward).await;
        let forwarded = forwarded.with_context(|| format!("request {request}: no end"))??;
        let end = match (forwarded, read) {
            // The pod had not taken its leave when the session was closed; the local program had.
            (Ok(_) | Err(ForwardError::SessionLost(CloseReason::Local)), Ok(())) => Ok(()),
            (Err(error), Err(_)) => Err(portforward::escape::line(error.to_string().trim())),
            (forwarded, read) => {
                bail!("request {request}: {forwarded:?}, but the local socket reads {read:?}")
            }
        };
        Ok(Outcome {
            request,
            port,
            received,
            end,
        })
    }
}
