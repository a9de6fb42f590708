//! `ws/close/`: the end of a WebSocket.

use super::BOTH;
use super::line::Line;
use crate::case::{Case, OK, Outcome, Stop};
use crate::probe::connection::{End, Filled};
use crate::probe::websocket::{CLOSE, LAST};
use crate::run;
use crate::trial::Trial;
use tokio::time::Instant;

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::should(
        "ws/close/answered",
        "Close 1000 is answered by Close 1000",
        &["10.13"],
        run!(answered),
    )
    .over(BOTH)
    .why("Client libraries report an end without it as abnormal.")
    .sends("Close 1000.")
    .accepts("Close 1000."),
    Case::should(
        "ws/close/same-code",
        "Close is answered with the same code",
        &["10.13"],
        run!(same_code),
    )
    .over(BOTH)
    .why("A client that ends with its own code reads the answer as its echo.")
    .sends("Close 1001; 3000 on another connection.")
    .accepts("Close with the code that was sent."),
    Case::should(
        "ws/close/no-code",
        "Close without a code is answered without one",
        &["10.13"],
        run!(no_code),
    )
    .over(BOTH)
    .why("kube-rs closes without a code.")
    .sends("Close without payload.")
    .accepts("Close without payload."),
    Case::should(
        "ws/close/nothing-behind",
        "Nothing comes behind the server's Close",
        &["10.15"],
        run!(nothing_behind),
    )
    .over(BOTH)
    .why("Clients stop reading at Close: what comes behind is lost without a word.")
    .sends("Close 1000; then reads on until the end of TCP.")
    .accepts("No byte behind Close."),
    Case::must(
        "ws/close/tcp-ends-without-close",
        "The end of TCP is the end of the WebSocket",
        &["10.14"],
        run!(tcp_ends),
    )
    .over(BOTH)
    .why("A client that died or lost its network sends no Close; its connections must not stay.")
    .sends("The end of the sending side of TCP, without Close.")
    .accepts("The end of the connection."),
    Case::must(
        "ws/close/tcp-ends-within-a-frame",
        "A frame that was cut by the end of TCP ends the connection",
        &["10.14"],
        run!(tcp_ends_within),
    )
    .over(BOTH)
    .why("A client that died did not choose a good moment.")
    .sends("Half of a frame, then the end of the sending side of TCP.")
    .accepts("The end of the connection; the beginning of the message may come back, and not all of it: a frame is no unit of a byte stream."),
];

async fn closes(t: &Trial, payload: &[u8], code: u16) -> Result<(), Stop> {
    let mut line = Line::open(t).await?;
    line.echo(b"a connection", "before Close").await?;
    line.frame(LAST | CLOSE, payload).await?;
    let sent = if payload.is_empty() {
        "Close without a code".to_owned()
    } else {
        format!("Close {code}")
    };
    let end = line.end(&format!("after {sent}")).await?;
    if !matches!(end, End::Close(got, _) if got == code) {
        return Err(Stop::departure(
            format!("{sent} as the answer to {sent}"),
            end.to_string(),
        ));
    }
    Ok(())
}

async fn answered(t: &mut Trial) -> Outcome {
    closes(t, &1000u16.to_be_bytes(), 1000).await?;
    OK
}

async fn same_code(t: &mut Trial) -> Outcome {
    for code in [1001u16, 3000] {
        closes(t, &code.to_be_bytes(), code).await?;
    }
    OK
}

async fn no_code(t: &mut Trial) -> Outcome {
    closes(t, b"", 1005).await?;
    OK
}

async fn nothing_behind(t: &mut Trial) -> Outcome {
    let mut line = Line::open(t).await?;
    line.echo(b"a connection", "before Close").await?;
    line.frame(LAST | CLOSE, &1000u16.to_be_bytes()).await?;
    if !matches!(line.end("after Close 1000").await?, End::Close(..)) {
        // Without Close nothing is behind it.
        return OK;
    }
    let deadline = Instant::now() + t.patience;
    let connection = line.connection();
    while connection.buffer.is_empty() && matches!(connection.fill(deadline).await, Filled::More) {}
    match connection.buffer.len() {
        0 => OK,
        n => Err(Stop::departure(
            "nothing behind the server's Close",
            format!("{n} bytes"),
        )),
    }
}

async fn tcp_ends(t: &mut Trial) -> Outcome {
    let mut line = Line::open(t).await?;
    line.echo(b"a connection", "before the end").await?;
    line.connection().shut_down().await;
    line.end("once the client has ended TCP").await?;
    OK
}

async fn tcp_ends_within(t: &mut Trial) -> Outcome {
    let mut line = Line::open(t).await?;
    let message = b"the second half of this is never sent";
    let (first, payload) = line.message(message);
    let whole = crate::probe::websocket::frame(first, true, &payload);
    let half = whole.get(..whole.len() / 2).unwrap_or_default();
    line.raw("half of a frame", half).await?;
    line.connection().shut_down().await;
    line.end("once the client has ended TCP within a frame")
        .await?;
    if !line.has_part_of(message) {
        return Err(Stop::departure(
            "nothing back, or the first bytes of half a frame",
            "other bytes from the echo",
        ));
    }
    OK
}
