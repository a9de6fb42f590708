//! Connections as streams of one h2 connection, tuned for bulk.

use crate::Io;
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream, server};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
const FRAME: u32 = 64 << 10;
const SEND_BUFFER: usize = 1 << 20;
const READ: usize = 64 << 10;

/// Starts both ends; each stream goes to `target`.
pub(crate) async fn join(
    client: impl Io,
    server: impl Io,
    target: SocketAddr,
) -> io::Result<SendRequest<Bytes>> {
    tokio::spawn(async move {
        let mut connection = self::server().handshake::<_, Bytes>(server).await?;
        while let Some(accepted) = connection.accept().await {
            let (request, mut respond) = accepted?;
            tokio::spawn(async move {
                let far = TcpStream::connect(target).await?;
                let answer = http::Response::new(());
                let send = respond.send_response(answer, false).map_err(other)?;
                copy(far, send, request.into_body()).await
            });
        }
        Ok::<_, h2::Error>(())
    });
    connect(client).await
}

/// How a server is tuned.
#[must_use]
pub fn server() -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_send_buffer_size(SEND_BUFFER);
    builder
}

/// Starts the client's end.
///
/// # Errors
/// The peer does not speak HTTP/2.
pub async fn connect<T>(io: T) -> io::Result<SendRequest<Bytes>>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_send_buffer_size(SEND_BUFFER);
    let (sender, connection) = builder.handshake(io).await.map_err(other)?;
    tokio::spawn(connection);
    sender.ready().await.map_err(other)
}

/// Sends all of `chunk`, as there is room.
///
/// # Errors
/// The stream or its connection is over.
pub async fn send(stream: &mut SendStream<Bytes>, mut chunk: Bytes) -> io::Result<()> {
    while !chunk.is_empty() {
        stream.reserve_capacity(chunk.len());
        while stream.capacity() == 0 {
            match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(given) => drop(given.map_err(other)?),
                None => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        let piece = chunk.split_to(stream.capacity().min(chunk.len()));
        stream.send_data(piece, false).map_err(other)?;
    }
    Ok(())
}

/// Carries one connection on a stream of its own.
///
/// # Errors
/// The socket or the stream fails.
pub async fn carry(local: TcpStream, sender: SendRequest<Bytes>) -> io::Result<()> {
    let mut sender = sender.ready().await.map_err(other)?;
    let mut request = http::Request::new(());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static("http://localhost/");
    let (answer, send) = sender.send_request(request, false).map_err(other)?;
    let receive = answer.await.map_err(other)?.into_body();
    copy(local, send, receive).await
}

async fn copy(socket: TcpStream, send: SendStream<Bytes>, receive: RecvStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (read, write) = socket.into_split();
    tokio::try_join!(up(read, send), down(receive, write)).map(drop)
}

async fn up(mut socket: OwnedReadHalf, mut stream: SendStream<Bytes>) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ);
        if socket.read_buf(&mut buffer).await? == 0 {
            return stream.send_data(Bytes::new(), true).map_err(other);
        }
        send(&mut stream, buffer.split().freeze()).await?;
    }
}

async fn down(mut stream: RecvStream, mut socket: OwnedWriteHalf) -> io::Result<()> {
    while let Some(chunk) = stream.data().await {
        let chunk = chunk.map_err(other)?;
        socket.write_all(&chunk).await?;
        stream
            .flow_control()
            .release_capacity(chunk.len())
            .map_err(other)?;
    }
    socket.shutdown().await
}

fn other(error: h2::Error) -> io::Error {
    io::Error::other(error)
}
