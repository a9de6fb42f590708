//! tungstenite as a peer, by tokio-tungstenite. See ../../../README.md for what it is asked to do.

use futures_util::{SinkExt, StreamExt};
use std::process::exit;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config, client_async_with_config,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        handshake::server::{ErrorResponse, Request, Response},
        http::HeaderValue,
        protocol::{
            CloseFrame, WebSocketConfig,
            frame::{
                Frame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};
use ws_rust::{Bulk, Echo, Greeting, LARGEST, OFFERED, Part, Result, Role, role, selected};

#[tokio::main]
async fn main() {
    let done = match role("ws-tungstenite") {
        Ok(Role::Server) => serve().await,
        Ok(Role::Client { port, bytes, seed }) => client(port, bytes, seed).await,
        Ok(Role::Autobahn { port }) => autobahn(port).await,
        Err(e) => Err(e),
    };
    if let Err(e) = done {
        eprintln!("ws-tungstenite: {e}");
        exit(1);
    }
    exit(0);
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST))
}

async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("port {}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async {
            if let Err(e) = answer(stream).await {
                eprintln!("ws-tungstenite: {e}");
            }
        });
    }
}

#[expect(
    clippy::result_large_err,
    clippy::unnecessary_wraps,
    reason = "the callback's type is the library's"
)]
fn select(
    request: &Request,
    mut response: Response,
) -> std::result::Result<Response, ErrorResponse> {
    let offered = request.headers().get("Sec-WebSocket-Protocol");
    if let Some(name) = offered
        .and_then(|names| names.to_str().ok())
        .and_then(selected)
        && let Ok(name) = HeaderValue::from_str(name)
    {
        response
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", name);
    }
    Ok(response)
}

async fn answer(stream: TcpStream) -> Result<()> {
    let mut socket = accept_hdr_async_with_config(stream, select, Some(config())).await?;
    echo(&mut socket).await
}

async fn echo(socket: &mut WebSocketStream<TcpStream>) -> Result<()> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn connect(port: u16, path: &str, offer: bool) -> Result<WebSocketStream<TcpStream>> {
    let mut request = format!("ws://127.0.0.1:{port}/{path}").into_client_request()?;
    if offer {
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", HeaderValue::from_static(OFFERED));
    }
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(client_async_with_config(request, stream, Some(config()))
        .await?
        .0)
}

async fn client(port: u16, bytes: usize, seed: u32) -> Result<()> {
    let (mut sink, mut stream) = connect(port, "", true).await?.split();

    let mut greeting = Greeting::default();
    sink.send(Message::text(Greeting::TEXT)).await?;
    sink.send(Message::binary(&b""[..])).await?;
    sink.send(Message::Ping(Greeting::PING.into())).await?;
    while !greeting.is_complete() {
        match stream.next().await.ok_or("the end, before the bulk")?? {
            Message::Pong(payload) => greeting.pong(&payload)?,
            message @ (Message::Text(_) | Message::Binary(_)) => {
                greeting.message(message.is_text(), &message.into_data())?;
            }
            message => return Err(format!("unasked for: {message:?}").into()),
        }
    }

    let sending = tokio::spawn(async move {
        for part in Bulk::new(bytes, seed) {
            let message = match part {
                Part::Ping => Message::Ping(b"between"[..].into()),
                Part::Data { first, last, bytes } => {
                    let opcode = if first { Data::Binary } else { Data::Continue };
                    Message::Frame(Frame::message(bytes, OpCode::Data(opcode), last))
                }
            };
            sink.send(message).await?;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(sink)
    });
    let mut back = Echo::new(bytes, seed);
    while !back.is_complete() {
        match stream.next().await.ok_or("the end, in the bulk")?? {
            Message::Pong(payload) if *payload == *b"between" => {}
            message @ (Message::Text(_) | Message::Binary(_)) => {
                back.take(message.is_text(), &message.into_data())?;
            }
            Message::Close(frame) => return Err(format!("close, in the bulk: {frame:?}").into()),
            _ => return Err("unasked for, in the bulk".into()),
        }
    }
    let mut sink = sending.await??;
    println!("ok bulk {}", back.sha256());

    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    sink.send(Message::Close(Some(frame))).await?;
    let mut code = None;
    while let Some(message) = stream.next().await {
        match message? {
            Message::Pong(payload) if *payload == *b"between" => {}
            Message::Close(frame) => code = Some(frame.map_or(1005, |frame| frame.code.into())),
            _ => return Err("a message, after close".into()),
        }
    }
    println!("ok close {}", code.ok_or("the end, without close")?);
    Ok(())
}

/// All cases of a fuzzing server.
async fn autobahn(port: u16) -> Result<()> {
    let mut socket = connect(port, "getCaseCount", false).await?;
    let count: u32 = socket
        .next()
        .await
        .ok_or("no case count")??
        .to_text()?
        .parse()?;
    while let Some(Ok(_)) = socket.next().await {}
    for case in 1..=count {
        let path = format!("runCase?case={case}&agent=tungstenite");
        // That it fails may be what a case is about.
        let _outcome = echo(&mut connect(port, &path, false).await?).await;
    }
    let mut socket = connect(port, "updateReports?agent=tungstenite", false).await?;
    while let Some(Ok(_)) = socket.next().await {}
    println!("ok cases {count}");
    Ok(())
}
