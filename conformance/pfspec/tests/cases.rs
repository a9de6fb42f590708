//! Single cases, and the question before the first, against servers that answer as the test says: what no fault of
//! the self-check shows.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that breaks is a test that fails"
)]

mod scripted;

use pfspec::case::{Role, SESSIONS, Seen, Stop, Way, Word};
use pfspec::probe::websocket::{BINARY, CLOSE, TEXT};
use pfspec::run::Report;
use pfspec::target::{NoPlace, Trouble, check};
use scripted::{Dial, frame, head, hold, judge, refusing, say, serving, target, upgrade};
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, DuplexStream};

const NORMAL: [u8; 2] = 1000u16.to_be_bytes();
/// A masked frame, which no server sends.
const GARBAGE: [u8; 6] = [0x81, 0x80, 1, 2, 3, 4];

fn slug(report: &Report) -> &str {
    match &report.outcome {
        Ok(Seen(slug)) => slug,
        Err(_) => "",
    }
}

/// Answers every request head with this.
fn saying(text: String) -> Dial {
    serving(move |mut stream| {
        let text = text.clone();
        async move {
            head(&mut stream).await?;
            stream.write_all(text.as_bytes()).await
        }
    })
}

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
                      X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n";

#[tokio::test]
async fn an_upgrade_behind_h2() {
    let bad = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let refused = || refusing(NoPlace::Unreachable("connection refused".to_owned()));
    let no_tls = || refusing(NoPlace::NoTls("no_application_protocol".to_owned()));
    let plain = || refusing(NoPlace::NotOffered("the target has no TLS".to_owned()));
    let h2: Option<&'static [u8]> = Some(b"h2");
    for (what, agreed, dial, word) in [
        // Nobody has refused h2: nobody is there.
        ("no connection", None, refused(), Word::Fail),
        ("no TLS at all", None, plain(), Word::Unsupported),
        ("a refused handshake", None, no_tls(), Word::Pass),
        ("a refusal", h2, saying(bad.to_owned()), Word::Pass),
        ("the end", h2, saying(String::new()), Word::Pass),
        ("101", h2, saying(SWITCH.to_owned()), Word::Fail),
        ("101, no ALPN", None, saying(SWITCH.to_owned()), Word::Pass),
    ] {
        let target = target(Role::Gateway, SESSIONS, "/p", agreed, dial);
        let report = judge(target, "http/upgrade/alpn-h2", Way::Http).await;
        assert_eq!(report.word, word, "{what}: {}", report.detail());
    }
}

#[tokio::test]
async fn a_missing_protocol_at_an_older_runtime() {
    let answer = |status: &str, text: &str| {
        let length = text.len();
        saying(format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{text}"
        ))
    };
    let proxy = "error dialing backend: unexpected response: status code 200";
    let (bad, error) = ("400 Bad Request", "500 Internal Server Error");
    for (role, dial, word, seen) in [
        (
            Role::Gateway,
            answer(bad, "which protocol?"),
            Word::Pass,
            "bad-request",
        ),
        (
            Role::Gateway,
            answer(error, proxy),
            Word::Pass,
            "older-runtime",
        ),
        (
            Role::Node,
            answer(error, proxy),
            Word::Pass,
            "older-runtime",
        ),
        // No proxy is in front of it that could have made this of its answer.
        (Role::Runtime, answer(error, proxy), Word::Should, ""),
        (
            Role::Gateway,
            answer(error, "something else"),
            Word::Should,
            "",
        ),
        (
            Role::Gateway,
            answer("200 OK", "status code 200"),
            Word::Should,
            "",
        ),
        (Role::Gateway, answer(bad, ""), Word::Should, ""),
    ] {
        let target = target(role, SESSIONS, "/p", None, dial);
        let report = judge(target, "http/negotiation/missing", Way::Http).await;
        let detail = report.detail();
        assert_eq!(
            (report.word, slug(&report)),
            (word, seen),
            "{role:?}: {detail}"
        );
    }
}

#[tokio::test]
async fn the_first_question_names_ports() {
    /// A runtime with channels only, which refuses who asks without the right query.
    fn strict(wanted: &'static str) -> Dial {
        serving(move |mut stream| async move {
            let head = head(&mut stream).await?;
            let there = head
                .split(' ')
                .nth(1)
                .is_some_and(|target| target == wanted);
            let answer = if there {
                "HTTP/1.1 101 Switching Protocols\r\n\r\n"
            } else {
                "HTTP/1.1 400 Bad Request\r\nContent-Length: 18\r\n\r\nquery ports needed"
            };
            stream.write_all(answer.as_bytes()).await
        })
    }
    for (path, wanted) in [
        ("/p", "/p?port=7000"),
        // A URL that was given out with a query keeps it.
        ("/p?token=t", "/p?token=t&port=7000"),
    ] {
        let target = target(Role::Runtime, &[Way::V4], path, None, strict(wanted));
        let usable = check(&target, Duration::from_secs(2)).await;
        assert_eq!(usable.map_err(|none| none.to_string()), Ok(()), "{path}");
    }
    let target = target(Role::Runtime, &[Way::V4], "/p", None, strict("/other"));
    let unusable = check(&target, Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(unusable.trouble, Trouble::NoUpgrade);
    assert!(unusable.to_string().contains("v4 gives 400"), "{unusable}");
}

/// How the server ends, if it does.
#[derive(Debug, Clone, Copy)]
enum Ends {
    WithClose,
    WithTcp,
    WithGarbage,
    NotAtAll,
}

impl Ends {
    async fn end(self, stream: &mut DuplexStream) -> std::io::Result<()> {
        match self {
            Self::WithClose => say(stream, CLOSE, &NORMAL).await,
            Self::WithTcp => stream.shutdown().await,
            Self::WithGarbage => stream.write_all(&GARBAGE).await,
            Self::NotAtAll => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_tunnel_that_ends_at_once() {
    async fn tunnel(mut stream: DuplexStream, ends: Ends) -> std::io::Result<()> {
        upgrade(&mut stream).await?;
        // The PING that shows that it lives.
        let (opcode, ping) = frame(&mut stream).await?;
        say(&mut stream, opcode, &ping).await?;
        frame(&mut stream).await?;
        ends.end(&mut stream).await?;
        hold(&mut stream).await
    }
    for (ends, word) in [
        (Ends::WithClose, Word::Pass),
        (Ends::WithTcp, Word::Pass),
        // Of level QUALITY, and no answer by which one could tell.
        (Ends::WithGarbage, Word::Inconclusive),
        (Ends::NotAtAll, Word::Info),
    ] {
        let dial = serving(move |stream| tunnel(stream, ends));
        let target = target(Role::Gateway, &[Way::Tunnel], "/p", None, dial);
        let report = judge(target, "tunnel/end/at-once", Way::Tunnel).await;
        assert_eq!(report.word, word, "{ends:?}: {}", report.detail());
    }
}

#[tokio::test]
async fn malformed_base64() {
    /// Sends `back` to a malformed message, and if `goes_on` what comes behind.
    async fn echo(
        mut stream: DuplexStream,
        back: &'static [u8],
        goes_on: bool,
        ends: Ends,
    ) -> std::io::Result<()> {
        upgrade(&mut stream).await?;
        // 7000, the lowest byte first.
        say(&mut stream, TEXT, b"0WBs=").await?;
        say(&mut stream, TEXT, b"1WBs=").await?;
        frame(&mut stream).await?;
        if !back.is_empty() {
            say(&mut stream, TEXT, back).await?;
        }
        let (opcode, behind) = frame(&mut stream).await?;
        if goes_on {
            say(&mut stream, opcode, &behind).await?;
        }
        ends.end(&mut stream).await?;
        hold(&mut stream).await
    }
    let none: &[u8] = b"";
    for (back, goes_on, ends, word, seen) in [
        (none, true, Ends::NotAtAll, Word::Pass, "dropped"),
        (none, false, Ends::WithClose, Word::Pass, "ended"),
        (none, false, Ends::WithTcp, Word::Pass, "ended"),
        (none, false, Ends::WithGarbage, Word::Inconclusive, ""),
        (none, false, Ends::NotAtAll, Word::Should, ""),
        // What a decoder makes of it that goes on behind what it does not know.
        (b"0gA==", true, Ends::NotAtAll, Word::Should, ""),
        (b"0gA==", false, Ends::WithClose, Word::Should, ""),
        (b"0!*!*", true, Ends::NotAtAll, Word::Should, ""),
    ] {
        let dial = serving(move |stream| echo(stream, back, goes_on, ends));
        let target = target(Role::Gateway, &[Way::V4Base64], "/p", None, dial);
        let report = judge(target, "chan/base64/malformed", Way::V4Base64).await;
        let detail = report.detail();
        assert_eq!(
            (report.word, slug(&report)),
            (word, seen),
            "{ends:?}: {detail}"
        );
    }
}

/// How a gateway serves a command that reads its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Right,
    /// As a command that copies at once.
    Early,
    /// 255 means nothing to it.
    KnowsNoEnd,
    /// The end of the input is that of everything.
    EndsAll,
    LosesInput,
    Fails,
    /// It ends before its input does.
    ReadsNothing,
    /// The end comes before the input.
    Gone,
    KnowsNoV5,
}

async fn command(mut stream: DuplexStream, reading: Reading) -> std::io::Result<()> {
    const SUCCESS: &[u8] = br#"3{"status":"Success"}"#;
    let status = |text: &[u8]| [&[3], text.get(1..).unwrap_or_default()].concat();
    if reading == Reading::KnowsNoV5 {
        head(&mut stream).await?;
        let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
        return stream.write_all(answer).await;
    }
    let head = upgrade(&mut stream).await?;
    let asked = "/exec?stdin=true&stdout=true&stderr=true&command=/reads ";
    assert!(head.contains(asked), "{head}");
    assert!(head.contains("v5.channel.k8s.io"), "{head}");
    say(&mut stream, BINARY, &[1]).await?;
    if reading == Reading::ReadsNothing {
        say(&mut stream, BINARY, &status(SUCCESS)).await?;
    }
    let (_, mut line) = frame(&mut stream).await?;
    assert_eq!(line.first(), Some(&0));
    if let Some(channel) = line.first_mut() {
        *channel = 1;
    }
    match reading {
        Reading::Gone => return say(&mut stream, CLOSE, &NORMAL).await,
        Reading::Early => say(&mut stream, BINARY, &line).await?,
        _ => {}
    }
    let (_, end) = frame(&mut stream).await?;
    assert_eq!(end, [255, 0]);
    match reading {
        Reading::KnowsNoEnd => return hold(&mut stream).await,
        Reading::EndsAll => return say(&mut stream, CLOSE, &NORMAL).await,
        Reading::Early | Reading::LosesInput => {}
        _ => say(&mut stream, BINARY, &line).await?,
    }
    let text: &[u8] = match reading {
        Reading::Fails => br#"3{"status":"Failure"}"#,
        _ => SUCCESS,
    };
    say(&mut stream, BINARY, &status(text)).await?;
    say(&mut stream, CLOSE, &NORMAL).await?;
    hold(&mut stream).await
}

#[tokio::test]
async fn the_end_of_a_commands_input() {
    for (reading, word) in [
        (Reading::Right, Word::Pass),
        (Reading::Early, Word::Pass),
        (Reading::KnowsNoEnd, Word::Fail),
        (Reading::EndsAll, Word::Fail),
        (Reading::LosesInput, Word::Fail),
        (Reading::Fails, Word::Fail),
        (Reading::ReadsNothing, Word::Fail),
        (Reading::Gone, Word::Fail),
        (Reading::KnowsNoV5, Word::Unsupported),
    ] {
        let dial = serving(move |stream| command(stream, reading));
        let path = "/api/v1/namespaces/ns/pods/p/portforward";
        let target = target(Role::Gateway, SESSIONS, path, None, dial);
        let report = judge(target, "exec/end-of-input", Way::Http).await;
        assert_eq!(report.word, word, "{reading:?}: {}", report.detail());
    }
}

#[tokio::test]
async fn a_command_without_input() {
    const SUCCESS: &[u8] = b"\x03{\"status\":\"Success\"}";
    const FAILURE: &[u8] = b"\x03{\"status\":\"Failure\",\"reason\":\"NonZeroExitCode\",\
        \"details\":{\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"3\"}]}}";
    const CODE_0: &[u8] = b"\x03{\"status\":\"Failure\",\"reason\":\"NonZeroExitCode\",\
        \"details\":{\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"0\"}]}}";
    const INTERNAL: &[u8] =
        b"\x03{\"status\":\"Failure\",\"reason\":\"InternalError\",\"code\":500}";
    // Each message, and Close behind the last.
    type Said = &'static [&'static [u8]];
    let table: [(&str, Word, Said); 17] = [
        ("exec/channels", Word::Pass, &[b"\x01", b"\x02oh", FAILURE]),
        ("exec/channels", Word::Fail, &[b"\x01", b"\x01oh", FAILURE]),
        ("exec/channels", Word::Fail, &[b"\x01", b"\x02oh"]),
        ("exec/channels", Word::Fail, &[b"\x02oh", FAILURE, b"\x04x"]),
        ("exec/one-status", Word::Pass, &[b"\x01", SUCCESS]),
        ("exec/one-status", Word::Fail, &[b"\x01"]),
        ("exec/one-status", Word::Fail, &[SUCCESS, SUCCESS]),
        ("exec/one-status", Word::Fail, &[FAILURE]),
        ("exec/one-status-v5", Word::Pass, &[b"\x01", SUCCESS]),
        ("exec/one-status-v5", Word::Fail, &[b"\x01", b"\x03done"]),
        ("exec/exit-code", Word::Pass, &[b"\x02oh", FAILURE]),
        ("exec/exit-code", Word::Fail, &[b"\x02oh", CODE_0]),
        ("exec/exit-code", Word::Fail, &[b"\x02oh", SUCCESS]),
        ("exec/exit-code", Word::Fail, &[b"\x02oh", INTERNAL]),
        ("exec/no-such-command", Word::Pass, &[INTERNAL]),
        ("exec/no-such-command", Word::Should, &[FAILURE]),
        ("exec/no-such-command", Word::Should, &[]),
    ];
    for (id, word, said) in table {
        let dial = serving(move |mut stream| async move {
            upgrade(&mut stream).await?;
            for message in said {
                say(&mut stream, BINARY, message).await?;
            }
            say(&mut stream, CLOSE, &NORMAL).await?;
            hold(&mut stream).await
        });
        let path = "/api/v1/namespaces/ns/pods/p/portforward";
        let target = target(Role::Gateway, SESSIONS, path, None, dial);
        let report = judge(target, id, Way::Http).await;
        assert_eq!(report.word, word, "{id} of {said:?}: {}", report.detail());
    }
    let exec = pfspec::catalogue::all().into_iter();
    let exec = exec.filter(|case| case.id.starts_with("exec/"));
    for id in exec.map(|case| case.id) {
        let fails = |(known, word, _): &(&str, Word, Said)| *known == id && *word != Word::Pass;
        assert!(table.iter().any(fails) || id == "exec/end-of-input", "{id}");
    }
}

#[tokio::test]
async fn no_command_that_reads() {
    let dial = serving(|mut stream| async move { hold(&mut stream).await });
    let mut target = target(Role::Gateway, SESSIONS, "/p", None, dial);
    target.exec.as_mut().unwrap().reads = None;
    let report = judge(target, "exec/end-of-input", Way::Http).await;
    assert!(
        matches!(&report.outcome, Err(Stop::Unsupported(text)) if text.contains("no command")),
        "{}",
        report.detail()
    );
}
