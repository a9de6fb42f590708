//! The client against a runtime played by hand.

use super::*;
use portforward::session::{Session, Stream};
use spdy::RstStatus;

/// A runtime played by hand: gives the test the two streams of each pair.
fn runtime() -> (Forwarder, Session) {
    let (a, b) = duplex(1 << 16);
    let (session, driver) = session::client(a, BytesMut::new(), Config::default()).unwrap();
    tokio::spawn(driver);
    let (runtime, driver) = session::server(b, BytesMut::new(), Config::default()).unwrap();
    tokio::spawn(driver);
    (Forwarder::new(session), runtime)
}

/// (error, data)
async fn streams(runtime: &Session) -> (Stream, Stream) {
    let error = runtime.accept().await.unwrap();
    assert_eq!(error.headers.get("streamtype"), Some(&b"error"[..]));
    let data = runtime.accept().await.unwrap();
    assert_eq!(data.headers.get("streamtype"), Some(&b"data"[..]));
    assert_eq!(
        error.headers.get("requestid"),
        data.headers.get("requestid")
    );
    // One lane of a real server's five.
    assert_eq!(error.id.get() + 10, data.id.get());
    (error.accept().unwrap(), data.accept().unwrap())
}

/// How the application's read ended.
async fn outcome(mut app: TcpStream) -> (Vec<u8>, Result<(), ErrorKind>) {
    let mut got = Vec::new();
    let result = timeout(Duration::from_secs(10), app.read_to_end(&mut got))
        .await
        .unwrap();
    (got, result.map(|_| ()).map_err(|e| e.kind()))
}

#[derive(Clone, Copy)]
enum Do {
    Fin,
    Rst,
    Text,
    Pause,
}

/// Steps on d or e, how the application's read ends, whether the result is `Ok`.
type Row = (&'static [(char, Do)], Result<(), ErrorKind>, bool);

#[tokio::test]
async fn every_way_a_runtime_ends_a_pair() {
    use Do::{Fin, Pause, Rst, Text};
    let reset = Err(ErrorKind::ConnectionReset);
    let rows: &[Row] = &[
        (&[('d', Fin), ('e', Fin)], Ok(()), true),
        (&[('e', Fin), ('d', Fin)], Ok(()), true),
        (&[('e', Fin), ('-', Pause), ('d', Fin)], Ok(()), true),
        // The runtime sends FIN first and the failure behind it.
        (&[('d', Fin), ('e', Text), ('e', Rst)], reset, false),
        (
            &[('d', Fin), ('-', Pause), ('e', Text), ('e', Fin)],
            reset,
            false,
        ),
        // containerd 1.7 on a reset by the pod.
        (&[('d', Fin), ('e', Rst)], reset, false),
        (&[('d', Rst), ('e', Rst)], reset, false),
        (&[('d', Rst), ('e', Text), ('e', Fin)], reset, false),
        (&[('d', Rst), ('e', Fin)], reset, false),
        (&[('e', Text), ('e', Fin), ('d', Fin)], reset, false),
        (&[('e', Text), ('e', Rst)], reset, false),
        // A text on an error stream that never ends is a failure all the same.
        (&[('e', Text), ('d', Fin)], reset, false),
    ];
    for (i, (steps, want, ok)) in rows.iter().enumerate() {
        let (forwarder, runtime) = runtime();
        let (app, forwarded) = connect(&forwarder, 80).await;
        let (mut error, mut data) = streams(&runtime).await;
        data.write_all(b"arrived").await.unwrap();
        let mut text = false;
        for (which, what) in *steps {
            let stream = if *which == 'd' { &mut data } else { &mut error };
            match what {
                Fin => stream.shutdown().await.unwrap(),
                Rst => {
                    stream.flush().await.unwrap();
                    stream.reset(RstStatus::CANCEL);
                }
                Text => {
                    stream.write_all(b"it broke\x1b[2J").await.unwrap();
                    text = true;
                }
                Pause => sleep(Duration::from_millis(300)).await,
            }
        }
        let (got, result) = outcome(app).await;
        assert_eq!(
            (got.as_slice(), &result),
            (&b"arrived"[..], want),
            "row {i}"
        );
        let result = forwarded.await.unwrap();
        assert_eq!(result.is_ok(), *ok, "row {i}: {result:?}");
        if text {
            let Err(ForwardError::Remote(text)) = result else {
                panic!("row {i}: {result:?}")
            };
            assert!(
                text.starts_with("it broke") && !text.contains('\x1b'),
                "{text:?}"
            );
        }
    }
}

/// A pod that closes only its sending side is not a failure: the local side hears of it after the
/// grace, and can still send.
#[tokio::test]
async fn fin_without_a_verdict_reaches_the_application_after_a_grace() {
    let (forwarder, runtime) = runtime();
    let (mut app, forwarded) = connect(&forwarder, 80).await;
    let (mut error, mut data) = streams(&runtime).await;
    data.shutdown().await.unwrap();
    let start = Instant::now();
    assert_eq!(app.read(&mut [0; 10]).await.unwrap(), 0);
    assert!(start.elapsed() >= Duration::from_millis(900));
    app.write_all(b"more").await.unwrap();
    let mut got = [0; 4];
    data.read_exact(&mut got).await.unwrap();
    assert_eq!(got, *b"more");
    app.shutdown().await.unwrap();
    assert_eq!(data.read(&mut got).await.unwrap(), 0);
    error.shutdown().await.unwrap();
    forwarded.await.unwrap().unwrap();
}

/// A session that ends takes nothing back of what has arrived whole.
#[tokio::test]
async fn a_slow_reader_gets_all_of_a_connection_that_ended_before_its_session() {
    let (forwarder, runtime) = runtime();
    // Sockets that hold less than is sent.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let app = socket.connect(listener.local_addr().unwrap());
    let mut app = app.await.unwrap();
    let (local, _) = listener.accept().await.unwrap();
    let forwarded = tokio::spawn(async move { forwarder.forward(local, 80).await });
    let (mut error, mut data) = streams(&runtime).await;
    app.shutdown().await.unwrap();
    assert_eq!(data.read(&mut [0]).await.unwrap(), 0);
    let bytes = pattern(900_000);
    data.write_all(&bytes).await.unwrap();
    data.shutdown().await.unwrap();
    error.shutdown().await.unwrap();
    sleep(Duration::from_millis(300)).await;
    runtime.close();
    // Longer than any grace.
    sleep(Duration::from_millis(1500)).await;
    let (got, result) = outcome(app).await;
    assert_eq!((got.len(), result), (bytes.len(), Ok(())));
    assert!(got == bytes);
    let summary = forwarded.await.unwrap().unwrap();
    assert!(summary.confirmed, "{summary:?}");
}

#[tokio::test]
async fn refused_streams_are_errors_not_silence() {
    let (forwarder, runtime) = runtime();
    let (app, forwarded) = connect(&forwarder, 80).await;
    runtime.accept().await.unwrap().reject(RstStatus::CANCEL);
    runtime.accept().await.unwrap().reject(RstStatus::CANCEL);
    assert_eq!(
        outcome(app).await,
        (vec![], Err(ErrorKind::ConnectionReset))
    );
    let error = forwarded.await.unwrap().unwrap_err();
    assert!(matches!(error, ForwardError::Stream { .. }), "{error}");
}
