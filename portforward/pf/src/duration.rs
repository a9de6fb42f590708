//! Go's duration syntax, as kubectl's flags take it: `30s`, `1m0s`, `1.5h`.

use std::time::Duration;

/// Reads a duration of Go's syntax that is above zero.
///
/// # Errors
/// The text kubectl would print: Go's words for bad syntax, kubectl's for a duration that is not
/// above zero.
pub(crate) fn parse_positive(text: &str) -> Result<Duration, String> {
    let (negative, duration) = parse(text)?;
    if negative || duration.is_zero() {
        return Err("--pod-running-timeout must be higher than zero".to_owned());
    }
    Ok(duration)
}

/// Sign and size. Everything below a nanosecond is cut off, as in Go.
fn parse(text: &str) -> Result<(bool, Duration), String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok((negative, Duration::ZERO));
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let scale = scale(unit)
            .ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
        total = nanoseconds(whole, fraction, scale)
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= LONGEST)
            .ok_or_else(invalid)?;
        rest = after;
    }
    // LONGEST fits.
    Ok((
        negative,
        Duration::from_nanos(u64::try_from(total).unwrap_or(u64::MAX)),
    ))
}

/// Go counts nanoseconds in a signed 64-bit number.
const LONGEST: u128 = i64::MAX as u128;

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

fn scale(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        // Both characters for micro that Go knows.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

fn nanoseconds(whole: &str, fraction: &str, scale: u128) -> Option<u128> {
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    // More digits than these are below a nanosecond of the largest unit.
    let fraction = fraction.get(..fraction.len().min(18))?;
    let part = if fraction.is_empty() {
        0
    } else {
        let size = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        fraction
            .parse::<u128>()
            .ok()?
            .checked_mul(scale)?
            .checked_div(size)?
    };
    whole.checked_mul(scale)?.checked_add(part)
}

/// As Go prints durations of whole seconds: `1m0s`.
pub(crate) fn display(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let millis = duration.subsec_millis();
    let s = if millis == 0 {
        format!("{s}s")
    } else {
        format!("{s}.{millis:03}s")
    };
    match (h, m) {
        (0, 0) => s,
        (0, m) => format!("{m}m{s}"),
        (h, m) => format!("{h}h{m}m{s}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good() {
        let table = [
            ("1m0s", 60_000),
            ("60s", 60_000),
            ("1m", 60_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("1.s", 1_000),
            ("+2s", 2_000),
            ("100ms", 100),
            ("1h2m3s4ms", 3_723_004),
            ("1000000us", 1_000),
            ("1000000\u{b5}s", 1_000),
            ("1000000\u{3bc}s", 1_000),
            ("1000000000ns", 1_000),
        ];
        for (text, millis) in table {
            assert_eq!(
                parse_positive(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn bad_in_gos_words() {
        let zero = "--pod-running-timeout must be higher than zero";
        let table = [
            ("", r#"time: invalid duration """#),
            ("-", r#"time: invalid duration "-""#),
            ("60", r#"time: missing unit in duration "60""#),
            ("1m5", r#"time: missing unit in duration "1m5""#),
            ("s", r#"time: invalid duration "s""#),
            (".s", r#"time: invalid duration ".s""#),
            ("1d", r#"time: unknown unit "d" in duration "1d""#),
            ("1 s", r#"time: unknown unit " s" in duration "1 s""#),
            ("9999999999h", r#"time: invalid duration "9999999999h""#),
            (
                "99999999999999999999999999999999999999999s",
                r#"time: invalid duration "99999999999999999999999999999999999999999s""#,
            ),
            ("0", zero),
            ("0s", zero),
            ("-5s", zero),
            ("0.0000000001s", zero),
        ];
        for (text, error) in table {
            assert_eq!(parse_positive(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn shown_as_go_shows_them() {
        for (millis, text) in [
            (60_000, "1m0s"),
            (5_000, "5s"),
            (3_723_004, "1h2m3.004s"),
            (100, "0.100s"),
        ] {
            assert_eq!(display(Duration::from_millis(millis)), text);
        }
    }
}
