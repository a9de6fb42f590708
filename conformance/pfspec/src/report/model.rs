//! What the JSON report holds: everything that is known of a run. Its schema is `report.schema.json`.

use super::closes::{self, Close};
use super::{counted, hex};
use crate::case::{Case, Seen, Stop, Way, Word};
use crate::expect::{Expectation, Standing};
use crate::probe::log::{Item, Side};
use crate::run::Report;
use crate::spec::Clause;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the form. It grows when a field goes, or means something else. This program refuses what it does not know,
/// so a field that was added needs a reader as new as it.
pub const FORMAT: u32 = 1;

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Report of pfspec")]
pub struct Document {
    /// Version of this form: 1. Within one, fields may be added, and none goes or means something else.
    pub format: u32,
    /// Who wrote it.
    pub tool: Tool,
    /// What was judged.
    pub target: TargetInfo,
    /// How.
    pub run: RunInfo,
    /// How many of which.
    pub summary: Summary,
    /// Each case on each way, in the order of the catalogue.
    pub results: Vec<Record>,
    /// Cases that did not run.
    pub left_out: Vec<LeftOut>,
}

/// Who wrote a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// `pfspec`
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What was judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetInfo {
    /// For people.
    pub name: String,
    /// What kind of server.
    #[schemars(extend("enum" = ["gateway", "node", "runtime"]))]
    pub role: String,
    /// `1.37`, if it is known.
    pub kubernetes: Option<String>,
    /// Ways that it should serve.
    pub ways: Vec<String>,
}

/// How the run went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunInfo {
    /// When it began, RFC 3339.
    pub started: String,
    /// The same in seconds since 1970.
    pub started_unix: f64,
    /// How long it took.
    pub seconds: f64,
    /// Seed of all randomness.
    pub seed: u64,
    /// How many cases at once.
    pub jobs: usize,
    /// How long each waited for what should come at once.
    pub patience_seconds: f64,
    /// Whether a SHOULD counts as a departure.
    pub strict: bool,
    /// Part of the whole, `2/3`.
    pub shard: Option<String>,
    /// How often the whole ran.
    pub repeat: u32,
    /// How often a case was tried again.
    pub retries: u32,
    /// Whether it was interrupted: some cases are missing.
    pub interrupted: bool,
    /// Whether it stopped at the first departure: some cases are missing.
    pub stopped_early: bool,
}

/// How many of which.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Results.
    pub total: usize,
    /// PASS
    pub pass: usize,
    /// FAIL
    pub fail: usize,
    /// SHOULD
    pub should: usize,
    /// INFO
    pub info: usize,
    /// UNSUPPORTED
    pub unsupported: usize,
    /// INCONCLUSIVE
    pub inconclusive: usize,
    /// Results that are not as expected and no better.
    pub departures: usize,
    /// Results that are better than expected.
    pub unexpected_passes: usize,
    /// Results that came to nothing, and were not expected to.
    pub unexpected_inconclusive: usize,
    /// Results that were not the same each time.
    pub flaky: usize,
    /// Exit code of the run.
    pub exit_code: u8,
}

/// A case on a way, and what came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// `ID@WAY`
    pub name: String,
    /// Id of the case.
    pub id: String,
    /// On what it ran.
    pub way: String,
    /// The rule in one sentence.
    pub title: String,
    /// What a departure means.
    #[schemars(extend("enum" = ["MUST", "SHOULD", "OBSERVED", "QUALITY"]))]
    pub level: String,
    /// Clauses of the specification on which it rests.
    pub clauses: Vec<ClauseInfo>,
    /// Properties.
    pub tags: Vec<String>,
    /// Oldest and newest Kubernetes minor version to which it applies; no newest: all later ones.
    pub since: (u16, Option<u16>),
    /// Why it matters.
    pub why: String,
    /// What the judge sends.
    pub sends: String,
    /// What it accepts.
    pub accepts: String,
    /// The verdict.
    #[schemars(extend("enum" = ["PASS", "FAIL", "SHOULD", "INFO", "UNSUPPORTED", "INCONCLUSIVE"]))]
    pub verdict: String,
    /// What was seen, where several answers are accepted; else empty.
    pub seen: String,
    /// Of a departure: what is accepted.
    pub expected: Option<String>,
    /// Of a departure: what came.
    pub actual: Option<String>,
    /// Of UNSUPPORTED and INCONCLUSIVE: why.
    pub reason: Option<String>,
    /// How it stands to what was expected.
    #[schemars(extend("enum" = ["expected", "departure", "unexpected-pass", "inconclusive"]))]
    pub standing: String,
    /// The entry of the expectations that means it.
    pub expectation: Option<Expected>,
    /// What else came, if it was not the same each time.
    pub flaky: Vec<Attempt>,
    /// Since the run began.
    pub began_seconds: f64,
    /// How long it took.
    pub seconds: f64,
    /// Seed of this result.
    pub seed: u64,
    /// A command that runs it again.
    pub reproduce: String,
    /// How its connections ended. Reports of older versions have none.
    #[serde(default)]
    pub closes: Vec<Close>,
    /// Bytes on all its connections.
    pub bytes: u64,
    /// Every step of the exchange.
    pub items: Vec<Step>,
}

/// A clause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClauseInfo {
    /// `7.4`
    pub number: String,
    /// Title.
    pub title: String,
    /// Level.
    pub level: String,
    /// Where it is from: standards, source files with their versions, issues.
    pub sources: String,
    /// Text.
    pub text: String,
    /// Its chapter, a file of `conformance/spec`.
    pub file: String,
}

/// An entry of the expectations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The verdict.
    pub verdict: String,
    /// What is to be seen.
    pub seen: Option<String>,
    /// Why.
    pub reason: String,
    /// Where that is being worked on.
    pub issue: Option<String>,
    /// `YYYY-MM-DD`
    pub expires: Option<String>,
}

/// One of several results of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// Seed.
    pub seed: u64,
    /// Verdict.
    pub verdict: String,
    /// What was seen, or why not.
    pub detail: String,
}

/// One step of the exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Microseconds since the case began.
    pub at: u64,
    /// Number of the connection within the case, from 1; 0 for notes.
    pub connection: usize,
    /// Who: `judge` or `server`.
    #[schemars(extend("enum" = ["judge", "server"]))]
    pub side: String,
    /// What kind.
    #[schemars(extend("enum" = ["transport", "http", "websocket", "spdy", "channel", "raw", "note"]))]
    pub layer: String,
    /// What it says, decoded.
    pub text: String,
    /// How many bytes.
    pub length: usize,
    /// The bytes, or the first of them if they were too many; secrets are overwritten with `*`.
    pub hex: String,
}

/// A case that did not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// `ID@WAY`
    pub name: String,
    /// Why not.
    pub reason: String,
}

impl From<&Expectation> for Expected {
    fn from(from: &Expectation) -> Self {
        Self {
            verdict: from.verdict.name().to_owned(),
            seen: from.seen.clone(),
            reason: from.reason.clone(),
            issue: from.issue.clone(),
            expires: from.expires.clone(),
        }
    }
}

impl From<&Item> for Step {
    fn from(item: &Item) -> Self {
        Self {
            at: u64::try_from(item.at.as_micros()).unwrap_or(u64::MAX),
            connection: item.connection,
            side: match item.side {
                Side::Judge => "judge",
                Side::Server => "server",
            }
            .to_owned(),
            layer: item.layer.name().to_owned(),
            text: item.text.clone(),
            length: item.length,
            hex: hex(&item.bytes),
        }
    }
}

impl Record {
    /// From a result; what it stands to is still to be said.
    #[must_use]
    pub fn new(report: &Report, clauses: &[Clause], seed: u64, reproduce: String) -> Self {
        let case = &report.case;
        let (mut seen, mut expected, mut actual, mut reason) = (String::new(), None, None, None);
        match &report.outcome {
            Ok(Seen(slug)) => seen = slug.to_string(),
            Err(
                Stop::Departure {
                    expected: e,
                    actual: a,
                }
                | Stop::NoAnswer {
                    expected: e,
                    actual: a,
                },
            ) => (expected, actual) = (Some(e.clone()), Some(a.clone())),
            Err(Stop::Unsupported(text) | Stop::Inconclusive(text)) => reason = Some(text.clone()),
            Err(bug @ Stop::Bug(_)) => reason = Some(bug.to_string()),
        }
        Self {
            name: report.name(),
            id: case.id.to_owned(),
            way: report.way.name().to_owned(),
            title: case.title.to_owned(),
            level: case.level.name().to_owned(),
            clauses: clauses_of(case, clauses),
            tags: case.tags.iter().map(|tag| tag.name().to_owned()).collect(),
            since: (
                case.since.0,
                (case.since.1 != u16::MAX).then_some(case.since.1),
            ),
            why: case.why.to_owned(),
            sends: case.sends.to_owned(),
            accepts: case.accepts.to_owned(),
            verdict: report.word.name().to_owned(),
            seen,
            expected,
            actual,
            reason,
            standing: Standing::Expected.name().to_owned(),
            expectation: None,
            flaky: Vec::new(),
            began_seconds: report.began.as_secs_f64(),
            seconds: report.took.as_secs_f64(),
            seed,
            reproduce,
            closes: report.endings.iter().map(Close::from).collect(),
            bytes: report.bytes,
            items: report.items.iter().map(Step::from).collect(),
        }
    }

    /// One line of what came, without the verdict.
    #[must_use]
    pub fn detail(&self) -> String {
        match (&self.expected, &self.actual, &self.reason) {
            (Some(expected), Some(actual), _) => format!("expected {expected}; got {actual}"),
            (_, _, Some(reason)) => reason.clone(),
            _ => self.seen.clone(),
        }
    }

    /// Whether it is as expected.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        self.standing == Standing::Expected.name()
    }

    /// The line of it, beginning with the verdict.
    #[must_use]
    pub fn line(&self) -> String {
        let mut notes = Vec::new();
        if self.actual.is_some() && !self.closes.is_empty() {
            notes.push(format!("connection: {}", closes::line(&self.closes)));
        }
        match (&self.expectation, self.is_expected()) {
            (Some(known), true) if known.verdict == self.verdict => {
                notes.push(format!("as expected: {}", known.reason));
            }
            (Some(known), true) => notes.push(format!("better than expected: {}", known.reason)),
            (Some(known), false) => {
                let seen = known.seen.as_ref();
                let seen = seen.map(|seen| format!(" {seen}")).unwrap_or_default();
                notes.push(format!(
                    "unexpected, {}{seen} is: {}",
                    known.verdict, known.reason
                ));
            }
            (None, _) => {}
        }
        if !self.flaky.is_empty() {
            let others: Vec<String> = self
                .flaky
                .iter()
                .map(|other| {
                    format!(
                        "{} {} with seed {}",
                        other.verdict, other.detail, other.seed
                    )
                })
                .collect();
            notes.push(format!("flaky, also: {}", others.join("; ")));
        }
        let mut text = format!("{} {}", self.verdict, self.name);
        let detail = self.detail();
        if !detail.is_empty() {
            text.push_str(&format!(": {detail}"));
        }
        for note in notes {
            text.push_str(&format!(" [{note}]"));
        }
        super::plain(&text)
    }
}

fn clauses_of(case: &Case, clauses: &[Clause]) -> Vec<ClauseInfo> {
    let find = |number: &&str| clauses.iter().find(|clause| clause.number == **number);
    let info = |clause: &Clause| ClauseInfo {
        number: clause.number.clone(),
        title: clause.title.clone(),
        level: clause.level.name().to_owned(),
        sources: clause.sources.clone(),
        text: clause.text.clone(),
        file: clause.file.to_owned(),
    };
    case.clauses.iter().filter_map(find).map(info).collect()
}

impl Summary {
    /// Counts.
    #[must_use]
    pub fn of(results: &[Record]) -> Self {
        let word = |word: Word| results.iter().filter(|r| r.verdict == word.name()).count();
        let standing = |standing: Standing| {
            let same = results.iter().filter(|r| r.standing == standing.name());
            same.count()
        };
        Self {
            total: results.len(),
            pass: word(Word::Pass),
            fail: word(Word::Fail),
            should: word(Word::Should),
            info: word(Word::Info),
            unsupported: word(Word::Unsupported),
            inconclusive: word(Word::Inconclusive),
            departures: standing(Standing::Departure),
            unexpected_passes: standing(Standing::UnexpectedPass),
            unexpected_inconclusive: standing(Standing::Inconclusive),
            flaky: results.iter().filter(|r| !r.flaky.is_empty()).count(),
            exit_code: 0,
        }
    }

    /// `70 PASS, 2 FAIL`
    #[must_use]
    pub fn words(&self) -> String {
        let counts = [
            (self.pass, "PASS"),
            (self.fail, "FAIL"),
            (self.should, "SHOULD"),
            (self.info, "INFO"),
            (self.unsupported, "UNSUPPORTED"),
            (self.inconclusive, "INCONCLUSIVE"),
        ];
        let there = counts.iter().filter(|(count, _)| *count > 0);
        let words: Vec<String> = there.map(|(n, word)| format!("{n} {word}")).collect();
        if words.is_empty() {
            return "none".to_owned();
        }
        words.join(", ")
    }

    /// What is not as expected; empty if all is.
    fn unexpected(&self) -> String {
        let counts = [
            (self.departures, "departure", "departures"),
            (
                self.unexpected_passes,
                "unexpected pass",
                "unexpected passes",
            ),
            (
                self.unexpected_inconclusive,
                "came to nothing",
                "came to nothing",
            ),
            (self.flaky, "flaky", "flaky"),
        ];
        let there = counts.iter().filter(|(count, ..)| *count > 0);
        let words: Vec<String> = there.map(|(n, one, more)| counted(*n, one, more)).collect();
        words.join(", ")
    }
}

impl Document {
    /// What is not as expected. Of cases that did not run nothing is said.
    #[must_use]
    pub fn judgement(&self) -> String {
        let words = self.summary.unexpected();
        if !words.is_empty() {
            return words;
        }
        let cut = self.run.interrupted || self.run.stopped_early;
        (if cut {
            "what ran is as expected"
        } else {
            "all as expected"
        })
        .to_owned()
    }

    /// The JSON text.
    ///
    /// # Errors
    /// None that can happen: all keys are strings.
    pub fn json(&self) -> serde_json::Result<String> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(path: &std::path::Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let document: Self = serde_json::from_str(&text)
            .map_err(|error| format!("{} is no JSON report of pfspec: {error}", path.display()))?;
        if document.format != FORMAT {
            return Err(format!(
                "{} has form {}; this program reads form {FORMAT}",
                path.display(),
                document.format
            ));
        }
        Ok(document)
    }

    /// The schema of the JSON text.
    ///
    /// # Errors
    /// None that can happen.
    pub fn schema() -> serde_json::Result<String> {
        let mut text = serde_json::to_string_pretty(&schemars::schema_for!(Self))?;
        text.push('\n');
        Ok(text)
    }
}

/// A case as `pfspec list --json` gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Id.
    pub id: String,
    /// The rule.
    pub title: String,
    /// What a departure means.
    pub level: String,
    /// On what it runs.
    pub ways: Vec<String>,
    /// Against what.
    pub roles: Vec<String>,
    /// Properties.
    pub tags: Vec<String>,
    /// Clauses.
    pub clauses: Vec<ClauseInfo>,
    /// Kubernetes minor versions.
    pub since: (u16, Option<u16>),
    /// Why it matters.
    pub why: String,
    /// What the judge sends.
    pub sends: String,
    /// What it accepts.
    pub accepts: String,
}

impl Listed {
    /// Of a case.
    #[must_use]
    pub fn new(case: &Case, clauses: &[Clause]) -> Self {
        let names = |ways: &[Way]| ways.iter().map(|way| way.name().to_owned()).collect();
        Self {
            id: case.id.to_owned(),
            title: case.title.to_owned(),
            level: case.level.name().to_owned(),
            ways: names(case.ways),
            roles: case
                .roles
                .iter()
                .map(|role| role.name().to_owned())
                .collect(),
            tags: case.tags.iter().map(|tag| tag.name().to_owned()).collect(),
            clauses: clauses_of(case, clauses),
            since: (
                case.since.0,
                (case.since.1 != u16::MAX).then_some(case.since.1),
            ),
            why: case.why.to_owned(),
            sends: case.sends.to_owned(),
            accepts: case.accepts.to_owned(),
        }
    }
}
