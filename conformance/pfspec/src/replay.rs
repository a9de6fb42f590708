//! `--replay`: sends again what the judge sent in a run that a JSON report holds, and says what is answered otherwise.
//! No case runs: nobody asks what the bytes mean, only whether the same ones get the same answers.

mod answers;
mod head;
mod play;

use crate::case::{Case, Way};
use crate::exit::{Exit, Failure};
use crate::report::model::{Document, Record};
use crate::report::plain;
use crate::run::name_of;
use crate::screen::Screen;
use crate::target::Target;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What was sent in one case, and what came.
#[derive(Debug)]
pub struct Recording {
    record: Record,
    way: Way,
}

/// What a replay sends.
#[derive(Debug)]
pub struct Replay {
    recordings: Vec<Recording>,
    /// The path under which the recorded target was asked most often: that of the pod.
    path: Option<String>,
    /// Each connection had a path of its own, which served once.
    once: bool,
}

impl Replay {
    /// Reads a report.
    ///
    /// # Errors
    /// Usage: it is none.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let document = Document::read(path).map_err(Failure::usage)?;
        let path = head::usual_path(document.results.iter().flat_map(|record| &record.items));
        let once = document.target.role == crate::case::Role::Runtime.name();
        let ways = crate::case::ALL_WAYS.iter().chain(&[Way::Http]);
        let ways: BTreeMap<&str, Way> = ways.map(|way| (way.name(), *way)).collect();
        let recordings = document.results.into_iter().filter_map(|record| {
            let way = *ways.get(record.way.as_str())?;
            Some(Recording { record, way })
        });
        Ok(Self {
            recordings: recordings.collect(),
            path,
            once,
        })
    }

    /// Keeps those of these cases.
    ///
    /// # Errors
    /// Usage: there is none.
    pub fn of(mut self, cases: &[(Case, Way)]) -> Result<Self, Failure> {
        let names: Vec<String> = cases
            .iter()
            .map(|(case, way)| name_of(case, *way))
            .collect();
        self.recordings
            .retain(|recording| names.contains(&recording.record.name));
        if self.recordings.is_empty() {
            return Err(Failure::usage(
                "nothing to replay: the report has none of these cases",
            ));
        }
        Ok(self)
    }

    /// Sends all of it, one case after the other.
    pub async fn run(&self, target: &Arc<Target>, patience: Duration, screen: &mut Screen) -> Exit {
        let (mut same, mut more, mut other, mut skipped) = (0_usize, 0_usize, 0_usize, 0_usize);
        for recording in &self.recordings {
            let name = &recording.record.name;
            let outcome = match recording.missing() {
                Some(reason) => Outcome::Skipped(reason),
                None => self.one(recording, target, patience).await,
            };
            match outcome {
                Outcome::Same(count) => {
                    same += 1;
                    screen.print(&format!("SAME {name}: {count} answers\n"));
                }
                Outcome::More(lines) => {
                    more += 1;
                    screen.print(&format!("MORE {name}\n{lines}"));
                }
                Outcome::Other(lines) => {
                    other += 1;
                    screen.print(&format!("OTHER {name}\n{lines}"));
                }
                Outcome::Skipped(reason) => {
                    skipped += 1;
                    screen.print(&format!("SKIP {name}: {}\n", plain(&reason)));
                }
            }
        }
        screen.print(&format!(
            "\n{}: {same} answered the same, {more} with more behind it, {other} otherwise; {skipped} not sent\n",
            plain(&target.name)
        ));
        match (other, same + more) {
            (1.., _) => Exit::Departures,
            (0, 1..) => Exit::Expected,
            (0, 0) => Exit::Inconclusive,
        }
    }

    async fn one(
        &self,
        recording: &Recording,
        target: &Arc<Target>,
        patience: Duration,
    ) -> Outcome {
        let items = &recording.record.items;
        let mut player = play::Player::new(target, recording.way, patience, self);
        if let Err(stop) = player.play(items).await {
            return Outcome::Skipped(stop.to_string());
        }
        let (count, difference) = player.difference();
        match (difference.text, difference.is_other) {
            (text, true) => Outcome::Other(text),
            (text, false) if text.is_empty() => Outcome::Same(count),
            (text, false) => Outcome::More(text),
        }
    }
}

enum Outcome {
    Same(usize),
    /// The same, and more.
    More(String),
    Other(String),
    Skipped(String),
}

impl Recording {
    /// Why it cannot be sent again.
    fn missing(&self) -> Option<String> {
        // A report does not say as whom, and has no node to ask.
        for (group, why) in [
            ("authz/", "it asks as somebody else"),
            ("http/backend/", "it asks of a node of the judge's own"),
        ] {
            if self.record.id.starts_with(group) {
                return Some(why.to_owned());
            }
        }
        let sent = self.record.items.iter().filter(|step| step.side == "judge");
        let sent = sent.filter(|step| step.layer != "note" && step.layer != "transport");
        let (mut any, mut left) = (false, 0);
        for step in sent {
            any = true;
            left += step.length - (step.hex.len() / 2).min(step.length);
        }
        if !any {
            return Some("nothing was sent".to_owned());
        }
        (left > 0).then(|| format!("the report has kept all but {left} bytes of what was sent"))
    }
}
