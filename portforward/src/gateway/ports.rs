//! The ports in the query of a forwarding (PROTOCOL.md 4.2).
//!
//! They name the channels of a channel WebSocket. SPDY says its ports later, stream by stream; a query that is
//! there all the same has to be one, as at the real API server (which passes over a pair that it cannot decode; here it is refused).

use crate::escape;
use crate::http1::query_pairs;
use crate::status::Status;
use std::num::IntErrorKind;

/// Characters of a value that an answer shows.
const SHOWN: usize = 64;

/// What the node is asked for: `80,81`, in the order of `query`, of whose parameters `ports` may be repeated and hold
/// lists with commas. Without one the node's own name, `port`, counts, and is the node's to refuse. 0 passes here, as at
/// the real API server, and not there. Empty without either.
///
/// # Errors
/// An item of `ports` that is no decimal number up to 65535, or a query that cannot be decoded: one port
/// that was left out would give the others wrong channels.
pub(super) fn of_query(query: &str) -> Result<String, Status> {
    let mut ports = Vec::new();
    let mut port = Vec::new();
    for pair in query_pairs(query) {
        let (name, value) =
            pair.ok_or_else(|| Status::bad_request("invalid query: it cannot be decoded"))?;
        match name.as_str() {
            "ports" => {
                for item in value.split(',') {
                    ports.push(number(item)?.to_string());
                }
            }
            "port" => port.push(value),
            _ => {}
        }
    }
    if !ports.is_empty() {
        return Ok(ports.join(","));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ',' | '-' | '.');
    // Anything else is no port, and would have to be escaped.
    Ok(port.join(",").replace(|c| !plain(c), "_"))
}

fn number(item: &str) -> Result<u16, Status> {
    let digits = item.bytes().all(|b| b.is_ascii_digit());
    let reason = match item.parse() {
        // A sign is none.
        Ok(number) if digits => return Ok(number),
        Err(e) if digits && *e.kind() == IntErrorKind::PosOverflow => {
            "value out of range, the largest port is 65535"
        }
        _ => "a port is a decimal number",
    };
    let start: String = item.chars().take(SHOWN).collect();
    let rest = if start.len() < item.len() { "..." } else { "" };
    let shown = escape::line(&start);
    Err(Status::bad_request(format!(
        "invalid query parameter \"ports\": unable to parse \"{shown}{rest}\" as a port: {reason}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_order_of_the_query() {
        for (query, ports) in [
            ("", ""),
            ("x=1", ""),
            ("ports=80", "80"),
            ("ports=80,81", "80,81"),
            ("ports=81%2C80", "81,80"),
            ("ports=80&ports=81,80", "80,81,80"),
            ("ports=007000", "7000"),
            ("ports=65535&x=y", "65535"),
            ("ports=0,80", "0,80"),
            ("port=80,81", "80,81"),
            ("port=1&ports=2&port=x", "2"),
            ("port=80&port=abc", "80,abc"),
            ("port=80%26x%3D1%0d%0a", "80_x_1__"),
        ] {
            assert_eq!(of_query(query).unwrap(), ports, "{query}");
        }
    }

    #[test]
    fn what_is_no_port_is_named() {
        let long = format!("ports={}", "9".repeat(100));
        let number = "a port is a decimal number";
        let large = "value out of range, the largest port is 65535";
        let nines = format!("{}...", "9".repeat(64));
        for (query, shown, reason) in [
            ("ports=x", "x", number),
            ("ports", "", number),
            ("ports=", "", number),
            ("ports=80,", "", number),
            ("ports=,80", "", number),
            ("ports=80,x,81", "x", number),
            ("ports=80&ports=x&ports=81", "x", number),
            ("ports=-1", "-1", number),
            ("ports=%2B80", "+80", number),
            ("ports=+80", " 80", number),
            ("ports=80%20", "80 ", number),
            ("ports=0x50", "0x50", number),
            ("ports=80.0", "80.0", number),
            ("ports=1_0", "1_0", number),
            ("ports=%d9%a1", "\u{661}", number),
            ("ports=a%1b%0a", "a\\x1b\\n", number),
            ("ports=65536", "65536", large),
            ("ports=4294967376", "4294967376", large),
            (&long, &nines, large),
        ] {
            let status = of_query(query).unwrap_err();
            assert_eq!((status.code, status.reason.as_str()), (400, "BadRequest"));
            let text = format!(
                "invalid query parameter \"ports\": unable to parse \"{shown}\" as a port: {reason}"
            );
            assert_eq!(status.message, text, "{query}");
        }
        for query in ["ports=%zz", "ports=80&ports=%ff", "ports=80&%"] {
            assert_eq!(of_query(query).unwrap_err().code, 400, "{query}");
        }
    }
}
