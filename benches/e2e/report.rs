//! What came out, as tables for README.md and as JSON.

use crate::client::Client;
use crate::cores::{OURS, THEIRS};
use crate::goals::{self, Bound, Goal};
use crate::machine::Machine;
use crate::measure::Measure;
use crate::parts::Part;
use crate::rounds::Round;
use benches::stats::Spread;
use serde_json::{Map, Value, json};
use std::fmt;

pub(crate) struct Report {
    part: Part,
    clients: Vec<Client>,
    rounds: Vec<Round>,
    goals: Vec<Goal>,
}

impl Report {
    pub(crate) fn of(part: Part, clients: &[Client], rounds: Vec<Round>) -> Self {
        let clients = clients.to_vec();
        let goals = goals::of(part);
        Self {
            part,
            clients,
            rounds,
            goals,
        }
    }

    fn spread(&self, client: Client, measure: Measure) -> Option<Spread> {
        let rounds = self.rounds.iter();
        Spread::of(
            rounds
                .filter_map(|it| it.values.get(&(client, measure)).copied())
                .collect(),
        )
    }

    /// Taken within each round.
    fn reached(&self, goal: &Goal) -> Option<Spread> {
        let Some(other) = goal.beside else {
            return self.spread(goal.of, goal.measure);
        };
        let ratios = self.rounds.iter().filter_map(|round| {
            let of = |client| round.values.get(&(client, goal.measure));
            Some(of(goal.of)? / of(other)?)
        });
        Spread::of(ratios.collect())
    }

    fn values(&self) -> Vec<Vec<String>> {
        let mut heading = vec!["measure".to_owned()];
        heading.extend(self.clients.iter().map(ToString::to_string));
        let mut lines = vec![heading];
        for measure in Measure::ALL {
            let spreads = self.clients.iter().map(|it| self.spread(*it, measure));
            let spreads: Vec<_> = spreads.collect();
            if spreads.iter().all(Option::is_none) {
                continue;
            }
            let mut line = vec![measure.with_unit()];
            line.extend(
                spreads
                    .into_iter()
                    .map(|it| it.map_or_else(dash, |it| show(it, |value| measure.show(value)))),
            );
            lines.push(line);
        }
        lines
    }

    fn judged(&self) -> Vec<Vec<String>> {
        let heading = ["row", "measure", "of", "reached", "pass", "stretch"];
        let mut lines = vec![heading.map(str::to_owned).to_vec()];
        for goal in &self.goals {
            let reached = self.reached(goal);
            let number = |value| match goal.beside {
                Some(_) => format!("{value:.2}"),
                None => format!("{} {}", goal.measure.show(value), goal.measure.unit()),
            };
            let judge = |bound: Bound| match reached {
                Some(reached) => format!("{bound} {}", bound.verdict(reached.median)),
                None => format!("{bound} not measured"),
            };
            lines.push(vec![
                goal.row.to_owned(),
                goal.measure.name().to_owned(),
                goal.who(),
                reached.map_or_else(dash, |it| show(it, number)),
                judge(goal.pass),
                goal.stretch.map_or_else(dash, judge),
            ]);
        }
        lines
    }

    pub(crate) fn json(&self, machine: &Machine) -> Value {
        let rounds = self.rounds.iter().map(|round| {
            let mut values = Map::new();
            for ((client, measure), value) in &round.values {
                let of_client = values
                    .entry(client.to_string())
                    .or_insert_with(|| json!({}));
                of_client[measure.with_unit()] = json!(value);
            }
            let order: Vec<String> = round.order.iter().map(ToString::to_string).collect();
            json!({
                "order": order,
                "busiest_before_a_step_percent": round.busiest,
                "steps_begun_on_a_busy_machine": round.disturbed,
                "steps": round.steps,
                "values": values,
            })
        });
        let goals = self.goals.iter().map(|goal| {
            let reached = self.reached(goal);
            let verdict = |bound: Bound| reached.map(|it| bound.verdict(it.median));
            json!({
                "row": goal.row,
                "measure": goal.measure.name(),
                "of": goal.who(),
                "reached": reached.map(|it| json!({"median": it.median, "min": it.min, "max": it.max})),
                "pass": goal.pass.to_string(),
                "passed": verdict(goal.pass),
                "stretch": goal.stretch.map(|it| it.to_string()),
                "stretched": goal.stretch.and_then(verdict),
            })
        });
        json!({
            "part": format!("{:?}", self.part),
            "machine": machine.json(),
            "rounds": rounds.collect::<Vec<_>>(),
            "goals": goals.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_table(f, &self.values())?;
        writeln!(f)?;
        write_table(f, &self.judged())?;
        writeln!(
            f,
            "\nMedian (min..max), rounds: {}, where {} are asked for. Ratios are taken within a round. Single runs vary by\n\
             30 to 40 %, medians of 6 rounds by 10 to 15 %, p99 by more; what is within 10 % of its goal is not decided.",
            self.rounds.len(),
            self.part.rounds()
        )?;
        if self.part.pinned() {
            writeln!(
                f,
                "Clients alone on core {THEIRS}, server and driver on core {OURS}."
            )?;
        }
        for (number, round) in self.rounds.iter().enumerate() {
            if round.disturbed > 0 {
                writeln!(
                    f,
                    "warning: round {}: {} of {} steps began on a busy machine",
                    number + 1,
                    round.disturbed,
                    round.steps
                )?;
            }
        }
        Ok(())
    }
}

/// As Markdown, the first line as its heading; it is legible as it is too.
fn write_table(f: &mut fmt::Formatter<'_>, lines: &[Vec<String>]) -> fmt::Result {
    let widest = |column: usize| lines.iter().map(|line| line[column].len()).max();
    let columns = 0..lines[0].len();
    let widths: Vec<usize> = columns.map(|it| widest(it).unwrap_or(0)).collect();
    for (number, cells) in lines.iter().enumerate() {
        for (cell, width) in cells.iter().zip(&widths) {
            write!(f, "| {cell:width$} ")?;
        }
        writeln!(f, "|")?;
        if number == 0 {
            for width in &widths {
                write!(f, "|{:-<1$}", "", width + 2)?;
            }
            writeln!(f, "|")?;
        }
    }
    Ok(())
}

fn dash() -> String {
    "-".to_owned()
}

fn show(spread: Spread, number: impl Fn(f64) -> String) -> String {
    let Spread { median, min, max } = spread;
    format!("{} ({}..{})", number(median), number(min), number(max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_every_part_is_shown_measured_or_not() {
        for part in [Part::Real, Part::Peer, Part::Pinned, Part::Free] {
            let mut round = Round::new(part.clients().to_vec());
            let first = goals::of(part)[0];
            round.values.insert((first.of, first.measure), 1.0);
            let other = first.beside.unwrap();
            round.values.insert((other, first.measure), 2.0);
            let shown = Report::of(part, part.clients(), vec![round]).to_string();
            for goal in goals::of(part) {
                assert!(shown.contains(goal.row), "{shown}");
            }
            assert!(shown.contains("0.50 (0.50..0.50)"), "{shown}");
            assert!(shown.contains("not measured"), "{shown}");
        }
    }
}
