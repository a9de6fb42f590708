//! Limits out of their ranges are refused before anything begins.

use super::*;

/// Each limit at the last value that is taken, and one step beyond.
#[tokio::test]
async fn every_limit_is_checked() {
    type Row = (&'static str, fn(&mut Config), fn(&mut Config));
    let rows: &[Row] = &[
        (
            "stream_receive",
            |c| c.stream_receive = 1,
            |c| c.stream_receive = 0,
        ),
        (
            "stream_receive",
            |c| c.stream_receive = 4 << 20,
            |c| c.stream_receive = (4 << 20) + 1,
        ),
        (
            "stream_receive",
            |c| c.session_receive = c.stream_receive,
            |c| c.session_receive = c.stream_receive - 1,
        ),
        (
            "session_receive",
            |c| c.session_receive = 256 << 20,
            |c| c.session_receive = (256 << 20) + 1,
        ),
        ("stream_send", |c| c.stream_send = 1, |c| c.stream_send = 0),
        (
            "stream_send",
            |c| c.session_send = c.stream_send,
            |c| c.session_send = c.stream_send - 1,
        ),
        ("session_send", |_| {}, |c| c.session_send = 0),
        ("stall", |_| {}, |c| c.stall = Duration::ZERO),
        ("stall", |_| {}, |c| c.stall = Duration::MAX),
        (
            "dead_after",
            |c| c.dead_after = c.dead_after_sending,
            |c| c.dead_after = c.dead_after_sending + Duration::from_nanos(1),
        ),
        ("dead_after", |_| {}, |c| c.dead_after = Duration::ZERO),
        (
            "dead_after_sending",
            |_| {},
            |c| c.dead_after_sending = Duration::MAX,
        ),
        ("idle_empty", |_| {}, |c| c.idle_empty = Duration::ZERO),
        (
            "idle_empty",
            |c| c.idle = c.idle_empty,
            |c| c.idle = c.idle_empty / 2,
        ),
        ("idle", |_| {}, |c| c.idle = Duration::MAX),
        (
            "drain",
            |c| c.drain = Duration::from_secs(60),
            |c| c.drain = Duration::from_secs(61),
        ),
        ("drain", |_| {}, |c| c.drain = Duration::ZERO),
        ("data_payload", |_| {}, |c| c.spdy.data_payload = 0),
    ];
    let format = wsstream::Format::Binary;
    for (i, (name, good, bad)) in rows.iter().enumerate() {
        let mut config = Config::default();
        good(&mut config);
        assert_eq!(config.check(), Ok(()), "row {i}");
        let mut config = Config::default();
        bad(&mut config);
        let refused = ConfigError::Range(name);
        for start in [client, server] {
            let (io, _) = duplex(1);
            let started = start(io, BytesMut::new(), config.clone());
            assert_eq!(started.unwrap_err(), refused, "row {i}");
        }
        for start in [channels::client, channels::server] {
            let (io, _) = duplex(1);
            let started = start(io, BytesMut::new(), format, &[80], config.clone());
            let refused = channels::StartError::Config(refused.clone());
            assert_eq!(started.unwrap_err(), refused, "row {i}");
        }
    }
}

#[tokio::test]
async fn limits_out_of_range_are_refused_and_the_default_is_not() {
    let (ours, _peer) = duplex(1 << 10);
    let mut config = Config::default();
    assert!(client(ours, BytesMut::new(), config.clone()).is_ok());
    config.spdy.limits.header_pairs = 1000;
    let (ours, _peer) = duplex(1 << 10);
    let refused = server(ours, BytesMut::new(), config)
        .map(|_| ())
        .unwrap_err();
    assert!(refused.to_string().contains("header_pairs"), "{refused}");
}
