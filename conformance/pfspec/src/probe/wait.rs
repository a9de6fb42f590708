//! Waiting for what should come, on a session and on channels alike.

use super::connection::{End, Filled};
use crate::case::Stop;
use std::time::Duration;
use tokio::time::Instant;

/// What takes one thing after the other from a server.
pub(super) trait Waits {
    /// Takes one thing, waiting for it.
    fn take_one(&mut self, deadline: Instant) -> impl Future<Output = Result<Filled, Stop>> + Send;

    /// How it ended, once it has.
    fn ended_by(&self) -> Option<&End>;

    /// What came, for a report.
    fn came(&self) -> String;
}

/// Waits until `done`.
pub(super) async fn until<W: Waits>(
    waits: &mut W,
    what: &str,
    patience: Duration,
    done: impl Fn(&W) -> bool,
) -> Result<(), Stop> {
    let deadline = Instant::now() + patience;
    loop {
        if done(waits) {
            return Ok(());
        }
        match waits.take_one(deadline).await? {
            Filled::More => {}
            Filled::Late => {
                let text = format!("not within {patience:?}; what came: {}", waits.came());
                return Err(Stop::departure(what, text));
            }
            // The end may be what is waited for.
            Filled::Ended if done(waits) => return Ok(()),
            Filled::Ended => {
                let end = waits
                    .ended_by()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let text = format!("{end}; before it: {}", waits.came());
                return Err(match waits.ended_by() {
                    Some(End::Malformed(_)) => Stop::no_answer(what, text),
                    _ => Stop::departure(what, text),
                });
            }
        }
    }
}

/// Takes what comes for a time, or until the end.
pub(super) async fn read_for(waits: &mut impl Waits, time: Duration) -> Result<(), Stop> {
    let deadline = Instant::now() + time;
    while waits.take_one(deadline).await? == Filled::More {}
    Ok(())
}
