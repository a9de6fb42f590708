//! The smooth source and sink: a TLS server that has nothing behind it which could hold it up. To pf it is an API
//! server with one pod; to the others it is the end of their connection or stream.
//!
//! A connection begins with `d`, `u` or `e` and a big-endian count of 8 bytes. `d`: as many bytes come, and the
//! end. `u`: as many follow, and their number comes back when they are there. The byte at offset n is
//! n, modulo 256. `e`: what follows comes back, whatever the count.

use anyhow::{Context, Result, anyhow, bail};
use benches::{READ_BUFFER, h2_streams};
use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use portforward::http1::{HeadLimits, read_request_head};
use portforward::pair::{Label, StreamType};
use portforward::session::{self, Stream};
use portforward::tls::{self, ClientAuth, Identity};
use portforward::upgrade::{PORT_FORWARD_V1, TUNNEL};
use portforward::websocket::WsByteStream;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::json;
use std::collections::HashMap;
use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Of the certificate.
pub(crate) const NAME: &str = "localhost";
/// ALPN of a client that is the API server's.
const HTTP: &[u8] = b"http/1.1";
/// ALPN of a client that begins with its connection's bytes.
pub(crate) const RAW: &[u8] = b"e2e-raw";
pub(crate) const H2: &[u8] = b"e2e-h2";
/// Files for the clients.
pub(crate) const DER: &str = "ca.der";
pub(crate) const KUBECONFIG: &str = "kubeconfig";
/// What comes before the address on standard output.
pub(crate) const READY: &str = "Serving on ";

pub(crate) const DOWNLOAD: u8 = b'd';
pub(crate) const UPLOAD: u8 = b'u';
pub(crate) const ECHO: u8 = b'e';
/// Bytes written at a time.
const PIECE: usize = 256 << 10;
/// Payload of a DATA frame: a container runtime copies so much at a time.
const DATA: usize = 32 << 10;
const QUEUE: usize = 512 << 10;

/// Serves a smooth source, and writes what its clients need into a directory.
#[derive(clap::Args)]
pub(crate) struct Serve {
    directory: PathBuf,
}

/// Until SIGINT.
pub(crate) async fn run(serve: Serve) -> Result<()> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let certificate = made.cert.der().clone();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    std::fs::write(serve.directory.join(DER), &certificate)?;
    let pem = serve.directory.join("ca.pem");
    std::fs::write(&pem, made.cert.pem())?;
    // JSON is YAML.
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "smooth",
        "clusters": [{"name": "smooth", "cluster": {
            "server": format!("https://{address}"), "certificate-authority": pem, "tls-server-name": NAME,
        }}],
        "users": [{"name": "smooth", "user": {"token": "smooth"}}],
        "contexts": [{"name": "smooth", "context": {"cluster": "smooth", "user": "smooth"}}],
    });
    std::fs::write(serve.directory.join(KUBECONFIG), kubeconfig.to_string())?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let mut config = tls::server_config(Identity::new(vec![certificate], key), ClientAuth::None)?;
    config.alpn_protocols = [HTTP, RAW, H2].map(<[u8]>::to_vec).into();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let piece: Vec<u8> = (0..PIECE).map(|at| at.to_le_bytes()[0]).collect();
    let piece = Bytes::from(piece);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, piece) = (acceptor.clone(), piece.clone());
            tokio::spawn(async move {
                tell(connection(socket, acceptor, piece).await);
            });
        }
    });
    println!("{READY}{address}");
    tokio::signal::ctrl_c().await.context("signals")
}

async fn connection(socket: TcpStream, acceptor: TlsAcceptor, piece: Bytes) -> Result<()> {
    socket.set_nodelay(true)?;
    let io = BufReader::with_capacity(READ_BUFFER, socket);
    let io = acceptor.accept(io).await?;
    match io.get_ref().1.alpn_protocol() {
        Some(RAW) => {
            let buffer = BytesMut::new();
            service(Pipe::Tls(Box::new(io), buffer), &piece).await
        }
        Some(H2) => {
            let mut connection = h2_streams::server().handshake::<_, Bytes>(io).await?;
            while let Some(accepted) = connection.accept().await {
                let (request, mut respond) = accepted?;
                let send = respond.send_response(http::Response::new(()), false)?;
                let (pipe, piece) = (Pipe::H2(send, request.into_body()), piece.clone());
                tokio::spawn(async move { tell(service(pipe, &piece).await) });
            }
            Ok(())
        }
        _ => api_server(io, piece).await,
    }
}

/// The pod on any request, until one asks for an upgrade.
async fn api_server(mut io: Tls, piece: Bytes) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "smooth", "namespace": "default", "uid": "smooth"},
        "spec": {"containers": [{"name": "smooth"}]},
        "status": {"phase": "Running"},
    })
    .to_string();
    let mut early = BytesMut::new();
    loop {
        let limits = HeadLimits::default();
        let far = tokio::time::Instant::now() + std::time::Duration::from_secs(3600);
        // The client closes the connection on which it has looked up the pod.
        let Ok(head) = read_request_head(&mut io, &mut early, &limits, far).await else {
            return Ok(());
        };
        let Some(upgrade) = head.fields.get_str("upgrade") else {
            let length = pod.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{pod}"
            );
            io.write_all(answer.as_bytes()).await?;
            io.flush().await?;
            continue;
        };
        let tunnel = upgrade.eq_ignore_ascii_case("websocket");
        let fields = if tunnel {
            let key = head.fields.get_str("sec-websocket-key");
            let accept = key.and_then(wsstream::accept_key).context("no key")?;
            format!("Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {TUNNEL}")
        } else {
            format!("X-Stream-Protocol-Version: {PORT_FORWARD_V1}")
        };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n{fields}\r\n\r\n"
        );
        io.write_all(answer.as_bytes()).await?;
        io.flush().await?;
        return if tunnel {
            let io = WsByteStream::server(io, early)?;
            spdy(io, BytesMut::new(), &piece).await
        } else {
            spdy(io, early, &piece).await
        };
    }
}

async fn spdy<T>(io: T, early: BytesMut, piece: &Bytes) -> Result<()>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut config = session::Config::default();
    // As with a real API server.
    config.windows = false;
    config.spdy.data_payload = DATA;
    config.stream_send = QUEUE;
    let (session, driver) = session::server(io, early, config)?;
    tokio::spawn(driver);
    let mut errors = HashMap::new();
    while let Some(incoming) = session.accept().await {
        let label = Label::read(incoming.id, &incoming.headers)?;
        let stream = incoming.accept().context("no stream")?;
        if label.kind == StreamType::Error {
            errors.insert(label.request, stream);
            continue;
        }
        let mut error: Stream = errors.remove(&label.request).context("no error stream")?;
        let piece = piece.clone();
        tokio::spawn(async move {
            tell(service(Pipe::Spdy(stream), &piece).await);
            error.shutdown().await?;
            error.read_to_end(&mut Vec::new()).await
        });
    }
    Ok(())
}

fn tell(result: Result<()>) {
    if let Err(error) = result {
        eprintln!("smooth source: {error:#}");
    }
}

type Tls = TlsStream<BufReader<TcpStream>>;

/// One connection, however it is carried.
enum Pipe {
    Spdy(Stream),
    Tls(Box<Tls>, BytesMut),
    H2(SendStream<Bytes>, RecvStream),
}

impl Pipe {
    async fn send(&mut self, mut chunk: Bytes) -> Result<()> {
        match self {
            Self::Spdy(stream) => poll_fn(|cx| stream.poll_write_chunk(cx, &mut chunk)).await?,
            Self::Tls(io, _) => io.write_all(&chunk).await?,
            Self::H2(stream, _) => h2_streams::send(stream, chunk).await?,
        }
        Ok(())
    }

    /// None at the end.
    async fn receive(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::Spdy(stream) => Ok(poll_fn(|cx| stream.poll_read_chunk(cx)).await?),
            Self::Tls(io, buffer) => {
                buffer.reserve(PIECE);
                let n = io.read_buf(buffer).await?;
                Ok((n > 0).then(|| buffer.split().freeze()))
            }
            Self::H2(_, stream) => {
                let Some(chunk) = stream.data().await.transpose()? else {
                    return Ok(None);
                };
                stream.flow_control().release_capacity(chunk.len())?;
                Ok(Some(chunk))
            }
        }
    }

    async fn finish(&mut self) -> Result<()> {
        match self {
            Self::Spdy(stream) => stream.shutdown().await?,
            Self::Tls(io, _) => io.shutdown().await?,
            Self::H2(stream, _) => stream.send_data(Bytes::new(), true)?,
        }
        Ok(())
    }
}

async fn service(mut pipe: Pipe, piece: &Bytes) -> Result<()> {
    let mut early = BytesMut::new();
    while early.len() < 9 {
        let Some(chunk) = pipe.receive().await? else {
            bail!("ended before it began");
        };
        early.extend_from_slice(&chunk);
    }
    let what = early.split_to(1)[0];
    let count = early.split_to(8);
    let count = u64::from_be_bytes(<[u8; 8]>::try_from(&count[..])?);
    match what {
        DOWNLOAD => {
            let mut left = count;
            while left > 0 {
                let n = left.min(piece.len() as u64);
                pipe.send(piece.slice(..usize::try_from(n)?)).await?;
                left -= n;
            }
        }
        UPLOAD => {
            let mut got = 0;
            let mut chunk = early.freeze();
            loop {
                if !chunk.is_empty() {
                    crate::bulk::check(&chunk, got)?;
                    got += chunk.len() as u64;
                }
                if got >= count {
                    break;
                }
                chunk = pipe
                    .receive()
                    .await?
                    .ok_or_else(|| anyhow!("only {got} of {count} bytes came"))?;
            }
            pipe.send(Bytes::copy_from_slice(&got.to_be_bytes()))
                .await?;
        }
        ECHO => {
            let mut chunk = Some(early.freeze());
            while let Some(back) = chunk {
                pipe.send(back).await?;
                chunk = pipe.receive().await?;
            }
        }
        other => bail!("asked for {other:#x}"),
    }
    pipe.finish().await?;
    // To its end, so that nothing is reset.
    while pipe.receive().await?.is_some() {}
    Ok(())
}
