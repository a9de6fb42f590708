//! How many streams and ports there may be.

use super::super::pods::comes;
use crate::case::{Case, OK, Outcome, Seen, Stop, Tag, Way};
use crate::probe::session::{Session, headers, syn_stream};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;

pub(crate) const CASES: &[Case] = &[
    Case::should(
        "limits/200-waiting-streams",
        "Two hundred streams may wait for their partners",
        &["14.5", "7.11"],
        run!(waiting),
    )
    .tags(&[Tag::Load])
    .within(60)
    .why("A limit below what honest clients need refuses them.")
    .sends("200 error streams, all answered before the first data stream is opened; then the data streams, last first; bytes on each.")
    .accepts("SYN_REPLY for each, and its own bytes back on each."),
    Case::should(
        "limits/1000-open-streams",
        "A thousand streams may be open at once",
        &["14.4"],
        run!(thousand),
    )
    .tags(&[Tag::Load])
    .within(120)
    .why("Long-lived connections of a pool add up.")
    .sends("500 pairs to the echo, all open; bytes on the first and the last.")
    .accepts("SYN_REPLY for each, bytes back, no text."),
    Case::should(
        "limits/too-many-waiting-streams",
        "There is a limit of streams that wait for their partners",
        &["14.5"],
        run!(too_many_waiting),
    )
    .tags(&[Tag::Hostile, Tag::Load, Tag::Security])
    .within(180)
    .why("Each waits for half a minute and costs a few bytes on the line.")
    .sends("20 000 error streams without partners; PING.")
    .accepts("RST_STREAM for some, or the end of the session; another session works."),
    Case::should(
        "limits/too-many-open-streams",
        "There is a limit of open streams",
        &["14.4"],
        run!(too_many_open),
    )
    .tags(&[Tag::Hostile, Tag::Load, Tag::Security])
    .within(180)
    .why("Each costs a connection to the pod, and files of the server that others need.")
    .sends("10 000 pairs to a port where nobody sends anything; PING.")
    .accepts("RST_STREAM for some, or the end of the session; another session works."),
    Case::should(
        "limits/127-ports",
        "A WebSocket may have 127 ports",
        &["14.14"],
        run!(most_ports),
    )
    .over(&[Way::V4])
    .tags(&[Tag::Load])
    .within(60)
    .why("It is the most that channel numbers allow.")
    .sends("127 times the echo's port; bytes on the first, the middle and the last.")
    .accepts("Each channel's port, and each its own bytes back."),
    Case::should(
        "limits/129-ports",
        "More ports than there are channel numbers are refused",
        &["14.14"],
        run!(too_many_ports),
    )
    .over(&[Way::V4])
    .tags(&[Tag::Hostile, Tag::Security])
    .why("Channel 256 would be channel 0: the bytes of one port would reach another.")
    .sends("129 times the echo's port.")
    .accepts("An answer of 400 and above, or an end before any byte: no 101 with channels."),
];

async fn waiting(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?.to_string();
    let mut s = t.session().await?;
    let mut errors = Vec::new();
    for i in 0..200 {
        let id = s.open(&headers("error", &port, &i.to_string())).await?;
        errors.push(id);
    }
    s.until("SYN_REPLY for 200 error streams that wait", |s| {
        errors.iter().all(|id| s.replied(*id))
    })
    .await?;
    let mut streams = Vec::new();
    for i in (0..200).rev() {
        let id = s.open(&headers("data", &port, &i.to_string())).await?;
        s.write(id, format!("bytes of {i}").as_bytes()).await?;
        streams.push((i, id));
    }
    for (i, id) in streams {
        let what = format!("the bytes of pair {i} back on stream {id}");
        let wanted = format!("bytes of {i}");
        comes(&mut s, id, wanted.as_bytes(), 2 * t.patience, &what).await?;
    }
    OK
}

async fn thousand(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let mut pairs = Vec::new();
    for _ in 0..500 {
        let (pair, frames) = s.pair_frames(port);
        s.send_all(&frames).await?;
        pairs.push(pair);
    }
    let what = "SYN_REPLY for 1000 streams";
    s.until_within(what, 4 * t.patience, |s| {
        pairs
            .iter()
            .all(|pair| s.replied(pair.error) && s.replied(pair.data))
    })
    .await?;
    for pair in [pairs.first(), pairs.last()].into_iter().flatten() {
        s.echo_on(*pair, b"among a thousand").await?;
    }
    for pair in &pairs {
        if s.ended(pair.error) || s.ended(pair.data) {
            let text = s.stream(pair.error).text();
            let text = format!("an end on stream {}: {text:?}", pair.data);
            return Err(Stop::departure("a thousand open streams", text));
        }
    }
    OK
}

/// Whether some of many streams were refused, or all of the session.
async fn limited(t: &Trial, mut s: Session, sent: usize) -> Outcome {
    let seen = match s.alive("after many streams").await {
        Ok(()) if s.got.iter().any(is_reset) => "refuses-some",
        Ok(()) => {
            let text = format!("{sent} streams, none refused");
            return Err(Stop::departure("a limit of streams", text));
        }
        Err(_) if s.is_over() => "ends-session",
        Err(stop) => return Err(stop),
    };
    // What it took of the pod is free again soon after its end.
    drop(s);
    let mut other = t.session().await?;
    other.patience = 4 * t.patience;
    other
        .echo(t.port(Service::Echo)?, b"another session")
        .await?;
    Ok(Seen::as_slug(seen))
}

fn is_reset(got: &crate::probe::session::Got) -> bool {
    matches!(got.frame, crate::probe::wire::Frame::RstStream { .. })
}

async fn too_many_waiting(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?.to_string();
    let mut s = t.session().await?;
    for round in 0..200 {
        let frames: Vec<_> = (0..100)
            .map(|i| {
                let request = format!("{round}-{i}");
                syn_stream(s.next_id(), &headers("error", &port, &request))
            })
            .collect();
        s.send_all(&frames).await?;
    }
    limited(t, s, 20_000).await
}

async fn too_many_open(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Sink)?;
    let mut s = t.session().await?;
    for _ in 0..10_000 {
        let (_, frames) = s.pair_frames(port);
        s.send_all(&frames).await?;
    }
    limited(t, s, 20_000).await
}

async fn most_ports(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut c = t.channels(&[port; 127]).await?;
    c.prefaced().await?;
    for index in [0, 63, 126] {
        c.echo(index, format!("port {index}").as_bytes()).await?;
    }
    for channel in 0..254 {
        let wanted = match channel {
            0 => 6,
            126 => 7,
            252 => 8,
            _ => 0,
        };
        let came = c.received(channel);
        if came != wanted {
            return Err(Stop::departure(
                format!("{wanted} bytes on channel {channel}"),
                format!("{came}"),
            ));
        }
    }
    OK
}

async fn too_many_ports(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let query = t.ports_query(&[port; 129]);
    let request = t.websocket_request("v4.channel.k8s.io", &query);
    let mut ready = t.connect().await?;
    match ready.ask(&request, t.patience).await {
        Ok(answer) if answer.status < 400 => Err(Stop::departure(
            "a refusal of 129 ports",
            answer.to_string(),
        )),
        Ok(answer) => Ok(Seen::as_slug(format!("status-{}", answer.status))),
        // No answer at all is no channels either; but the server must be there.
        Err(Stop::Departure { .. }) if ready.connection.end.is_some() => {
            let mut other = t.session().await?;
            other.echo(port, b"another session").await?;
            Ok(Seen::as_slug("closes"))
        }
        Err(stop) => Err(stop),
    }
}
