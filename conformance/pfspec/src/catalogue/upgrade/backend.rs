//! `http/backend/`: what a gateway does with a node, seen from both sides: the node is the judge's own.

use crate::case::{Case, OK, Outcome, Role, Stop, Tag, Way};
use crate::catalogue::check::{V4, status, switched};
use crate::probe::http::{Answer, Request};
use crate::probe::session::{Carrier, Session};
use crate::probe::websocket::{Message, Next, WebSocket};
use crate::run;
use crate::target::NoPlace;
use crate::trial::{PROTOCOL, Ready, TUNNEL, Trial};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::must(
        "http/backend/what-the-node-is-asked",
        "The node is asked for the pod by namespace and name",
        &["6.25", "11.1"],
        run!(asked),
    )
    .over(&[Way::Spdy, Way::V4])
    .against(&[Role::Gateway])
    .why("A kubelet knows no other path; a wrong one is somebody else's pod, or none.")
    .sends("An upgrade for a pod on a node of the judge's; for channels with two ports in the order 81, 80.")
    .accepts("At the node /portForward/NS/POD, for channels with ?port=81,80; the method of the request."),
    Case::must(
        "http/backend/tunnel-asks-for-spdy",
        "For a tunnel the node is asked for the pod by namespace and name",
        &["6.25"],
        run!(asked_by_tunnel),
    )
    .over(&[Way::Tunnel])
    .against(&[Role::Gateway])
    .why("A kubelet knows no other path; a wrong one is somebody else's pod, or none.")
    .sends("A tunnel to a pod on a node of the judge's.")
    .accepts("At the node /portForward/NS/POD, with an upgrade to SPDY/3.1 or to the same WebSocket."),
    Case::must(
        "http/backend/bytes-behind-the-101",
        "What a node sends right behind its 101 arrives",
        &["6.21"],
        run!(behind),
    )
    .over(&[Way::Spdy])
    .against(&[Role::Gateway])
    .why("A node may speak first; bytes that its 101 was read together with are easily dropped.")
    .sends("An upgrade to SPDY; the judge's node answers 101 with 3000 bytes in the same write, and 3000 later.")
    .accepts("All of them behind the 101, unchanged."),
    Case::must(
        "http/backend/first-bytes-of-a-tunnel",
        "What a node sends right behind its 101 comes first in the tunnel",
        &["13.9"],
        run!(behind_in_tunnel),
    )
    .over(&[Way::Tunnel])
    .against(&[Role::Gateway])
    .why("A SPDY session that has lost its first frames is of no use.")
    .sends("A tunnel; the judge's node answers the upgrade to SPDY with 3000 bytes in the same write, and 3000 later.")
    .accepts("All of them in binary messages, in order, from the first message on."),
    Case::must(
        "http/backend/redirect",
        "A gateway is not sent elsewhere by a node",
        &["14.16"],
        run!(redirect),
    )
    .over(&[Way::Spdy, Way::Tunnel, Way::V4])
    .against(&[Role::Gateway])
    .tags(&[Tag::Security])
    .why("A node that has been taken over reached other nodes with the gateway's credentials, or the client's (CVE-2020-8559).")
    .sends("Upgrades that the judge's node answers with 301, 302, 303, 307 and 308, and where to go.")
    .accepts("A refusal of the gateway's own without Location; no connection to the place named, and none more to the node."),
];

/// A node of the judge's own, with one pod.
struct Node {
    listener: TcpListener,
    /// Where the gateway is asked for the pod.
    path: String,
}

impl Node {
    async fn new(t: &Trial) -> Result<Self, Stop> {
        let listener = listen().await?;
        let address = listener.local_addr().map_err(|error| own(&error))?;
        let path = t.target.reach.stage(address).map_err(|no| match no {
            NoPlace::NotOffered(text) => Stop::Unsupported(text),
            NoPlace::Unreachable(text) | NoPlace::NoTls(text) | NoPlace::Elsewhere(text) => {
                Stop::Inconclusive(text)
            }
        })?;
        Ok(Self { listener, path })
    }

    /// Sends an upgrade to the gateway, and reads what it asks the node.
    async fn ask(&self, t: &Trial, mut request: Request) -> Result<(Ready, Asked), Stop> {
        request.target = request.target.replace("{path}", &self.path);
        let mut ready = t.connect().await?;
        ready.send(&request).await?;
        let what = "a request of the gateway's to the node";
        let asked = timeout(t.patience, async {
            let (stream, _) = self.listener.accept().await?;
            read_head(stream).await
        });
        match asked.await {
            Ok(Ok(asked)) => {
                t.note(format!("the node is asked: {:?}", asked.line()));
                Ok((ready, asked))
            }
            Ok(Err(error)) => Err(Stop::departure(what, error.to_string())),
            Err(_) => Err(Stop::departure(
                what,
                format!("none within {:?}", t.patience),
            )),
        }
    }

    /// The path that the node should be asked for.
    fn wanted(&self) -> String {
        let mut parts = self.path.rsplit('/').skip(1);
        let pod = parts.next().unwrap_or_default();
        let namespace = parts.nth(1).unwrap_or_default();
        format!("/portForward/{namespace}/{pod}")
    }
}

/// A request that came to the node.
struct Asked {
    head: String,
    stream: TcpStream,
}

impl Asked {
    fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }

    fn field(&self, name: &str) -> &str {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut named = fields.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.next().map_or("", |(_, value)| value)
    }

    async fn say(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.stream.write_all(bytes).await.map_err(|error| {
            Stop::departure(
                "that the gateway reads what the node says",
                error.to_string(),
            )
        })
    }
}

async fn listen() -> Result<TcpListener, Stop> {
    TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(|error| own(&error))
}

fn own(error: &std::io::Error) -> Stop {
    Stop::Inconclusive(format!("a socket of the judge's own: {error}"))
}

async fn read_head(mut stream: TcpStream) -> std::io::Result<Asked> {
    let mut head = Vec::new();
    // Nothing is behind it before the answer.
    while !head.ends_with(b"\r\n\r\n") && head.len() < 64 << 10 {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    Ok(Asked { head, stream })
}

/// A node's 101 to the upgrade to SPDY.
fn agreed() -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: {PROTOCOL}\r\n\r\n"
    )
    .into_bytes()
}

async fn asked(t: &mut Trial) -> Outcome {
    let node = Node::new(t).await?;
    let (request, method, query) = if t.way == Way::V4 {
        let query = t.ports_query(&[81, 80]);
        (t.websocket_request(V4, &query), "GET", "?port=81,80")
    } else {
        (t.spdy_request(), "POST", "")
    };
    let (_, asked) = node.ask(t, request).await?;
    let wanted = format!("{method} {}{query} HTTP/1.1", node.wanted());
    if asked.line() != wanted {
        return Err(Stop::departure(wanted, asked.line()));
    }
    OK
}

async fn asked_by_tunnel(t: &mut Trial) -> Outcome {
    let node = Node::new(t).await?;
    let (_, asked) = node.ask(t, t.websocket_request(TUNNEL, "")).await?;
    if asked.target() != node.wanted() {
        return Err(Stop::departure(node.wanted(), asked.line()));
    }
    let (upgrade, inner) = (
        asked.field("upgrade"),
        asked.field("sec-websocket-protocol"),
    );
    let spdy = upgrade.eq_ignore_ascii_case("SPDY/3.1");
    let tunnel = upgrade.eq_ignore_ascii_case("websocket") && inner.contains(TUNNEL);
    if !spdy && !tunnel {
        let expected = "an upgrade to SPDY/3.1, or to the same WebSocket";
        return Err(Stop::departure(expected, format!("{upgrade:?}")));
    }
    OK
}

/// What the node says behind its 101: in the same write, and later.
fn words(t: &mut Trial) -> (Vec<u8>, Vec<u8>) {
    (t.dice.bytes(3000), t.dice.bytes(3000))
}

async fn behind(t: &mut Trial) -> Outcome {
    let node = Node::new(t).await?;
    let (first, later) = words(t);
    let (mut ready, mut asked) = node.ask(t, t.spdy_request()).await?;
    asked.say(&[agreed(), first.clone()].concat()).await?;
    let answer = ready.connection.answer(t.patience).await?;
    switched(&answer, "an upgrade that the node has agreed to")?;
    asked.say(&later).await?;
    let wanted = [first, later].concat();
    let deadline = Instant::now() + t.patience;
    while ready.connection.buffer.len() < wanted.len() {
        if ready.connection.fill(deadline).await != crate::probe::connection::Filled::More {
            break;
        }
    }
    same(&ready.connection.buffer, &wanted)
}

async fn behind_in_tunnel(t: &mut Trial) -> Outcome {
    let node = Node::new(t).await?;
    let (first, later) = words(t);
    let (mut ready, mut asked) = node.ask(t, t.websocket_request(TUNNEL, "")).await?;
    if !asked.field("upgrade").eq_ignore_ascii_case("SPDY/3.1") {
        let text = "the gateway leaves the tunnel to the node";
        return Err(Stop::Unsupported(text.to_owned()));
    }
    asked.say(&[agreed(), first.clone()].concat()).await?;
    let answer = ready.connection.answer(t.patience).await?;
    status(&answer, 101, "a tunnel that the node has agreed to")?;
    asked.say(&later).await?;
    let wanted = [first, later].concat();
    let mut websocket = WebSocket::new(ready.connection);
    let deadline = Instant::now() + t.patience;
    let mut got = Vec::new();
    while got.len() < wanted.len() {
        match websocket.next(deadline).await? {
            Next::Message(Message::Binary(bytes)) => got.extend(bytes),
            Next::Message(other) => {
                return Err(Stop::departure("binary messages", format!("{other:?}")));
            }
            Next::Ended | Next::Late => break,
        }
    }
    same(&got, &wanted)
}

fn same(got: &[u8], wanted: &[u8]) -> Outcome {
    match crate::catalogue::pods::difference(got, wanted) {
        None => OK,
        Some(text) => Err(Stop::departure("what the node sent, unchanged", text)),
    }
}

async fn redirect(t: &mut Trial) -> Outcome {
    let node = Node::new(t).await?;
    let elsewhere = listen().await?;
    let address = elsewhere.local_addr().map_err(|error| own(&error))?;
    for code in [301, 302, 303, 307, 308] {
        let request = match t.way {
            Way::Tunnel => t.websocket_request(TUNNEL, ""),
            Way::V4 => t.websocket_request(V4, &t.ports_query(&[80])),
            _ => t.spdy_request(),
        };
        let (mut ready, mut asked) = node.ask(t, request).await?;
        let head = format!(
            "HTTP/1.1 {code} Elsewhere\r\nLocation: http://{address}{}\r\nContent-Length: 0\r\n\r\n",
            node.wanted()
        );
        asked.say(head.as_bytes()).await?;
        let answered = tokio::select! {
            answer = ready.connection.answer(t.patience) => answer?,
            _ = elsewhere.accept() => return Err(followed(code, "a connection to the place named")),
            _ = node.listener.accept() => return Err(followed(code, "another connection to the node")),
        };
        refused(&answered, code)?;
        // Whatever it did came before its answer.
        let now = Duration::ZERO;
        if timeout(now, elsewhere.accept()).await.is_ok() {
            return Err(followed(code, "a connection to the place named"));
        }
        if timeout(now, node.listener.accept()).await.is_ok() {
            return Err(followed(code, "another connection to the node"));
        }
    }
    // And the gateway goes on.
    let mut s = if t.way == Way::V4 {
        let (ready, answer) = t.ask(&t.spdy_request()).await?;
        switched(&answer, "an upgrade behind redirects")?;
        Session::new(Carrier::Plain(ready.connection), t.patience)
    } else {
        t.session().await?
    };
    s.alive("behind redirects").await?;
    OK
}

fn followed(code: u16, what: &str) -> Stop {
    Stop::departure(format!("that a {code} of the node is not followed"), what)
}

fn refused(answer: &Answer, code: u16) -> Result<(), Stop> {
    let there = answer.field("location");
    if answer.status >= 400 && there.is_none() {
        return Ok(());
    }
    Err(Stop::departure(
        format!("an error of the gateway's own for a {code} of the node"),
        format!("{answer}, Location: {there:?}"),
    ))
}
