//! What the cases of the `spdy/` groups share.

use crate::case::{Seen, Stop};
use crate::probe::session::{Fate, Got, Pair, Session, syn_stream_around};
use crate::probe::wire::{self, Frame, Pairs};
use crate::target::Service;
use crate::trial::Trial;

/// The result of a case that accepts both fates.
pub(super) fn seen(fate: Fate) -> Seen {
    Seen::as_slug(fate.slug())
}

/// Headers of a stream that every server refuses: it has no type, and no port.
pub(super) const REFUSED: &[(&str, &str)] = &[("requestid", "refused")];

/// A session on which the server had reason to send each kind of frame that real servers send: a connection to the
/// echo, one to a closed port, one that the pod half-closes, a refused stream, a reset by the client, PING.
pub(super) async fn tour(t: &Trial) -> Result<Session, Stop> {
    let echo = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    s.works(echo, "at the start").await?;
    let refused = s.open(REFUSED).await?;
    s.until("RST_STREAM for a stream without type and port", |s| {
        !s.stream(refused).resets.is_empty()
    })
    .await?;
    if let Some(closed) = t.target.services.get(&Service::Closed) {
        let pair = s.pair(*closed).await?;
        s.until("the end of both streams to a closed port", |s| {
            s.ended(pair.error) && s.ended(pair.data)
        })
        .await?;
    }
    if let Some(banner) = t.target.services.get(&Service::HalfClose) {
        let pair = s.pair(*banner).await?;
        s.until("FIN of the half-closing port", |s| s.ended(pair.data))
            .await?;
        s.finish(pair.data).await?;
    }
    let pair = s.echo(echo, b"to be reset").await?;
    s.reset(pair.data, 5).await?;
    s.works(echo, "after a reset").await?;
    s.alive("after all this").await?;
    Ok(s)
}

/// The first frame that came for which `wrong` says what is wrong, as a departure.
pub(super) fn no_frame(
    s: &Session,
    expected: &str,
    wrong: impl Fn(&Got) -> Option<String>,
) -> Result<(), Stop> {
    match s.got.iter().find_map(wrong) {
        None => Ok(()),
        Some(text) => Err(Stop::departure(expected, text)),
    }
}

/// The length that the head of a frame says.
pub(super) fn length_of(got: &Got) -> Option<u32> {
    let [.., high, middle, low] = got.head.first_chunk::<8>().copied()?;
    Some(u32::from_be_bytes([0, high, middle, low]))
}

/// Opens a pair, its SYN_STREAMs changed by `change`, and waits for both answers.
pub(super) async fn changed_pair(
    s: &mut Session,
    port: u16,
    mut change: impl FnMut(&mut Frame),
) -> Result<Pair, Stop> {
    let (pair, mut frames) = s.pair_frames(port);
    for frame in &mut frames {
        if matches!(frame, Frame::SynStream { .. }) {
            change(frame);
        }
        s.send(frame).await?;
    }
    accepted(s, pair).await?;
    Ok(pair)
}

/// The same; `change` changes the headers.
pub(super) async fn pair_with_headers(
    s: &mut Session,
    port: u16,
    mut change: impl FnMut(&mut Pairs),
) -> Result<Pair, Stop> {
    changed_pair(s, port, |frame| {
        if let Frame::SynStream { headers, .. } = frame {
            change(headers);
        }
    })
    .await
}

/// Opens a pair, its header blocks made of the plain ones by `compress`, and waits for both answers.
pub(super) async fn pair_around(
    s: &mut Session,
    port: u16,
    mut compress: impl FnMut(&[u8]) -> Vec<u8>,
) -> Result<Pair, Stop> {
    let (pair, frames) = s.pair_frames(port);
    for frame in &frames {
        match frame {
            Frame::SynStream { id, headers, .. } => {
                let bytes = syn_stream_around(*id, &compress(&plain(headers)));
                let what = format!("{} with a block of another form", frame.text());
                s.raw(&what, &bytes).await?;
            }
            frame => s.send(frame).await?,
        }
    }
    accepted(s, pair).await?;
    Ok(pair)
}

/// Waits until both streams of a pair are accepted.
pub(super) async fn accepted(s: &mut Session, pair: Pair) -> Result<(), Stop> {
    let what = format!("SYN_REPLY for streams {} and {}", pair.error, pair.data);
    s.until(&what, |s| {
        (s.replied(pair.error) && s.replied(pair.data))
            || s.ended(pair.error) && !s.replied(pair.error)
            || s.ended(pair.data) && !s.replied(pair.data)
    })
    .await?;
    if s.replied(pair.error) && s.replied(pair.data) {
        return Ok(());
    }
    Err(Stop::departure(what, s.summary()))
}

/// A header block before compression.
pub(super) fn plain(headers: &Pairs) -> Vec<u8> {
    let pairs: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    wire::block(&pairs)
}

/// What became of one stream that a server may open or refuse: `opens`, `resets`; or `ends-session`.
pub(super) async fn answer_to(s: &mut Session, id: u32, after: &str) -> Result<Seen, Stop> {
    if s.fate(after).await? == Fate::Ended {
        return Ok(seen(Fate::Ended));
    }
    // Answers to streams and to PING may change places.
    let what = format!("SYN_REPLY or RST_STREAM for stream {id}, as the session goes on {after}");
    s.until(&what, |s| s.replied(id) || s.ended(id)).await?;
    Ok(Seen::as_slug(if s.replied(id) {
        "opens"
    } else {
        "resets"
    }))
}
