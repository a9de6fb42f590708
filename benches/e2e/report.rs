//! The table, and everything as JSON.

use crate::child::Client;
use crate::machine::Machine;
use crate::measure::{Goal, Measure, Round};
use benches::stats::Spread;
use serde_json::{Value, json};
use std::fmt;

const OTHERS: [Client; 2] = [Client::KubectlSpdy, Client::Kubectl];

struct Ratio {
    spread: Spread,
    goal: Option<Goal>,
}

impl Ratio {
    fn verdict(&self) -> String {
        match self.goal {
            Some(goal) if goal.met(self.spread.median) => format!("{goal} met"),
            Some(goal) => format!("{goal} **not met**"),
            None => "-".to_owned(),
        }
    }
}

struct Row {
    measure: Measure,
    clients: Vec<Option<Spread>>,
    ratios: Vec<Option<Ratio>>,
}

pub(crate) struct Table {
    rows: Vec<Row>,
    rounds: usize,
    disturbed: Vec<(usize, usize)>,
}

impl Table {
    pub(crate) fn of(rounds: &[Round]) -> Self {
        let rows = Measure::ALL
            .into_iter()
            .map(|measure| Row {
                measure,
                clients: Client::ALL
                    .into_iter()
                    .map(|client| {
                        let values = rounds
                            .iter()
                            .filter_map(|it| it.values.get(&(client, measure)));
                        Spread::of(values.copied().collect())
                    })
                    .collect(),
                ratios: OTHERS
                    .into_iter()
                    .map(|other| {
                        let ratios = rounds.iter().filter_map(|it| it.ratio(measure, other));
                        Some(Ratio {
                            spread: Spread::of(ratios.collect())?,
                            goal: measure.goal(other),
                        })
                    })
                    .collect(),
            })
            .collect();
        let disturbed = rounds
            .iter()
            .enumerate()
            .filter(|(_, round)| round.disturbed > 0)
            .map(|(number, round)| (number + 1, round.disturbed))
            .collect();
        Self {
            rows,
            rounds: rounds.len(),
            disturbed,
        }
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let clients = Client::ALL
                .iter()
                .zip(&row.clients)
                .map(|(client, spread)| {
                    (client.to_string(), spread.map_or(Value::Null, spread_json))
                });
            let ratios = OTHERS.iter().zip(&row.ratios).map(|(other, ratio)| {
                let value = ratio.as_ref().map_or(Value::Null, |it| {
                    let mut value = spread_json(it.spread);
                    value["goal"] = it.goal.map_or(Value::Null, |goal| json!(goal.to_string()));
                    value["met"] = json!(it.goal.map(|goal| goal.met(it.spread.median)));
                    value
                });
                (format!("pf / {other}"), value)
            });
            json!({
                "measure": row.measure.name(),
                "unit": row.measure.unit(),
                "clients": clients.collect::<serde_json::Map<_, _>>(),
                "ratios": ratios.collect::<serde_json::Map<_, _>>(),
            })
        });
        rows.collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![heading()];
        for row in &self.rows {
            let mut cells = vec![format!("{}, {}", row.measure.name(), row.measure.unit())];
            for spread in &row.clients {
                cells
                    .push(spread.map_or_else(dash, |it| show(it, |value| row.measure.show(value))));
            }
            for ratio in &row.ratios {
                let shown = ratio
                    .as_ref()
                    .map(|it| (show(it.spread, |value| format!("{value:.2}")), it.verdict()));
                let (ratio, verdict) = shown.unwrap_or_else(|| (dash(), dash()));
                cells.extend([ratio, verdict]);
            }
            lines.push(cells);
        }
        write_table(f, &lines)?;
        let count = self.rounds;
        writeln!(
            f,
            "\nMedian (min..max), rounds: {count}. Ratios are taken within a round. Single runs vary by\n\
             30 to 40 %, medians of 6 rounds by 10 to 15 %, p99 by more."
        )?;
        for (number, steps) in &self.disturbed {
            writeln!(
                f,
                "warning: round {number}: {steps} steps began on a busy machine"
            )?;
        }
        Ok(())
    }
}

/// As Markdown, the first line as its heading; it is legible as it is too.
pub(crate) fn write_table(f: &mut fmt::Formatter<'_>, lines: &[Vec<String>]) -> fmt::Result {
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| {
            lines
                .iter()
                .map(|line| line[column].len())
                .max()
                .unwrap_or(0)
        })
        .collect();
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

fn heading() -> Vec<String> {
    let mut cells = vec!["measure".to_owned()];
    cells.extend(Client::ALL.iter().map(ToString::to_string));
    for other in OTHERS {
        cells.extend([format!("pf / {other}"), "goal".to_owned()]);
    }
    cells
}

pub(crate) fn dash() -> String {
    "-".to_owned()
}

pub(crate) fn show(spread: Spread, number: impl Fn(f64) -> String) -> String {
    let Spread { median, min, max } = spread;
    format!("{} ({}..{})", number(median), number(min), number(max))
}

pub(crate) fn spread_json(spread: Spread) -> Value {
    json!({"median": spread.median, "min": spread.min, "max": spread.max})
}

/// Every sample of every round, and the table.
pub(crate) fn json(machine: &Machine, rounds: &[Round], table: &Table) -> String {
    let rounds = rounds.iter().map(|round| {
        let mut values = serde_json::Map::new();
        for ((client, measure), value) in &round.values {
            let of_client = values
                .entry(client.to_string())
                .or_insert_with(|| json!({}));
            of_client[format!("{}, {}", measure.name(), measure.unit())] = json!(value);
        }
        json!({
            "order": round.order.map(|client| client.to_string()),
            "busiest_before_a_step_percent": round.busiest,
            "steps_begun_on_a_busy_machine": round.disturbed,
            "values": values,
        })
    });
    let all = json!({
        "machine": machine.json(),
        "rounds": rounds.collect::<Vec<_>>(),
        "table": table.json(),
    });
    format!("{all:#}\n")
}
