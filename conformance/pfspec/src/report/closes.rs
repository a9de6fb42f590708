//! How the connections of a result ended.

use crate::probe::ending::Ending;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ways to end that a line names.
const NAMED: usize = 3;

/// How one connection ended, as far as the judge saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Close {
    /// Number of the connection within the case, from 1.
    pub connection: usize,
    /// In one word; `close` is a Close frame, whatever came behind it, and `open` that no end was seen.
    #[schemars(extend("enum" = ["open", "fin", "fin-without-close-notify", "rst", "close", "malformed", "failed"]))]
    pub how: String,
    /// Every sign of it in order, the judge's own included.
    pub text: String,
    /// Microseconds since the case began at which the server ended it.
    pub at: Option<u64>,
}

impl From<&Ending> for Close {
    fn from(ending: &Ending) -> Self {
        let micros = |at: std::time::Duration| u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        Self {
            connection: ending.connection,
            how: ending.how.name().to_owned(),
            text: ending.text.clone(),
            at: ending.at.map(micros),
        }
    }
}

/// One line of all of them: `FIN after 12.3 ms`, or `1, 2: FIN; 3: still open`. Empty if there are none.
#[must_use]
pub fn line(closes: &[Close]) -> String {
    if let [one] = closes {
        let at = one.at.map(milliseconds);
        let at = at.map(|at| format!(" after {at}")).unwrap_or_default();
        return format!("{}{at}", one.text);
    }
    let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
    for close in closes {
        let known = groups.iter().position(|(text, _)| *text == close.text);
        // Of the ways to end beyond those that are named it is enough to know how many there are.
        let known = known.or_else(|| (groups.len() > NAMED).then_some(NAMED));
        match known.and_then(|at| groups.get_mut(at)) {
            Some((text, numbers)) => {
                if *text != close.text {
                    *text = "otherwise";
                }
                numbers.push(close.connection);
            }
            None => groups.push((&close.text, vec![close.connection])),
        }
    }
    let texts: Vec<String> = groups
        .iter()
        .map(|(text, numbers)| format!("{}: {text}", list(numbers)))
        .collect();
    texts.join("; ")
}

/// Microseconds as milliseconds.
#[must_use]
pub fn milliseconds(at: u64) -> String {
    format!("{}.{} ms", at / 1000, at % 1000 / 100)
}

fn list(numbers: &[usize]) -> String {
    let shown: Vec<String> = numbers.iter().take(NAMED).map(usize::to_string).collect();
    let more = numbers.len().saturating_sub(NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    shown.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let close = |connection, text: &str| Close {
            connection,
            how: "fin".to_owned(),
            text: text.to_owned(),
            at: (text != "still open").then_some(12_345),
        };
        assert_eq!(line(&[]), "");
        assert_eq!(line(&[close(1, "FIN")]), "FIN after 12.3 ms");
        assert_eq!(line(&[close(1, "still open")]), "still open");
        let many: Vec<Close> = (1..=9)
            .map(|number| close(number, if number == 2 { "RST" } else { "FIN" }))
            .collect();
        assert_eq!(line(&many), "1, 3, 4 and 5 more: FIN; 2: RST");
        let other: Vec<Close> = (1..=6).map(|n| close(n, &format!("Close {n}"))).collect();
        assert_eq!(
            line(&other),
            "1: Close 1; 2: Close 2; 3: Close 3; 4, 5, 6: otherwise"
        );
    }
}
