//! Expectations: which verdicts are known, and why. A file in TOML, one entry for each glob over `ID@WAY`.

use crate::case::{Case, Way, Word};
use crate::exit::Failure;
use crate::run::name_of;
use crate::select;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

/// One entry. The first that means a case counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// Glob over `ID@WAY`; without `@` it means all ways.
    pub case: String,
    /// The verdict.
    pub verdict: Word,
    /// What is seen, where several answers are accepted.
    pub seen: Option<String>,
    /// Why, for whoever reads a report.
    pub reason: String,
    /// Where that is being worked on.
    pub issue: Option<String>,
    /// `YYYY-MM-DD`: from the day behind it on the entry counts no more.
    pub expires: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    expect: Vec<toml::Spanned<Entry>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    case: String,
    verdict: String,
    seen: Option<String>,
    reason: String,
    issue: Option<String>,
    expires: Option<toml::value::Datetime>,
}

/// All entries of a file, those that have expired apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expectations {
    /// What counts.
    pub entries: Vec<Expectation>,
    /// What counts no more.
    pub expired: Vec<Expectation>,
}

/// How a verdict stands to what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// As expected.
    Expected,
    /// Not as expected, and no better.
    Departure,
    /// Better than the expectations know.
    UnexpectedPass,
    /// Came to nothing.
    Inconclusive,
}

impl Standing {
    /// As reports write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Expected => "expected",
            Self::Departure => "departure",
            Self::UnexpectedPass => "unexpected-pass",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// Today in UTC, `YYYY-MM-DD`.
#[must_use]
pub fn today() -> String {
    let now = time::OffsetDateTime::now_utc();
    format!(
        "{:04}-{:02}-{:02}",
        now.year(),
        u8::from(now.month()),
        now.day()
    )
}

impl Expectations {
    /// Reads a file.
    ///
    /// # Errors
    /// Usage: what is wrong in it, and on which line.
    pub fn read(path: &Path, catalogue: &[Case]) -> Result<Self, Failure> {
        let name = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("cannot read expectations {name}: {error}")))?;
        Self::parse(&text, &today(), catalogue).map_err(|error| Failure {
            text: format!("expectations {name}: {error}"),
            ..error
        })
    }

    /// Reads a text as on a day.
    ///
    /// # Errors
    /// Usage: what is wrong in it, and on which line.
    pub fn parse(text: &str, today: &str, catalogue: &[Case]) -> Result<Self, Failure> {
        let file: File = toml::from_str(text).map_err(|error| {
            let what = error.message().replace('\n', " ");
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            Failure::usage(format!("line {line}: {what}"))
        })?;
        let mut all = Self::default();
        for entry in file.expect {
            let line = line_of(text, entry.span().start);
            let wrong = |what: String| Failure::usage(format!("line {line}: {what}"));
            let entry = entry.into_inner();
            let verdict = Word::from_name(&entry.verdict).ok_or_else(|| {
                wrong(format!(
                    "verdict {:?} is none of PASS, FAIL, SHOULD, INFO, UNSUPPORTED, INCONCLUSIVE",
                    entry.verdict
                ))
            })?;
            if entry.reason.trim().is_empty() {
                return Err(wrong("an expectation needs a reason".to_owned()));
            }
            let expires = match entry.expires {
                None => None,
                Some(toml::value::Datetime {
                    date: Some(date),
                    time: None,
                    ..
                }) => Some(date.to_string()),
                Some(_) => return Err(wrong("expires is a date, such as 2027-01-31".to_owned())),
            };
            select::check(&entry.case, catalogue).map_err(|error| wrong(error.text))?;
            let over = expires.as_ref().is_some_and(|day| day.as_str() < today);
            let list = if over {
                &mut all.expired
            } else {
                &mut all.entries
            };
            list.push(Expectation {
                case: entry.case,
                verdict,
                seen: entry.seen,
                reason: entry.reason,
                issue: entry.issue,
                expires,
            });
        }
        Ok(all)
    }

    /// The entry that means a case.
    #[must_use]
    pub fn of(&self, case: &Case, way: Way) -> Option<&Expectation> {
        self.entries
            .iter()
            .find(|entry| select::means(&entry.case, case, way))
    }
}

impl Expectations {
    /// The entry that means a case; if there is none, what one that has expired says, without its day.
    #[must_use]
    pub fn last_of(&self, case: &Case, way: Way) -> Option<Expectation> {
        let means = |entry: &&Expectation| select::means(&entry.case, case, way);
        let expired = || self.expired.iter().find(means);
        self.of(case, way).cloned().or_else(|| {
            expired().map(|entry| Expectation {
                expires: None,
                ..entry.clone()
            })
        })
    }

    /// What the entries say of the cases (`ID@WAY`) that have no result: an entry as it is if it means no other, or
    /// else one for each.
    #[must_use]
    pub fn without(
        &self,
        catalogue: &[Case],
        has_result: &dyn Fn(&str) -> bool,
    ) -> Vec<Expectation> {
        let mut kept: Vec<Expectation> = Vec::new();
        for list in [&self.entries, &self.expired] {
            let mut taken = BTreeSet::new();
            for entry in list {
                let ways = |case: &'_ Case| case.ways.to_vec();
                let all = catalogue
                    .iter()
                    .flat_map(|case| ways(case).into_iter().map(move |way| (case, way)));
                let names = all
                    .filter(|(case, way)| select::means(&entry.case, case, *way))
                    .map(|(case, way)| name_of(case, way));
                let (judged, open): (Vec<String>, Vec<String>) =
                    names.partition(|name| has_result(name));
                // The first entry that means a case counts.
                let open: Vec<String> = open
                    .into_iter()
                    .filter(|name| taken.insert(name.clone()))
                    .collect();
                if open.is_empty() || kept.contains(entry) {
                    continue;
                }
                if judged.is_empty() {
                    kept.push(entry.clone());
                } else {
                    kept.extend(open.into_iter().map(|case| Expectation {
                        case,
                        ..entry.clone()
                    }));
                }
            }
        }
        kept
    }
}

/// From 1.
fn line_of(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    1 + before.matches('\n').count()
}

/// Compares a verdict with what is expected of it.
#[must_use]
pub fn compare(
    word: Word,
    seen: &str,
    expected: Option<&Expectation>,
    strict: bool,
    allow_unexpected_pass: bool,
) -> Standing {
    let Some(expected) = expected else {
        return match word {
            Word::Fail => Standing::Departure,
            Word::Should if strict => Standing::Departure,
            Word::Inconclusive => Standing::Inconclusive,
            _ => Standing::Expected,
        };
    };
    let seen_as_expected = expected.seen.as_ref().is_none_or(|slug| slug == seen);
    if word == expected.verdict && seen_as_expected {
        Standing::Expected
    } else if word == Word::Inconclusive {
        Standing::Inconclusive
    } else if word == Word::Pass && expected.verdict != Word::Pass {
        if allow_unexpected_pass {
            Standing::Expected
        } else {
            Standing::UnexpectedPass
        }
    } else {
        Standing::Departure
    }
}

/// What one case contributes to a baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// `ID@WAY`
    pub name: String,
    /// The verdict.
    pub verdict: Word,
    /// What was seen.
    pub seen: String,
    /// What else there is to say of it.
    pub detail: String,
    /// The entry that was there before.
    pub before: Option<Expectation>,
}

/// Begins the reason of an entry to which nobody has given one.
const UNWRITTEN: &str = "baseline of ";

/// A file of expectations from a run: everything that is no plain PASS, and `kept`. Entries that were there and still
/// hold keep their reasons.
#[must_use]
pub fn baseline(target: &str, known: &[Known], kept: &[Expectation]) -> String {
    let target: String = target.chars().filter(|c| !c.is_control()).collect();
    let day = today();
    let mut text = format!(
        "# What pfspec saw on {day}, target: {target}.\n\
         # Replace each reason by the true one; give it an issue and a day (expires = 2027-01-31) if it is to end.\n"
    );
    for one in known {
        let plain = one.verdict == Word::Pass && one.seen.is_empty();
        if plain || one.verdict == Word::Inconclusive {
            continue;
        }
        let before = one.before.as_ref();
        let before = before.filter(|before| before.verdict == one.verdict);
        let unwritten = format!("{UNWRITTEN}{day}");
        let reason = before.map_or(unwritten, |before| before.reason.clone());
        // Not in the reason, which is printed beside what comes: that would stand there twice.
        let came = if reason.starts_with(UNWRITTEN) {
            one.detail.as_str()
        } else {
            ""
        };
        let entry = entry(&Expectation {
            case: one.name.clone(),
            verdict: one.verdict,
            seen: (!one.seen.is_empty()).then(|| one.seen.clone()),
            reason,
            issue: before.and_then(|before| before.issue.clone()),
            expires: before.and_then(|before| before.expires.clone()),
        });
        let comment: String = came.chars().take(200).collect();
        let comment = comment.replace(char::is_control, " ");
        text.push('\n');
        if !comment.is_empty() {
            text.push_str(&format!("# {comment}\n"));
        }
        text.push_str(&entry);
    }
    let kept = kept.iter().map(|kept| format!("\n{}", entry(kept)));
    text.extend(kept);
    text
}

fn entry(entry: &Expectation) -> String {
    let mut text = String::from("[[expect]]\n");
    let mut put = |key: &str, value: &str| {
        text.push_str(&format!("{key} = {}\n", toml::Value::from(value)));
    };
    put("case", &entry.case);
    put("verdict", entry.verdict.name());
    if let Some(seen) = &entry.seen {
        put("seen", seen);
    }
    put("reason", &entry.reason);
    if let Some(issue) = &entry.issue {
        put("issue", issue);
    }
    if let Some(day) = &entry.expires {
        text.push_str(&format!("expires = {day}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Expectations, Failure> {
        Expectations::parse(text, "2026-11-27", &crate::catalogue::all())
    }

    fn entry(verdict: Word, seen: Option<&str>) -> Expectation {
        Expectation {
            case: "*".to_owned(),
            verdict,
            seen: seen.map(ToOwned::to_owned),
            reason: "known".to_owned(),
            issue: None,
            expires: None,
        }
    }

    #[test]
    fn all_pairs() {
        use Standing::{Departure, Expected, Inconclusive, UnexpectedPass};
        let of = |word, expected: Option<Word>| {
            let expected = expected.map(|verdict| entry(verdict, None));
            compare(word, "", expected.as_ref(), false, false)
        };
        for (word, expected, standing) in [
            (Word::Pass, None, Expected),
            (Word::Fail, None, Departure),
            (Word::Should, None, Expected),
            (Word::Info, None, Expected),
            (Word::Unsupported, None, Expected),
            (Word::Inconclusive, None, Inconclusive),
            (Word::Fail, Some(Word::Fail), Expected),
            (Word::Pass, Some(Word::Fail), UnexpectedPass),
            (Word::Pass, Some(Word::Should), UnexpectedPass),
            (Word::Pass, Some(Word::Pass), Expected),
            (Word::Fail, Some(Word::Pass), Departure),
            (Word::Should, Some(Word::Pass), Departure),
            (Word::Unsupported, Some(Word::Fail), Departure),
            (Word::Unsupported, Some(Word::Pass), Departure),
            (Word::Inconclusive, Some(Word::Fail), Inconclusive),
            (Word::Inconclusive, Some(Word::Inconclusive), Expected),
        ] {
            assert_eq!(of(word, expected), standing, "{word:?} {expected:?}");
        }
        assert_eq!(compare(Word::Should, "", None, true, false), Departure);
        let fail = entry(Word::Fail, None);
        assert_eq!(compare(Word::Pass, "", Some(&fail), false, true), Expected);
        let seen = entry(Word::Info, Some("ignored"));
        assert_eq!(
            compare(Word::Info, "ignored", Some(&seen), false, false),
            Expected
        );
        assert_eq!(
            compare(Word::Info, "ends-session", Some(&seen), false, false),
            Departure
        );
    }

    #[test]
    fn expiry() {
        let text = "[[expect]]\ncase='spdy/*'\nverdict='FAIL'\nreason='r'\nexpires=";
        for (day, counts) in [("2026-11-26", 0), ("2026-11-27", 1), ("2027-01-01", 1)] {
            let all = parse(&format!("{text}{day}\n"));
            assert_eq!(all.map(|all| all.entries.len()), Ok(counts), "{day}");
        }
    }

    #[test]
    fn broken_files() {
        for (text, words) in [
            ("x", "line 1"),
            ("\n[[expect]]\ncase = 'spdy/*'\n", "line 2: missing field"),
            (
                "[[expect]]\ncase='spdy/*'\nverdict='BAD'\nreason='r'\n",
                "none of PASS, FAIL",
            ),
            (
                "[[expect]]\ncase='spdy/*'\nverdict='FAIL'\nreason=' '\n",
                "needs a reason",
            ),
            (
                "[[expect]]\ncase='spdy/*'\nverdict='FAIL'\nreason='r'\nwhy='x'\n",
                "unknown field",
            ),
            (
                "[[expect]]\ncase='spdy/x'\nverdict='FAIL'\nreason='r'\n",
                "no case is named",
            ),
            (
                "[[expect]]\ncase='spdy/*'\nverdict='FAIL'\nreason='r'\nexpires=10:00:00\n",
                "is a date",
            ),
        ] {
            let error = parse(text)
                .err()
                .map(|error| error.text)
                .unwrap_or_default();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_baseline_can_be_read() {
        let known = Known {
            name: "spdy/frame/joined@spdy".to_owned(),
            verdict: Word::Fail,
            seen: String::new(),
            detail: "expected \"a\"; got '''b'''\u{7}\n[[expect]]".to_owned(),
            before: None,
        };
        let text = baseline("a\nb", std::slice::from_ref(&known), &[]);
        let lines = "\n# expected \"a\"; got '''b'''  [[expect]]\n[[expect]]\ncase = ";
        assert!(text.contains(lines), "{text}");
        let reason = format!("reason = \"baseline of {}\"\n", today());
        assert!(text.ends_with(&reason), "{text}");
        let read = parse(&text);
        let entries = read.map(|all| all.entries).unwrap_or_default();
        assert_eq!(entries.len(), 1, "{text}");
        let again = Known {
            before: entries.first().cloned(),
            ..known
        };
        assert_eq!(
            text.lines().skip(1).collect::<Vec<_>>(),
            baseline("a b", &[again], &[])
                .lines()
                .skip(1)
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_did_not_run_is_kept() {
        let catalogue = crate::catalogue::all();
        let text = "[[expect]]\ncase='spdy/frame/joined@spdy'\nverdict='FAIL'\nreason='one'\n\
                    [[expect]]\ncase='spdy/frame/joined'\nverdict='INFO'\nreason='both'\nissue='i'\n\
                    [[expect]]\ncase='load/*'\nverdict='FAIL'\nreason='all'\nexpires=2099-01-01\n\
                    [[expect]]\ncase='idle/*'\nverdict='FAIL'\nreason='old'\nexpires=2020-01-01\n";
        let Ok(before) = parse(text) else {
            unreachable!("it is no file of expectations")
        };
        let kept = |judged: &'static [&'static str]| {
            let kept = before.without(&catalogue, &|name| judged.contains(&name));
            let read = parse(&baseline("t", &[], &kept)).unwrap_or_default();
            let of = |list: &[Expectation]| -> Vec<(String, String)> {
                let pair = |one: &Expectation| (one.case.clone(), one.reason.clone());
                list.iter().map(pair).collect()
            };
            (of(&read.entries), of(&read.expired))
        };
        let pair = |case: &str, reason: &str| (case.to_owned(), reason.to_owned());
        let (all, old) = (pair("load/*", "all"), vec![pair("idle/*", "old")]);
        let (one, both) = (pair("spdy/frame/joined@spdy", "one"), "both");
        let whole = pair("spdy/frame/joined", both);
        let apart = pair("spdy/frame/joined@tunnel", both);
        assert_eq!(
            kept(&[]),
            (vec![one.clone(), whole, all.clone()], old.clone())
        );
        // A group of which a part was judged says no more of that part.
        assert_eq!(
            kept(&["spdy/frame/joined@spdy"]),
            (vec![apart, all.clone()], old.clone())
        );
        assert_eq!(
            kept(&["spdy/frame/joined@tunnel"]),
            (vec![one, all.clone()], old.clone())
        );
        let both = &["spdy/frame/joined@tunnel", "spdy/frame/joined@spdy"];
        assert_eq!(kept(both), (vec![all], old));
    }
}
