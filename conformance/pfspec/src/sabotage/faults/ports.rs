//! Faults in how channels are asked for.

use super::super::{Act, Asked, Fault};
use crate::case::Way::{self, Http, V4, V4Base64};

const WITH_HTTP: &[Way] = &[Http, V4, V4Base64];

const fn asked(
    id: &'static str,
    title: &'static str,
    breaks: &'static [&'static str],
    act: fn(&mut Asked),
) -> Fault {
    Fault::new(id, title, breaks, WITH_HTTP, Act::Request(act))
}

fn is_ports(name: &str) -> bool {
    name == "port" || name == "ports"
}

pub(super) static FAULTS: &[Fault] = &[
    asked(
        "channel/first-port-only",
        "Reads the first port of the query only",
        &["11.1"],
        |a| {
            a.rewrite_query(|name, value| {
                Some(if is_ports(name) {
                    value.split(',').next().unwrap_or_default().to_owned()
                } else {
                    value.to_owned()
                })
            });
        },
    ),
    asked(
        "channel/ports-reversed",
        "Takes the ports in reverse",
        &["11.1"],
        |a| {
            a.rewrite_query(|name, value| {
                let mut list: Vec<&str> = value.split(',').collect();
                if is_ports(name) {
                    list.reverse();
                }
                Some(list.join(","))
            });
        },
    ),
    asked(
        "channel/ports-sorted",
        "Sorts the ports and takes each once",
        &["11.1"],
        |a| {
            a.rewrite_query(|name, value| {
                let mut list: Vec<&str> = value.split(',').collect();
                if is_ports(name) {
                    list.sort_unstable();
                    list.dedup();
                }
                Some(list.join(","))
            });
        },
    ),
    asked(
        "channel/comma-refused",
        "Refuses a list of ports",
        &["11.1"],
        |a| {
            let query = a
                .head
                .first
                .split_once('?')
                .map(|(_, query)| query.to_owned())
                .unwrap_or_default();
            if query.contains(',') {
                a.refuse("400 Bad Request", "bad ports\n");
            }
        },
    ),
    asked(
        "channel/repeated-parameter",
        "Reads the first parameter of ports only",
        &["11.1"],
        |a| {
            let mut words: Vec<String> = a.head.first.split(' ').map(str::to_owned).collect();
            if let Some(target) = words.get_mut(1)
                && let Some((path, query)) = target.clone().split_once('?')
            {
                let first = query.split('&').find(|part| part.starts_with("port"));
                if let Some(first) = first {
                    *target = format!("{path}?{first}");
                }
            }
            a.head.first = words.join(" ");
        },
    ),
    asked(
        "channel/bad-ports-accepted",
        "Takes any text for a port",
        &["11.2"],
        |a| {
            a.rewrite_query(|name, value| {
                let good = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
                Some(if is_ports(name) && !value.split(',').all(good) {
                    "7000".to_owned()
                } else {
                    value.to_owned()
                })
            });
        },
    ),
    asked(
        "channel/port-0-accepted",
        "Accepts port 0",
        &["11.2", "11.3"],
        |a| {
            a.rewrite_query(|name, value| {
                Some(if is_ports(name) && value == "0" {
                    "7000".to_owned()
                } else {
                    value.to_owned()
                })
            });
        },
    ),
    asked(
        "channel/no-ports-accepted",
        "Accepts a request without ports",
        &["11.3"],
        |a| {
            let channels = a
                .head
                .get("sec-websocket-protocol")
                .contains("channel.k8s.io");
            if channels && !a.head.first.contains('?') {
                a.head.first = a
                    .head
                    .first
                    .replacen(" HTTP/", "?ports=7000&port=7000 HTTP/", 1);
            }
        },
    ),
    asked(
        "channel/unknown-subprotocol",
        "Takes every subprotocol for v4",
        &["11.6"],
        |a| {
            let offered = a.head.get("sec-websocket-protocol").to_owned();
            if a.head.upgrades_to("websocket")
                && !offered.contains("v4.")
                && !offered.contains("SPDY/3.1+")
                && !offered.is_empty()
            {
                a.head.set("Sec-WebSocket-Protocol", "v4.channel.k8s.io");
            }
        },
    ),
    asked(
        "channel/no-base64",
        "Does not know the base64 form",
        &["11.4"],
        |a| {
            if a.head.get("sec-websocket-protocol").contains("base64") {
                a.refuse("403 Forbidden", "");
            }
        },
    ),
    asked(
        "channel/first-subprotocol-only",
        "Looks at the first subprotocol of the list only",
        &["11.4", "10.4"],
        |a| {
            let offered = a.head.get("sec-websocket-protocol").to_owned();
            if let Some((first, _)) = offered.split_once(',') {
                a.head.set("Sec-WebSocket-Protocol", first.trim());
            }
        },
    ),
    asked(
        "channel/encoded-comma-refused",
        "Refuses a comma that is percent-encoded",
        &["11.1"],
        |a| {
            if a.head.first.to_ascii_lowercase().contains("%2c") {
                a.refuse("400 Bad Request", "bad ports\n");
            }
        },
    ),
    asked(
        "channel/no-binary",
        "Does not know the binary form",
        &["11.4"],
        |a| {
            let offered = a.head.get("sec-websocket-protocol");
            if offered
                .split(',')
                .any(|name| name.trim() == "v4.channel.k8s.io")
            {
                a.refuse("403 Forbidden", "");
            }
        },
    ),
    asked(
        "channel/low-ports-refused",
        "Refuses ports below 1024",
        &["6.28", "11.2"],
        |a| {
            let mut low = false;
            if let Some((_, query)) = a.head.first.split_once('?') {
                let query = query.split(' ').next().unwrap_or_default();
                low = query
                    .split('&')
                    .filter_map(|part| part.split_once('='))
                    .filter(|(name, _)| is_ports(name))
                    .flat_map(|(_, value)| value.split(','))
                    .any(|port| {
                        port.parse::<u16>()
                            .is_ok_and(|port| (1..1024).contains(&port))
                    });
            }
            if low {
                a.refuse("400 Bad Request", "bad ports\n");
            }
        },
    ),
];
