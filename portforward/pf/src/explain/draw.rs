//! The drawing: a ladder for the terminal, a Mermaid diagram, a JSON object.

use super::Facts;
use super::args::Format;
use super::trace::{Actor, Sight, Step};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// Version of the JSON object: grows when a field changes its meaning or goes.
const SCHEMA: u32 = 1;
/// Columns between two lifelines.
const PITCH: usize = 8;
/// Columns left of the first lifeline.
const MARGIN: usize = 22;

/// Everything there is to draw.
pub(super) struct Picture<'a> {
    pub(super) facts: &'a Facts,
    pub(super) steps: &'a [Step],
    /// Frames that are not among the steps.
    pub(super) dropped: usize,
    pub(super) notes: &'a [String],
    /// Exit code, and why it is not 0.
    pub(super) exit: u8,
    pub(super) error: Option<&'a str>,
}

impl Picture<'_> {
    pub(super) fn draw(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Mermaid => self.mermaid(),
            Format::Json => format!("{}\n", self.json()),
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        let head = "  at ms    took   app     pf      API   kubelet runtime   pod";
        line(&mut out, head);
        for row in rows(self.steps) {
            let times = format!("{:>7} {:>7}", ms(row.at), ms(row.took));
            line(&mut out, &format!("{times}{}  {}", ladder(&row), row.text));
        }
        for note in self.notes {
            line(&mut out, &format!("* {note}"));
        }
        if self.dropped > 0 {
            line(
                &mut out,
                &format!("* {} more frames are not drawn.", self.dropped),
            );
        }
        out
    }

    fn mermaid(&self) -> String {
        let mut out = String::from("sequenceDiagram\n");
        for actor in Actor::ALL {
            let name = if actor == Actor::Server {
                "API server"
            } else if actor == Actor::App {
                "local app"
            } else {
                actor.id()
            };
            line(
                &mut out,
                &format!("    participant {} as {name}", mermaid_id(actor)),
            );
        }
        for row in rows(self.steps) {
            let mut text = match (row.at, row.took) {
                (Some(_), Some(_)) => {
                    format!("{} (+{}) ms: {}", ms(row.at), ms(row.took), row.text)
                }
                (Some(_), None) => format!("{} ms: {}", ms(row.at), row.text),
                _ => row.text.clone(),
            };
            // Both end or begin something in Mermaid.
            text = text
                .replace('#', "#35;")
                .replace(';', "#59;")
                .replace("#35#59;", "#35;");
            let (from, to) = (mermaid_id(row.from), mermaid_id(row.to));
            let arrow = match row.sight {
                Sight::Seen => "->>",
                Sight::Unseen => "--)",
                Sight::Failed => "-x",
            };
            if row.from == row.to {
                line(&mut out, &format!("    Note over {from}: {text}"));
            } else {
                line(&mut out, &format!("    {from}{arrow}{to}: {text}"));
            }
        }
        out
    }

    fn json(&self) -> Value {
        let facts = self.facts;
        let steps: Vec<Value> = self.steps.iter().map(step).collect();
        json!({
            "schema": SCHEMA,
            "target": facts.target,
            "namespace": facts.namespace,
            "pod": facts.pod,
            "node": facts.node,
            "port": { "asked": facts.asked, "number": facts.port },
            "embedded": facts.embedded,
            "protocol": facts.protocol,
            "sent": facts.sent,
            "received": facts.received,
            "steps": steps,
            "frames_not_drawn": self.dropped,
            "notes": self.notes,
            "exit": self.exit,
            "error": self.error,
        })
    }
}

fn step(step: &Step) -> Value {
    let mut value = json!({
        "from": step.from.id(),
        "to": step.to.id(),
        "text": step.text,
        "visible": step.sight != Sight::Unseen,
        "failed": step.sight == Sight::Failed,
        "at_ms": step.at.map(rounded),
        "took_ms": step.took.map(rounded),
    });
    if let (Some(frame), Some(object)) = (&step.frame, value.as_object_mut()) {
        let frame = json!({
            "direction": if frame.out { "out" } else { "in" },
            "type": frame.kind,
            "stream": frame.stream,
            "fin": frame.fin,
            "bytes": frame.bytes,
            "at_ns": nanos(frame.at),
            "until_ns": nanos(frame.until),
        });
        object.insert("frame".to_owned(), frame);
    }
    value
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Milliseconds with two decimals.
fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

fn ms(time: Option<Duration>) -> String {
    time.map_or_else(String::new, |time| format!("{:.2}", rounded(time)))
}

fn line(out: &mut String, text: &str) {
    // Writing to a string does not fail.
    writeln!(out, "{}", text.trim_end()).ok();
}

struct Row {
    from: Actor,
    to: Actor,
    text: String,
    at: Option<Duration>,
    took: Option<Duration>,
    sight: Sight,
}

/// The steps, with runs of DATA on one stream as one row. A FIN keeps a row of its own.
fn rows(steps: &[Step]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut rest = steps;
    while let Some(first) = rest.first() {
        let is_data = |step: &Step| {
            step.frame
                .as_ref()
                .filter(|f| f.kind == "DATA" && !f.fin)
                .map(|f| (f.out, f.stream))
        };
        let of = is_data(first);
        let run = rest
            .iter()
            .take_while(|step| of.is_some() && is_data(step) == of);
        let run = run.count().max(1);
        let (these, others) = rest.split_at(run);
        rest = others;
        let last = these.last().and_then(|step| step.frame.as_ref());
        let (text, took) = match (&first.frame, last) {
            (Some(one), Some(last)) if run > 1 => {
                let bytes: usize = these
                    .iter()
                    .filter_map(|step| step.frame.as_ref())
                    .map(|frame| frame.bytes.saturating_sub(8))
                    .sum();
                let stream = one.stream.unwrap_or_default();
                let text = format!("DATA {stream}, {run} frames, {bytes} bytes");
                (text, Some(last.until.saturating_sub(one.at)))
            }
            _ => (first.text.clone(), first.took),
        };
        let text = if first.sight == Sight::Unseen {
            format!("{text} (not visible from here)")
        } else {
            text
        };
        rows.push(Row {
            from: first.from,
            to: first.to,
            text,
            at: first.at,
            took,
            sight: first.sight,
        });
    }
    rows
}

/// Lifelines, and the arrow between two of them.
fn ladder(row: &Row) -> String {
    let column = |actor: Actor| {
        let index = Actor::ALL.iter().position(|a| *a == actor).unwrap_or(0);
        index
            .saturating_mul(PITCH)
            .saturating_add(MARGIN.saturating_sub(18))
    };
    // All lifelines are in even columns.
    let width = column(Actor::Pod).saturating_add(1);
    let mut cells = vec![' '; width];
    let mut put = |at: usize, c: char| {
        if let Some(cell) = cells.get_mut(at) {
            *cell = c;
        }
    };
    for actor in Actor::ALL {
        put(column(actor), '|');
    }
    let (from, to) = (column(row.from), column(row.to));
    if from == to {
        put(from, if row.sight == Sight::Failed { 'x' } else { 'o' });
    } else {
        let (low, high) = (from.min(to).saturating_add(1), from.max(to));
        for at in low..high {
            let on_lifeline = Actor::ALL.iter().any(|actor| column(*actor) == at);
            let dashed = row.sight == Sight::Unseen;
            let c = match (on_lifeline, dashed) {
                (true, _) => '+',
                (false, false) => '-',
                (false, true) if !at.is_multiple_of(2) => '.',
                (false, true) => ' ',
            };
            put(at, c);
        }
        let tip = if from < to {
            high.saturating_sub(1)
        } else {
            low
        };
        put(
            tip,
            match (row.sight, from < to) {
                (Sight::Failed, _) => 'x',
                (_, true) => '>',
                (_, false) => '<',
            },
        );
    }
    cells.into_iter().collect()
}

/// Names that Mermaid takes for nothing else.
const fn mermaid_id(actor: Actor) -> &'static str {
    match actor {
        Actor::App => "app",
        Actor::Pf => "pf",
        Actor::Server => "api",
        Actor::Kubelet => "kubelet",
        Actor::Runtime => "runtime",
        Actor::Pod => "pod",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(from: Actor, to: Actor, sight: Sight) -> Step {
        let seen = sight != Sight::Unseen;
        Step {
            key: (Duration::ZERO, 0, 0),
            from,
            to,
            text: "a;b #c".to_owned(),
            at: seen.then(|| Duration::from_micros(12_345)),
            took: None,
            sight,
            frame: None,
        }
    }

    #[test]
    fn arrows() {
        let steps = [
            one(Actor::Pf, Actor::Runtime, Sight::Seen),
            one(Actor::Kubelet, Actor::Server, Sight::Unseen),
            one(Actor::Runtime, Actor::Pod, Sight::Failed),
            one(Actor::Pf, Actor::Pf, Sight::Seen),
        ];
        let facts = Facts::default();
        let picture = Picture {
            facts: &facts,
            steps: &steps,
            dropped: 0,
            notes: &["n".to_owned()],
            exit: 0,
            error: None,
        };
        assert_eq!(
            picture.text(),
            "  at ms    took   app     pf      API   kubelet runtime   pod
  12.35            |       |-------+-------+------>|       |  a;b #c
                   |       |       |< . . .|       |       |  a;b #c (not visible from here)
  12.35            |       |       |       |       |------x|  a;b #c
  12.35            |       o       |       |       |       |  a;b #c
* n
"
        );
        let mermaid = picture.mermaid();
        assert!(
            mermaid.contains("    pf->>runtime: 12.35 ms: a#59;b #35;c\n"),
            "{mermaid}"
        );
        assert!(
            mermaid.contains("    kubelet--)api: a#59;b #35;c (not visible from here)\n"),
            "{mermaid}"
        );
        assert!(mermaid.contains("    runtime-xpod: "), "{mermaid}");
        assert!(mermaid.contains("    Note over pf: "), "{mermaid}");
    }
}
