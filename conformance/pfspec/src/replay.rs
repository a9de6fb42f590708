//! `--replay`: sends again what the judge sent in a run that a JSON report holds, and says what is answered otherwise.
//! No case runs: nobody asks what the bytes mean, only whether the same ones get the same answers.

mod answers;
mod head;
mod pings;
mod play;

use crate::case::{Case, Stop, Way};
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::report::model::{Document, LeftOut, Record};
use crate::report::{counted, plain};
use crate::run::{EXCLUDED, NOT_ASKED_FOR, name_of};
use crate::screen::Screen;
use crate::target::Target;
use std::collections::{BTreeMap, BTreeSet};
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
    /// What is in the report and not sent again, and why.
    left: Vec<LeftOut>,
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
        let (mut recordings, mut left) = (Vec::new(), Vec::new());
        for record in document.results {
            match ways.get(record.way.as_str()) {
                Some(way) => recordings.push(Recording { record, way: *way }),
                None => left.push(LeftOut {
                    name: record.name,
                    reason: "on a way that this version does not know".to_owned(),
                }),
            }
        }
        Ok(Self {
            recordings,
            left,
            path,
            once,
        })
    }

    /// Keeps those of these cases. Of the others it is said why not, unless the user has left them out by name.
    ///
    /// # Errors
    /// Usage: there is none.
    pub fn of(mut self, cases: &[(Case, Way)], left: &[LeftOut]) -> Result<Self, Failure> {
        let names: BTreeSet<String> = cases
            .iter()
            .map(|(case, way)| name_of(case, *way))
            .collect();
        let reasons: BTreeMap<&str, &str> = left
            .iter()
            .map(|left| (left.name.as_str(), left.reason.as_str()))
            .collect();
        for recording in std::mem::take(&mut self.recordings) {
            let name = &recording.record.name;
            if names.contains(name) {
                self.recordings.push(recording);
                continue;
            }
            let reason = reasons.get(name.as_str()).copied();
            let reason = reason.unwrap_or("this version has no such case");
            if ![EXCLUDED, NOT_ASKED_FOR].contains(&reason) {
                self.left.push(LeftOut {
                    name: name.clone(),
                    reason: reason.to_owned(),
                });
            }
        }
        if self.recordings.is_empty() {
            return Err(Failure::usage(
                "nothing to replay: the report has none of these cases",
            ));
        }
        Ok(self)
    }

    /// Sends all of it, one case after the other. `quiet` says nothing of those that are answered the same. An interrupt
    /// ends it: what came until then is counted.
    pub async fn run(
        &self,
        target: &Arc<Target>,
        patience: Duration,
        quiet: bool,
        interrupt: &Interrupt,
        screen: &mut Screen,
    ) -> Exit {
        let (mut same, mut more, mut other) = (0_usize, 0_usize, 0_usize);
        // Those that could not be sent, and of them those of which that was not known before.
        let (mut skipped, mut failed) = (self.left.len(), 0_usize);
        for left in &self.left {
            let (name, reason) = (plain(&left.name), plain(&left.reason));
            screen.print(&format!("SKIP {name}: {reason}\n"));
        }
        let mut cut = None;
        for (i, recording) in self.recordings.iter().enumerate() {
            let name = &recording.record.name;
            let outcome = if let Some(reason) = recording.missing() {
                Outcome::Skipped(reason)
            } else {
                let outcome = tokio::select! {
                    // What has come counts.
                    biased;
                    outcome = self.one(recording, target, patience) => outcome,
                    () = interrupt.wait() => {
                        cut = Some(self.recordings.len() - i);
                        break;
                    }
                };
                failed += usize::from(matches!(outcome, Outcome::Skipped(_)));
                outcome
            };
            match outcome {
                Outcome::Same(count) => {
                    same += 1;
                    if !quiet {
                        let answers = counted(count, "answer", "answers");
                        screen.print(&format!("SAME {name}: {answers}\n"));
                    }
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
        let missing = cut.map_or_else(String::new, |left| {
            let all = counted(self.recordings.len(), "case", "cases");
            format!("Interrupted: {left} of {all} did not run to the end.\n")
        });
        screen.print(&format!(
            "\n{missing}{}: {same} answered the same, {more} with more behind it, {other} otherwise; {skipped} not sent\n",
            plain(&target.name)
        ));
        if cut.is_some() {
            return Exit::Interrupted;
        }
        match (other, failed, same + more) {
            (1.., ..) => Exit::Departures,
            (0, 0, 1..) => Exit::Expected,
            (0, ..) => Exit::Inconclusive,
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
        let lost = match player.play(items).await {
            Ok(()) => None,
            // There was a connection then.
            Err(Stop::Departure { actual, .. } | Stop::NoAnswer { actual, .. }) => Some(actual),
            Err(stop) => return Outcome::Skipped(stop.to_string()),
        };
        let (count, mut difference) = player.difference();
        if let Some(actual) = lost {
            let text = format!("  - connected\n  + {}\n", plain(&actual));
            difference.text.push_str(&text);
            difference.is_other = true;
        }
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
        let mut notes = self.record.items.iter().filter(|step| step.layer == "note");
        if notes.any(|step| step.text.starts_with("not kept:")) {
            return Some("the report has not kept all of it".to_owned());
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
        let left = (left > 0).then(|| counted(left, "byte", "bytes"));
        left.map(|left| format!("the report has kept all but {left} of what was sent"))
    }
}
