//! `spdy/stream/`: chapter 4, half-close, and frames that are late.

use crate::case::{Case, OK, Outcome, Stop};
use crate::catalogue::spdy::REFUSED;
use crate::probe::session::{Pair, Session, data};
use crate::probe::wire::{FIN, Frame};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::{Duration, Instant};

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::must(
        "spdy/stream/fin-ends-one-direction",
        "FIN of the client leaves the other direction open",
        &["4.12"],
        run!(fin_of_the_client),
    )
    .why("Programs that read to the end before they answer depend on it.")
    .sends("300 bytes with FIN to the port that answers with their hash.")
    .accepts("The answer of 65 bytes, then a clean end."),
    Case::must(
        "spdy/stream/server-fin-ends-one-direction",
        "FIN of the server leaves the client's direction open",
        &["4.12"],
        run!(fin_of_the_server),
    )
    .why("A client may still be sending when the pod has said all it has to say.")
    .sends("A pair to the port that half-closes; after its FIN 20 000 bytes on the data stream, then FIN.")
    .accepts("No reset while the bytes are on their way; a clean end; the session works."),
    Case::must(
        "spdy/stream/fin-with-payload",
        "FIN on DATA with payload is honoured",
        &["4.13"],
        run!(fin_with, Some(b"the last word".as_slice())),
    )
    .why("Libraries other than kubectl's put FIN on their last payload.")
    .sends("DATA with payload and FIN to the echo.")
    .accepts("The payload back, and a clean end."),
    Case::must(
        "spdy/stream/fin-without-payload",
        "FIN on empty DATA is honoured",
        &["4.13"],
        run!(fin_with, None),
    )
    .why("This is how real clients end.")
    .sends("DATA to the echo, then empty DATA with FIN.")
    .accepts("The payload back, and a clean end."),
    Case::should(
        "spdy/stream/fin-on-syn-stream",
        "FIN on SYN_STREAM of the error stream is honoured",
        &["4.14"],
        run!(fin_on_error),
    )
    .why("It saves a frame for each connection.")
    .sends("A pair to the echo, FIN on the SYN_STREAM of its error stream, no FIN behind.")
    .accepts("The bytes back, and a clean end."),
    Case::should(
        "spdy/stream/fin-on-syn-stream-of-data",
        "FIN on SYN_STREAM of the data stream is honoured",
        &["4.14"],
        run!(fin_on_data),
    )
    .why("A client that has nothing to send can say so at once.")
    .sends("A pair to the echo, FIN on the SYN_STREAM of its data stream.")
    .accepts("A clean end without a byte."),
    Case::must(
        "spdy/stream/data-never-opened",
        "DATA for streams that were never opened is dropped",
        &["4.15"],
        run!(late, Late::Never),
    )
    .why("It may be left of a stream that was refused on the way.")
    .sends("40 DATA frames, with and without FIN, for random odd and even ids that were never opened.")
    .accepts("An open connection and a new one go on."),
    Case::must(
        "spdy/stream/data-after-fin",
        "DATA behind the client's FIN is dropped",
        &["4.15"],
        run!(late, Late::Fin),
    )
    .why("Real libraries do not keep an application from writing after it has closed.")
    .sends("DATA and FIN to the echo, and 40 more DATA frames, with and without FIN.")
    .accepts("The DATA before FIN back and nothing else; an open connection and a new one go on."),
    Case::must(
        "spdy/stream/data-after-reset",
        "DATA behind the client's reset is dropped",
        &["4.15"],
        run!(late, Late::Reset),
    )
    .why("Real libraries do not keep an application from writing after a reset.")
    .sends("A reset of a data stream, and 40 more DATA frames, with and without FIN.")
    .accepts("None of them back; an open connection and a new one go on."),
    Case::must(
        "spdy/stream/data-after-refusal",
        "DATA for a refused stream is dropped",
        &["4.15"],
        run!(late, Late::Refused),
    )
    .why("A client that does not wait for the answer has DATA on the way when the stream is refused.")
    .sends("A stream that is refused, and 40 DATA frames, with and without FIN.")
    .accepts("An open connection and a new one go on."),
    Case::must(
        "spdy/stream/data-after-the-end",
        "DATA for a stream that is over is dropped",
        &["4.15"],
        run!(late, Late::Over),
    )
    .why("Frames cross on the wire.")
    .sends("40 DATA frames, with and without FIN, for both streams of a connection that has ended.")
    .accepts("None of them back; an open connection and a new one go on."),
    Case::should(
        "spdy/stream/late-data-is-not-answered",
        "Late DATA is not answered",
        &["4.16"],
        run!(late, Late::Unanswered),
    )
    .why("One aborted upload brings thousands of such frames, and each answer costs both sides.")
    .sends("40 DATA frames for a connection that has ended, and for streams that were never opened.")
    .accepts("No frame for these streams."),
];

async fn fin_of_the_client(t: &mut Trial) -> Outcome {
    const LENGTH: u64 = 300;
    let port = t.port(Service::Hash)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    let mut bytes = LENGTH.to_be_bytes().to_vec();
    bytes.extend(t.dice.bytes(300));
    s.send(&data(pair.data, FIN, &bytes)).await?;
    s.clean_end(pair).await?;
    if s.received(pair.data) != 65 {
        return Err(Stop::departure(
            "64 digits and a newline behind the client's FIN",
            s.summary(),
        ));
    }
    OK
}

/// Runtimes close all of a pair a second after its first end: a judge who is as late as that has asked nothing.
const IN_TIME: Duration = Duration::from_millis(900);

async fn fin_of_the_server(t: &mut Trial) -> Outcome {
    for _ in 0..5 {
        if let Some(mut s) = after_servers_fin(t).await? {
            s.works(t.port(Service::Echo)?, "after all this").await?;
            return OK;
        }
    }
    Err(Stop::Inconclusive(format!(
        "this machine is too busy: to send 20000 bytes took it more than {IN_TIME:?}, five times"
    )))
}

/// `None` if the server has reset the stream when the judge was late.
async fn after_servers_fin(t: &mut Trial) -> Result<Option<Session>, Stop> {
    let mut s = t.session().await?;
    let begun = Instant::now();
    let pair = s.pair(t.port(Service::HalfClose)?).await?;
    s.until("the banner and FIN", |s| s.ended(pair.data))
        .await?;
    let bytes = t.dice.bytes(20_000);
    s.write(pair.data, &bytes).await?;
    s.alive("after DATA behind the server's FIN").await?;
    let was_reset = |s: &Session| !s.stream(pair.data).resets.is_empty();
    if !was_reset(&s) {
        s.finish(pair.data).await?;
    }
    let late = begun.elapsed() > IN_TIME;
    if was_reset(&s) && !late {
        let expected = format!("no RST_STREAM {} after the server's FIN", pair.data);
        return Err(Stop::departure(expected, s.summary()));
    }
    let end = s.clean_end(pair).await;
    if end.is_err() && late && was_reset(&s) {
        return Ok(None);
    }
    end.map(|()| Some(s))
}

async fn fin_with(t: &mut Trial, payload: Option<&[u8]>) -> Outcome {
    let mut s = t.session().await?;
    let pair = s.echo(t.port(Service::Echo)?, b"before").await?;
    let last = payload.unwrap_or_default();
    s.send(&data(pair.data, FIN, last)).await?;
    s.clean_end(pair).await?;
    let whole = [b"before", last].concat();
    if s.stream(pair.data).data != whole {
        return Err(Stop::departure(
            format!("{:?} back", String::from_utf8_lossy(&whole)),
            format!("{:?}", s.stream(pair.data).text()),
        ));
    }
    OK
}

/// Opens a pair to the echo with FIN on one SYN_STREAM, and without FIN behind that of the error stream.
async fn opened_with_fin(t: &Trial, s: &mut Session, on_data: bool) -> Result<Pair, Stop> {
    let (pair, mut frames) = s.pair_frames(t.port(Service::Echo)?);
    let marked = if on_data { pair.data } else { pair.error };
    for frame in &mut frames {
        match frame {
            Frame::SynStream { id, flags, .. } if *id == marked => *flags = FIN,
            // FIN has come on its SYN_STREAM.
            Frame::Data { id, .. } if *id == marked => continue,
            _ => {}
        }
        s.send(frame).await?;
    }
    crate::catalogue::spdy::accepted(s, pair).await?;
    Ok(pair)
}

async fn fin_on_error(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let pair = opened_with_fin(t, &mut s, false).await?;
    s.echo_on(pair, b"all the same").await?;
    s.finish(pair.data).await?;
    s.clean_end(pair).await?;
    OK
}

async fn fin_on_data(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let pair = opened_with_fin(t, &mut s, true).await?;
    s.clean_end(pair).await?;
    if s.received(pair.data) != 0 {
        return Err(Stop::departure("no byte", s.summary()));
    }
    s.works(t.port(Service::Echo)?, "after FIN on SYN_STREAM")
        .await?;
    OK
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    Never,
    Fin,
    Reset,
    Refused,
    Over,
    Unanswered,
}

/// Ids that were never opened, and never will be in the case.
pub(super) fn never(t: &mut Trial, count: usize) -> Vec<u32> {
    (0..count)
        .map(|_| u32::try_from(t.dice.between(0x1000, 0x7fff_ffff)).unwrap_or(0x1001))
        .collect()
}

pub(super) async fn over(t: &Trial, s: &mut Session) -> Result<Pair, Stop> {
    let pair = s.echo(t.port(Service::Echo)?, b"before").await?;
    s.finish(pair.data).await?;
    s.clean_end(pair).await?;
    Ok(pair)
}

async fn late(t: &mut Trial, late: Late) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let open = s.echo(port, b"open").await?;
    let ids = match late {
        Late::Never => never(t, 8),
        Late::Fin => {
            let pair = s.echo(port, b"before").await?;
            s.finish(pair.data).await?;
            vec![pair.data]
        }
        Late::Reset => {
            let pair = s.echo(port, b"before").await?;
            s.reset(pair.data, 5).await?;
            vec![pair.data]
        }
        Late::Refused => vec![s.open(REFUSED).await?],
        Late::Over | Late::Unanswered => {
            let pair = over(t, &mut s).await?;
            let mut ids = vec![pair.error, pair.data];
            if late == Late::Unanswered {
                ids.extend(never(t, 2));
            }
            ids
        }
    };
    let resets: usize = ids.iter().map(|id| s.stream(*id).resets.len()).sum();
    for id in ids.iter().cycle().take(40) {
        let flags = if t.dice.between(0, 9) == 0 { FIN } else { 0 };
        let length = t.dice.size(0, 500);
        let bytes = t.dice.bytes(length);
        s.send(&data(*id, flags, &bytes)).await?;
    }
    s.echo_on(open, b"still open").await?;
    s.works(port, "after late DATA").await?;
    for id in &ids {
        let stream = s.stream(*id);
        if !stream.data.is_empty() && stream.data != b"before" {
            let expected = format!("no late byte back on stream {id}");
            return Err(Stop::departure(expected, s.summary()));
        }
    }
    if late == Late::Unanswered {
        s.read_for(Duration::from_millis(100)).await?;
        let now: usize = ids.iter().map(|id| s.stream(*id).resets.len()).sum();
        if now > resets || ids.iter().any(|id| !s.stream(*id).late.is_empty()) {
            return Err(Stop::departure("no answer to late DATA", s.summary()));
        }
    }
    OK
}
