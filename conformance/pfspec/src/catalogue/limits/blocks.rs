//! Header blocks that promise or hold too much.

use crate::case::{Case, OK, Outcome, Seen, Stop, Tag};
use crate::probe::session::{Session, syn_stream, syn_stream_around};
use crate::probe::wire::{Deflater, block};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;

const ENDS: &str = "The end of the session, or RST_STREAM; another session works.";

pub(crate) const CASES: &[Case] = &[
    Case::should(
        "limits/64-pairs",
        "A header block may have 64 pairs",
        &["14.2"],
        run!(many_pairs),
    )
    .why("A limit below what honest clients send refuses them.")
    .sends("A pair to the echo, each stream with 61 headers more.")
    .accepts("Bytes back."),
    Case::should(
        "limits/value-of-8-kib",
        "A header value may have 8 KiB",
        &["14.2"],
        run!(long_value),
    )
    .why("A limit below what honest clients send refuses them.")
    .sends("A pair to the echo, each stream with a header of 8192 bytes more.")
    .accepts("Bytes back."),
    Case::should(
        "limits/count-of-pairs",
        "A block that promises four billion pairs does not take the server down",
        &["14.2", "14.1"],
        run!(count_of_pairs),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why("One frame of forty bytes took gigabytes of memory (CVE-2026-35469).")
    .sends("SYN_STREAM whose block says 4 294 967 295 pairs and has one.")
    .accepts(ENDS),
    Case::should(
        "limits/length-of-a-name",
        "A block that promises a name of two gigabytes does not take the server down",
        &["14.2", "14.1"],
        run!(length_of_name),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why("One frame of forty bytes took gigabytes of memory (CVE-2026-35469).")
    .sends("SYN_STREAM whose block says one pair with a name of 2 147 483 647 bytes, and ends.")
    .accepts(ENDS),
    Case::should(
        "limits/length-of-a-value",
        "A block that promises a value of four gigabytes does not take the server down",
        &["14.2", "14.1"],
        run!(length_of_value),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why("One frame of forty bytes took gigabytes of memory (CVE-2026-35469).")
    .sends("SYN_STREAM whose block says one pair with a value of 4 294 967 295 bytes, and ends.")
    .accepts(ENDS),
    Case::should(
        "limits/100000-pairs",
        "A block with 100 000 pairs is too much",
        &["14.2"],
        run!(too_many_pairs),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why("Each pair costs memory and time, and a few bytes on the line.")
    .sends("SYN_STREAM with 100 000 headers of a few bytes.")
    .accepts(ENDS),
    Case::should(
        "limits/value-of-4-mib",
        "A value of 4 MiB is too much",
        &["14.2", "14.3"],
        run!(too_long),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why("It is a few kilobytes on the line, and can be sent again and again.")
    .sends("SYN_STREAM with a header of 4 MiB.")
    .accepts(ENDS),
    Case::should(
        "limits/inflated-64-mib",
        "A block that swells to 64 MiB is too much",
        &["14.3"],
        run!(bomb),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .within(60)
    .why("Deflate swells by a thousand: a line of 1 MB/s would fill a gigabyte each second.")
    .sends("SYN_STREAM with 64 headers of 1 MiB each, all in 64 KiB of deflated bytes.")
    .accepts(ENDS),
];

/// A pair to the echo, each stream with these headers more.
async fn works_with(t: &Trial, more: &[(String, String)]) -> Outcome {
    let port = t.port(Service::Echo)?.to_string();
    let mut s = t.session().await?;
    let mut ids = [0; 2];
    for (id, kind) in ids.iter_mut().zip(["error", "data"]) {
        let mut headers = vec![
            ("streamtype", kind),
            ("port", port.as_str()),
            ("requestid", "0"),
        ];
        headers.extend(more.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        *id = s.open(&headers).await?;
    }
    let [error, data] = ids;
    s.until("SYN_REPLY for both streams", |s| {
        s.replied(error) && s.replied(data)
    })
    .await?;
    let pair = crate::probe::session::Pair { error, data };
    s.echo_on(pair, b"within the limits").await?;
    OK
}

async fn many_pairs(t: &mut Trial) -> Outcome {
    let more: Vec<_> = (0..61).map(|i| (format!("x-{i}"), i.to_string())).collect();
    works_with(t, &more).await
}

async fn long_value(t: &mut Trial) -> Outcome {
    works_with(t, &[("x-long".to_owned(), "v".repeat(8192))]).await
}

/// What becomes of a session with too much in a block; another one must work.
async fn refused(t: &Trial, mut s: Session, id: u32) -> Outcome {
    let what = "the end of the session, or RST_STREAM";
    let outcome = s
        .until(what, |s| {
            s.is_over() || s.goaway.is_some() || s.ended(id) || s.replied(id)
        })
        .await;
    // A server that leaves a session that is over open has ended it as well, if it does not answer.
    let slug = match outcome {
        _ if s.replied(id) => return Err(Stop::departure(what, "SYN_REPLY")),
        _ if s.is_over() || s.goaway.is_some() => "ends-session",
        Ok(()) => "resets-stream",
        Err(stop) => return Err(stop),
    };
    let mut other = t.session().await?;
    other
        .echo(t.port(Service::Echo)?, b"another session")
        .await?;
    Ok(Seen::as_slug(slug))
}

/// Opens a stream with any bytes for a block.
async fn with_block(t: &Trial, what: &str, plain: &[u8]) -> Outcome {
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    let compressed = Deflater::new(9).deflate(plain);
    let id = s.next_id();
    s.raw(what, &syn_stream_around(id, &compressed)).await?;
    refused(t, s, id).await
}

/// The beginning of a block: numbers.
fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
}

async fn count_of_pairs(t: &mut Trial) -> Outcome {
    let mut plain = block(&[("streamtype", "error")]);
    plain.splice(..4, numbers(&[u32::MAX]));
    with_block(t, "SYN_STREAM that promises 4294967295 pairs", &plain).await
}

async fn length_of_name(t: &mut Trial) -> Outcome {
    let plain = numbers(&[1, i32::MAX.cast_unsigned()]);
    with_block(t, "SYN_STREAM that promises a name of 2 GiB", &plain).await
}

async fn length_of_value(t: &mut Trial) -> Outcome {
    let mut plain = numbers(&[1, 4]);
    plain.extend(b"port");
    plain.extend(numbers(&[u32::MAX]));
    with_block(t, "SYN_STREAM that promises a value of 4 GiB", &plain).await
}

/// Opens a stream that would be right but for what it has more.
async fn with_more(t: &Trial, more: &[(String, String)]) -> Outcome {
    let port = t.port(Service::Echo)?.to_string();
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    let mut headers = vec![
        ("streamtype", "error"),
        ("port", port.as_str()),
        ("requestid", "0"),
    ];
    headers.extend(more.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    let id = s.next_id();
    s.send(&syn_stream(id, &headers)).await?;
    refused(t, s, id).await
}

async fn too_many_pairs(t: &mut Trial) -> Outcome {
    let more: Vec<_> = (0..100_000)
        .map(|i| (format!("x{i}"), "v".to_owned()))
        .collect();
    with_more(t, &more).await
}

async fn too_long(t: &mut Trial) -> Outcome {
    with_more(t, &[("x-long".to_owned(), "v".repeat(4 << 20))]).await
}

async fn bomb(t: &mut Trial) -> Outcome {
    let value = "v".repeat(1 << 20);
    let more: Vec<_> = (0..64).map(|i| (format!("x{i}"), value.clone())).collect();
    with_more(t, &more).await
}
