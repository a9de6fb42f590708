//! Heads, each fed whole and byte by byte.

pub(crate) mod malformed;

use super::HeadErrorKind as K;
use super::*;
use bytes::BytesMut;
use rustix::time::{ClockId, clock_gettime};
use tokio::io::AsyncWriteExt;

type Verdict<H> = Result<Option<H>, (K, usize)>;

/// Parses whole and byte by byte; both must agree. Gives what was left behind the head, too.
fn both<H: PartialEq + std::fmt::Debug>(
    input: &[u8],
    parse: impl Fn(&mut BytesMut) -> Result<Option<H>, HeadError>,
    scanner: impl Fn() -> scan::Scanner,
    cut: impl Fn(&mut scan::Scanner, &mut BytesMut) -> Result<Option<H>, HeadError>,
) -> (Verdict<H>, BytesMut) {
    let mut buf = BytesMut::from(input);
    let whole = parse(&mut buf).map_err(|e| (e.kind, e.offset));

    let mut piecewise = Ok(None);
    let mut scanner = scanner();
    let mut pieces = BytesMut::new();
    let mut rest = input;
    while let Some((b, behind)) = rest.split_first() {
        pieces.extend_from_slice(&[*b]);
        rest = behind;
        piecewise = cut(&mut scanner, &mut pieces).map_err(|e| (e.kind, e.offset));
        if !matches!(piecewise, Ok(None)) {
            break;
        }
    }
    pieces.extend_from_slice(rest);
    assert_eq!(
        whole,
        piecewise,
        "whole and piecewise differ: {}",
        String::from_utf8_lossy(input)
    );
    if matches!(whole, Ok(Some(_))) {
        assert_eq!(
            buf,
            pieces,
            "what is left differs: {}",
            String::from_utf8_lossy(input)
        );
    }
    (whole, buf)
}

fn request(input: &[u8]) -> (Verdict<RequestHead>, BytesMut) {
    let limits = HeadLimits::default();
    both(
        input,
        |buf| RequestHead::parse(buf, &limits),
        || scan::Scanner::new(scan::Role::Request, limits),
        RequestHead::cut,
    )
}

fn response(input: &[u8]) -> (Verdict<ResponseHead>, BytesMut) {
    let limits = HeadLimits::default();
    both(
        input,
        |buf| ResponseHead::parse(buf, &limits),
        || scan::Scanner::new(scan::Role::Response, limits),
        ResponseHead::cut,
    )
}

#[test]
fn good_requests_keep_what_is_behind_them() {
    let input = b"POST /api/v1/namespaces/a/pods/b/portforward?x=%2F HTTP/1.1\r\nHost: [::1]:6443\r\n\
        Connection: keep-alive, Upgrade\r\nx-stream-protocol-version:portforward.k8s.io\r\nEmpty:\r\n\
        Latin: caf\xe9\r\nContent-Length: 0\r\n\r\n\x80\x03\0\x01early";
    let (verdict, rest) = request(input);
    let head = verdict.unwrap().unwrap();
    assert_eq!(&rest[..], b"\x80\x03\0\x01early");
    assert_eq!(head.method, "POST");
    assert_eq!(head.path(), "/api/v1/namespaces/a/pods/b/portforward");
    assert_eq!(head.query(), "x=%2F");
    assert_eq!(head.content_length(), 0);
    assert_eq!(head.fields.len(), 6);
    assert_eq!(
        head.fields.get_str("X-Stream-Protocol-Version"),
        Some("portforward.k8s.io")
    );
    assert_eq!(head.fields.get("empty").map(bytes::Bytes::len), Some(0));
    assert_eq!(head.fields.get_str("latin"), None);
    assert_eq!(
        head.fields.get("latin").map(|v| &v[..]),
        Some(&b"caf\xe9"[..])
    );
}

#[test]
fn good_responses_with_either_line_end() {
    for input in [
        &b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\r\nearly"[..],
        b"HTTP/1.1 101 Switching Protocols\nUpgrade: SPDY/3.1\nConnection: Upgrade\n\nearly",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\nConnection: Upgrade\r\n\nearly",
    ] {
        let (verdict, rest) = response(input);
        let head = verdict.unwrap().unwrap();
        assert_eq!(&rest[..], b"early");
        assert_eq!((head.status, head.reason.as_str(), head.version), (101, "Switching Protocols", Version::Http11));
        assert_eq!(head.as_received()[..], input[..input.len() - 5]);
        assert_eq!(head.framing(), Framing::Length(0));
    }
    for (input, framing) in [
        ("HTTP/1.1 200\r\n\r\n", Framing::UntilClose),
        ("HTTP/1.1 200 \r\n\r\n", Framing::UntilClose),
        (
            "HTTP/1.0 503 Service Unavailable\r\nContent-Length: 7\r\n\r\n",
            Framing::Length(7),
        ),
        (
            "HTTP/1.1 500 x\r\nTransfer-Encoding: Chunked\r\n\r\n",
            Framing::Chunked,
        ),
        (
            "HTTP/1.1 204 x\r\nContent-Length: 7\r\n\r\n",
            Framing::Length(0),
        ),
    ] {
        assert_eq!(
            response(input.as_bytes()).0.unwrap().unwrap().framing(),
            framing,
            "{input:?}"
        );
    }
}

/// B21: at the limit it passes, one byte or one field above it does not.
#[test]
fn limits_are_exact() {
    let head = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: x\r\nA: ";
        format!("{start}{}\r\n\r\n", "v".repeat(bytes - start.len() - 4))
    };
    assert!(request(head(16384).as_bytes()).0.unwrap().is_some());
    assert_eq!(request(head(16385).as_bytes()).0, Err((K::TooLarge, 16384)));
    assert_eq!(request(&vec![b'x'; 100_000]).0, Err((K::TooLarge, 16384)));
    // An endless head is refused as soon as no end can come any more.
    let mut buf = BytesMut::from(&vec![b'x'; 16383][..]);
    assert_eq!(
        RequestHead::parse(&mut buf, &HeadLimits::default()),
        Ok(None)
    );
    buf.extend_from_slice(b"x");
    assert!(RequestHead::parse(&mut buf, &HeadLimits::default()).is_err());

    let fields = |n: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
            "A: b\r\n".repeat(n - 1)
        )
    };
    assert_eq!(
        request(fields(64).as_bytes())
            .0
            .unwrap()
            .unwrap()
            .fields
            .len(),
        64
    );
    assert_eq!(
        request(fields(65).as_bytes()).0,
        Err((K::TooManyFields, 25 + 63 * 6))
    );

    let kind = |kind| HeadError::new(kind, 0).status();
    assert_eq!(
        (kind(K::TooLarge), kind(K::TooManyFields), kind(K::BareLf)),
        (431, 431, 400)
    );
    assert_eq!(
        HeadLimits::default().with_bytes(1 << 20).bytes,
        HeadLimits::CEILING
    );
}

/// T33: a head of 16 KiB in 1-byte reads costs linear time, and under 5 ms of the processor.
#[tokio::test]
async fn one_byte_reads_cost_linear_time() {
    struct OneByte<'a>(&'a [u8]);
    impl tokio::io::AsyncRead for OneByte<'_> {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buf: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            if let Some((first, rest)) = self.0.split_first() {
                buf.put_slice(&[*first]);
                self.0 = rest;
            }
            std::task::Poll::Ready(Ok(()))
        }
    }
    let long = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
        "v".repeat(16_000)
    );
    let limits = HeadLimits::default();
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = clock_gettime(ClockId::ThreadCPUTime);
        let mut buf = BytesMut::new();
        let head = read_request_head(
            &mut OneByte(long.as_bytes()),
            &mut buf,
            &limits,
            limits.deadline(),
        )
        .await
        .unwrap();
        assert_eq!(head.fields.len(), 2);
        let spent = clock_gettime(ClockId::ThreadCPUTime) - start;
        best = best.min(Duration::try_from(spent).unwrap());
    }
    // A quadratic scan takes 128 million steps here: above either, also without optimisation.
    let most = if cfg!(debug_assertions) { 20 } else { 5 };
    assert!(best < Duration::from_millis(most), "{best:?}");
}

#[tokio::test(start_paused = true)]
async fn the_phase_has_one_deadline() {
    let limits = HeadLimits::default();
    let (mut tx, mut rx) = tokio::io::duplex(64);
    let writer = tokio::spawn(async move {
        // T15: one byte a second never restarts the clock.
        for b in "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".bytes() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if tx.write_all(&[b]).await.is_err() {
                break;
            }
        }
    });
    let start = tokio::time::Instant::now();
    let mut buf = BytesMut::new();
    let error = read_request_head(&mut rx, &mut buf, &limits, limits.deadline())
        .await
        .unwrap_err();
    assert!(matches!(error, ReadError::Timeout), "{error:?}");
    assert_eq!(start.elapsed(), limits.time);
    drop(rx);
    writer.await.unwrap();
}

#[tokio::test]
async fn ends_of_stream() {
    let limits = HeadLimits::default();
    for (input, expected) in [
        ("", "connection closed"),
        ("HTTP/1.1 101", "head cut short (byte 12 of the head)"),
    ] {
        let (mut tx, mut rx) = tokio::io::duplex(64);
        tx.write_all(input.as_bytes()).await.unwrap();
        drop(tx);
        let mut buf = BytesMut::new();
        let error = read_response_head(&mut rx, &mut buf, &limits, limits.deadline())
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

/// Dropping the reader after any number of bytes loses nothing.
#[tokio::test]
async fn reading_is_cancel_safe() {
    let limits = HeadLimits::default();
    let input = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nrest";
    for cut in 0..input.len() {
        let (mut tx, mut rx) = tokio::io::duplex(64);
        let mut buf = BytesMut::new();
        tx.write_all(&input[..cut]).await.unwrap();
        {
            let read = read_request_head(&mut rx, &mut buf, &limits, limits.deadline());
            tokio::pin!(read);
            if let std::task::Poll::Ready(head) = futures_poll_once(read.as_mut()).await {
                assert_eq!(head.unwrap().target, "/a");
                continue;
            }
        }
        tx.write_all(&input[cut..]).await.unwrap();
        let head = read_request_head(&mut rx, &mut buf, &limits, limits.deadline())
            .await
            .unwrap();
        assert_eq!((head.target.as_str(), &buf[..]), ("/a", &b"rest"[..]));
    }
}

async fn futures_poll_once<F: Future>(
    mut future: std::pin::Pin<&mut F>,
) -> std::task::Poll<F::Output> {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx))).await
}

#[test]
fn heads_survive_the_way_out_and_in() {
    let mut fields = Fields::new();
    fields.push("Host", "x:1").unwrap();
    fields.push("Authorization", "Bearer canary-token").unwrap();
    let head = RequestHead::new("POST", "/a?token=canary", fields.clone());
    let bytes = head.encode().unwrap();
    assert_eq!(
        &bytes[..],
        b"POST /a?token=canary HTTP/1.1\r\nHost: x:1\r\nAuthorization: Bearer canary-token\r\n\r\n"
    );
    assert_eq!(request(&bytes).0.unwrap().unwrap(), head);
    // T36.
    assert!(!format!("{head:?}").contains("canary"), "{head:?}");

    let head = ResponseHead::new(403, fields);
    let bytes = head.encode().unwrap();
    let back = response(&bytes).0.unwrap().unwrap();
    assert_eq!((back.status, back.reason.as_str()), (403, "Forbidden"));
    assert!(!format!("{back:?}").contains("canary"));

    let broken =
        |method: &str, target: &str| RequestHead::new(method, target, Fields::new()).encode();
    assert_eq!(broken("GET\r\n", "/"), Err(EncodeError::Method));
    assert_eq!(broken("GET", "x"), Err(EncodeError::Target));
    assert_eq!(broken("GET", "/ HTTP/1.1\r\nX:"), Err(EncodeError::Target));
    let mut head = ResponseHead::new(200, Fields::new());
    head.reason = "OK\r\nX: y".into();
    assert_eq!(head.encode(), Err(EncodeError::Reason));
    head.status = 99;
    assert_eq!(head.encode(), Err(EncodeError::Status));
}
