//! fastwebsockets as a peer. See ../../../README.md for what it is asked to do.

use fastwebsockets::{
    FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, WebSocket, WebSocketWrite,
    handshake,
    upgrade::{UpgradeFut, is_upgrade_request, upgrade},
};
use http_body_util::Empty;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_PROTOCOL, UPGRADE},
    rt::Executor,
    server::conn::http1,
    service::service_fn,
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use std::{
    io,
    process::exit,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    io::{ReadHalf, WriteHalf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use ws_rust::{Bulk, Echo, Greeting, LARGEST, OFFERED, Part, Result, Role, role, selected};

#[tokio::main]
async fn main() {
    let done = match role("ws-fastwebsockets") {
        Ok(Role::Server) => serve().await,
        Ok(Role::Client { port, bytes, seed }) => client(port, bytes, seed).await,
        Ok(Role::Autobahn { port }) => autobahn(port).await,
        Err(e) => Err(e),
    };
    if let Err(e) = done {
        eprintln!("ws-fastwebsockets: {e}");
        exit(1);
    }
    exit(0);
}

async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("port {}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async {
            if let Err(e) = answer(stream).await {
                eprintln!("ws-fastwebsockets: {e}");
            }
        });
    }
}

async fn answer(stream: TcpStream) -> Result<()> {
    let upgraded: Arc<Mutex<Option<UpgradeFut>>> = Arc::default();
    let service = service_fn(|request: Request<Incoming>| {
        let upgraded = Arc::clone(&upgraded);
        async move { accept(request, &upgraded).map_err(io::Error::other) }
    });
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await?;
    let upgraded = upgraded
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    echo(upgraded.ok_or("not a WebSocket request")?.await?).await
}

fn accept(
    mut request: Request<Incoming>,
    upgraded: &Mutex<Option<UpgradeFut>>,
) -> Result<Response<Empty<Bytes>>> {
    if !is_upgrade_request(&request) {
        return Ok(Response::builder()
            .status(StatusCode::BAD_REQUEST)
            .body(Empty::new())?);
    }
    let (mut response, socket) = upgrade(&mut request)?;
    let offered = request.headers().get(SEC_WEBSOCKET_PROTOCOL);
    if let Some(name) = offered
        .and_then(|names| names.to_str().ok())
        .and_then(selected)
    {
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(name)?);
    }
    *upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
    Ok(response)
}

async fn echo(mut socket: WebSocket<TokioIo<Upgraded>>) -> Result<()> {
    socket.set_max_message_size(LARGEST);
    let mut socket = FragmentCollector::new(socket);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            OpCode::Close => return Ok(()),
            _ => {}
        }
    }
}

struct Spawn;

impl<F> Executor<F> for Spawn
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

async fn connect(port: u16, path: &str, offer: bool) -> Result<WebSocket<TokioIo<Upgraded>>> {
    let mut request = Request::builder()
        .uri(format!("http://127.0.0.1:{port}/{path}"))
        .header(HOST, format!("127.0.0.1:{port}"))
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "upgrade")
        .header("Sec-WebSocket-Key", handshake::generate_key())
        .header("Sec-WebSocket-Version", "13")
        .body(Empty::<Bytes>::new())?;
    if offer {
        request
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(OFFERED));
    }
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let (mut socket, response) = handshake::client(&Spawn, request, stream).await?;
    // The library leaves that to its user.
    let answer = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
    if answer.is_some_and(|name| !offer || name != OFFERED) {
        return Err(format!("a subprotocol not offered: {answer:?}").into());
    }
    socket.set_max_message_size(LARGEST);
    Ok(socket)
}

type Reader = FragmentCollectorRead<ReadHalf<TokioIo<Upgraded>>>;
type Writer = WebSocketWrite<WriteHalf<TokioIo<Upgraded>>>;

/// A reader, and the frames it owes the other end: a writer that waits for that end must not keep it
/// from reading.
struct Incomings {
    reader: Reader,
    owed: mpsc::UnboundedSender<Frame<'static>>,
}

impl Incomings {
    async fn next(&mut self) -> Result<Frame<'static>> {
        let owed = &self.owed;
        let mut send = |frame| {
            let sent = owed
                .send(frame)
                .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe));
            async move { sent }
        };
        Ok(self.reader.read_frame(&mut send).await?)
    }
}

async fn client(port: u16, bytes: usize, seed: u32) -> Result<()> {
    let (reader, mut writer): (_, Writer) = connect(port, "", true).await?.split(tokio::io::split);
    let (owed, mut owing) = mpsc::unbounded_channel();
    let mut incoming = Incomings {
        reader: FragmentCollectorRead::new(reader),
        owed,
    };

    let mut greeting = Greeting::default();
    writer
        .write_frame(Frame::text(Payload::Owned(Greeting::TEXT.into())))
        .await?;
    writer
        .write_frame(Frame::binary(Payload::Owned(Vec::new())))
        .await?;
    writer.write_frame(ping(Greeting::PING)).await?;
    while !greeting.is_complete() {
        let frame = incoming.next().await?;
        match frame.opcode {
            OpCode::Pong => greeting.pong(&frame.payload)?,
            OpCode::Text | OpCode::Binary => {
                greeting.message(frame.opcode == OpCode::Text, &frame.payload)?;
            }
            _ => return Err("unasked for, before the bulk".into()),
        }
    }

    let sending = tokio::spawn(async move {
        for part in Bulk::new(bytes, seed) {
            while let Ok(frame) = owing.try_recv() {
                writer.write_frame(frame).await?;
            }
            let frame = match part {
                Part::Ping => ping(b"between"),
                Part::Data { first, last, bytes } => {
                    let opcode = if first {
                        OpCode::Binary
                    } else {
                        OpCode::Continuation
                    };
                    // Owned: it is masked in place.
                    Frame::new(last, opcode, None, Payload::Owned(bytes.to_vec()))
                }
            };
            writer.write_frame(frame).await?;
        }
        Ok::<_, fastwebsockets::WebSocketError>((writer, owing))
    });
    let mut back = Echo::new(bytes, seed);
    while !back.is_complete() {
        let frame = incoming.next().await?;
        match frame.opcode {
            OpCode::Pong if *frame.payload == *b"between" => {}
            OpCode::Text | OpCode::Binary => {
                back.take(frame.opcode == OpCode::Text, &frame.payload)?;
            }
            _ => return Err("unasked for, in the bulk".into()),
        }
    }
    // What it owes after its own close is not sent, but has to be taken.
    let (mut writer, _owing) = sending.await??;
    println!("ok bulk {}", back.sha256());

    writer.write_frame(Frame::close(1000, b"")).await?;
    loop {
        let frame = incoming.next().await?;
        match (frame.opcode, &*frame.payload) {
            (OpCode::Pong, b"between") => {}
            (OpCode::Close, []) => println!("ok close 1005"),
            (OpCode::Close, [high, low, ..]) => {
                println!("ok close {}", u16::from_be_bytes([*high, *low]));
            }
            _ => return Err("a message, after close".into()),
        }
        if frame.opcode == OpCode::Close {
            return Ok(());
        }
    }
}

fn ping(payload: &[u8]) -> Frame<'static> {
    Frame::new(true, OpCode::Ping, None, Payload::Owned(payload.to_vec()))
}

/// All cases of a fuzzing server.
async fn autobahn(port: u16) -> Result<()> {
    let mut socket = FragmentCollector::new(connect(port, "getCaseCount", false).await?);
    let count: u32 = std::str::from_utf8(&socket.read_frame().await?.payload)?.parse()?;
    for case in 1..=count {
        let path = format!("runCase?case={case}&agent=fastwebsockets");
        // That it fails may be what a case is about.
        let _outcome = echo(connect(port, &path, false).await?).await;
    }
    let mut socket =
        FragmentCollector::new(connect(port, "updateReports?agent=fastwebsockets", false).await?);
    while socket
        .read_frame()
        .await
        .is_ok_and(|frame| frame.opcode != OpCode::Close)
    {}
    println!("ok cases {count}");
    Ok(())
}
