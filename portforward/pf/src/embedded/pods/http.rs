//! A page to look at: enough HTTP/1.1 for a browser, curl and a load generator.

use std::{borrow::Cow, io, str, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    net::TcpStream,
    time::timeout,
};

use super::counts::Counts;

/// The longest request head.
const MAX_HEAD: usize = 16 << 10;

/// The most header fields in one.
const MAX_FIELDS: usize = 64;

/// How long a client may go on sending after the last answer, so that it reads this
/// answer rather than a reset.
const LINGER: Duration = Duration::from_secs(2);

const PAGE: &str = "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<title>The forward works</title>
<style>
body { margin: 15vh auto; max-width: 36em; padding: 0 1em; font: 1.1em/1.6 system-ui, sans-serif; }
</style>
</head>
<body>
<h1>The forward works</h1>
<p>This page comes from a demo pod of the embedded cluster, through its gateway and
its node, over the same protocol that a real cluster speaks.</p>
<p><code>/bytes/N</code> answers with N bytes, for measuring.</p>
</body>
</html>
";

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What of a request its answer depends on.
struct Request {
    head_only: bool,
    known_method: bool,
    path: String,
    keep_alive: bool,
}

enum Body {
    Text(&'static str, Cow<'static, str>),
    Zeros(u64),
}

impl Body {
    fn kind(&self) -> &'static str {
        match self {
            Self::Text(kind, _) => kind,
            Self::Zeros(_) => "application/octet-stream",
        }
    }

    fn length(&self) -> u64 {
        match self {
            Self::Text(_, text) => text.len() as u64,
            Self::Zeros(n) => *n,
        }
    }
}

/// Answers requests until one asks for the end of the connection, or it has ended.
/// `/stats` is there if `counts` are.
pub(super) async fn serve(mut stream: TcpStream, counts: Option<&Counts>) -> io::Result<()> {
    let mut received = Vec::with_capacity(2 << 10);
    loop {
        let request = match parse(&received) {
            Ok(Some((length, request))) => {
                received.drain(..length.min(received.len()));
                request
            }
            Ok(None) if received.len() < MAX_HEAD => {
                let room = MAX_HEAD.saturating_sub(received.len()) as u64;
                if (&mut stream).take(room).read_buf(&mut received).await? == 0 {
                    return Ok(());
                }
                continue;
            }
            Ok(None) => return refuse(stream, "431 Request Header Fields Too Large").await,
            Err(httparse::Error::TooManyHeaders) => {
                return refuse(stream, "431 Request Header Fields Too Large").await;
            }
            Err(_) => return refuse(stream, "400 Bad Request").await,
        };
        let (status, body) = route(&request, counts);
        let mut head = head(status, &body, request.keep_alive);
        if request.head_only {
            stream.write_all(head.as_bytes()).await?;
        } else if let Body::Text(_, text) = body {
            head.push_str(&text);
            stream.write_all(head.as_bytes()).await?;
        } else {
            stream.write_all(head.as_bytes()).await?;
            zeros(&mut stream, body.length()).await?;
        }
        if !request.keep_alive {
            return finish(stream).await;
        }
    }
}

/// The first request in `received` and its head's length, once that is complete.
fn parse(received: &[u8]) -> Result<Option<(usize, Request)>, httparse::Error> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(received)? else {
        return Ok(None);
    };
    let mut keep_alive = head.version == Some(1);
    let mut has_body = false;
    for field in head.headers.iter() {
        let value = str::from_utf8(field.value).unwrap_or_default().trim();
        if field.name.eq_ignore_ascii_case("connection") {
            for option in value.split(',').map(str::trim) {
                if option.eq_ignore_ascii_case("close") {
                    keep_alive = false;
                }
            }
        } else if field.name.eq_ignore_ascii_case("content-length") {
            has_body |= value != "0";
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            has_body = true;
        }
    }
    let method = head.method.unwrap_or_default();
    let target = head.path.unwrap_or_default();
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    Ok(Some((
        length,
        Request {
            head_only: method == "HEAD",
            known_method: matches!(method, "GET" | "HEAD"),
            path: path.to_owned(),
            // A body is not looked at, so that no request can be found behind it.
            keep_alive: keep_alive && !has_body,
        },
    )))
}

fn route(request: &Request, counts: Option<&Counts>) -> (&'static str, Body) {
    const TEXT: &str = "text/plain; charset=utf-8";
    if !request.known_method {
        let body = Body::Text(TEXT, "GET and HEAD only\n".into());
        return ("405 Method Not Allowed\r\nallow: GET, HEAD", body);
    }
    if let ("/stats", Some(counts)) = (request.path.as_str(), counts) {
        return (
            "200 OK",
            Body::Text("application/json", counts.json().into()),
        );
    }
    match request.path.strip_prefix("/bytes/").map(str::parse) {
        None => (
            "200 OK",
            Body::Text("text/html; charset=utf-8", PAGE.into()),
        ),
        Some(Ok(n)) => ("200 OK", Body::Zeros(n)),
        Some(Err(_)) => ("400 Bad Request", Body::Text(TEXT, "not a count\n".into())),
    }
}

fn head(status: &str, body: &Body, keep_alive: bool) -> String {
    let (kind, length) = (body.kind(), body.length());
    let close = if keep_alive {
        ""
    } else {
        "connection: close\r\n"
    };
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
         cache-control: no-store\r\nx-content-type-options: nosniff\r\n{close}\r\n"
    )
}

async fn zeros(stream: &mut TcpStream, n: u64) -> io::Result<()> {
    let mut left = n;
    while left > 0 {
        let part = usize::try_from(left)
            .ok()
            .and_then(|left| ZEROS.get(..left))
            .unwrap_or(&ZEROS);
        stream.write_all(part).await?;
        left = left.saturating_sub(part.len() as u64);
    }
    Ok(())
}

async fn refuse(mut stream: TcpStream, status: &str) -> io::Result<()> {
    let head = head(status, &Body::Zeros(0), false);
    stream.write_all(head.as_bytes()).await?;
    finish(stream).await
}

async fn finish(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    match timeout(LINGER, copy(&mut stream, &mut sink())).await {
        Ok(drained) => drained.map(drop),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Everything that is answered to `requests` on one connection. The sending side
    /// stays open if `open`, so that the server is the one to close.
    async fn answers(requests: &[u8], open: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let serving = tokio::spawn(serve(server, None));
        client.write_all(requests).await.unwrap();
        if !open {
            client.shutdown().await.unwrap();
        }
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        drop(client);
        serving.await.unwrap().unwrap();
        String::from_utf8(got).unwrap()
    }

    #[tokio::test]
    async fn page_on_any_path_with_keep_alive_and_pipelining() {
        let got = answers(
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\nHEAD /x HTTP/1.1\r\nhost: a\r\n\r\n\
              GET /bytes/5?a HTTP/1.1\r\nhost: a\r\n\r\n",
            false,
        )
        .await;
        assert_eq!(got.matches("HTTP/1.1 200 OK\r\n").count(), 3);
        assert_eq!(got.matches("The forward works</h1>").count(), 1);
        assert_eq!(got.matches("connection: close").count(), 0);
        let length = format!("content-length: {}\r\n", PAGE.len());
        assert_eq!(got.matches(&length).count(), 2);
        assert!(got.ends_with("\r\n\r\n\0\0\0\0\0"));
    }

    #[tokio::test]
    async fn closes_when_asked_or_when_it_must() {
        for request in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nConnection: foo, Close\r\n\r\n",
            "GET / HTTP/1.1\r\ncontent-length: 5\r\n\r\nGET /",
            "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            let got = answers(request.as_bytes(), true).await;
            assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{request}");
            assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "{request}");
            assert!(got.contains("\r\nconnection: close\r\n"), "{request}");
        }
    }

    #[tokio::test]
    async fn refuses_what_it_cannot_answer() {
        let long = format!("GET / HTTP/1.1\r\na: {}", "x".repeat(MAX_HEAD));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
        for (request, status) in [
            ("POST / HTTP/1.1\r\nconnection: close\r\n\r\n", "405 "),
            (
                "GET /bytes/-1 HTTP/1.1\r\nconnection: close\r\n\r\n",
                "400 ",
            ),
            ("\x16\x03\x01\r\n\r\n", "400 "),
            (&long, "431 "),
            (&many, "431 "),
        ] {
            let got = answers(request.as_bytes(), true).await;
            assert_eq!(got.get(9..13), Some(status), "{request}");
        }
    }

    #[tokio::test]
    async fn counts_bytes() {
        let got = answers(b"GET /bytes/200000 HTTP/1.1\r\n\r\n", false).await;
        let (_, body) = got.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.len(), 200_000);
    }
}
