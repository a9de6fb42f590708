//! Faults in channels.

use super::super::{Act, Channels, Fault, Side};
use crate::case::Way::{self, V4, V4Base64};
use crate::probe::websocket::{CLOSE, LAST};
use std::time::Duration;

const BOTH: &[Way] = &[V4, V4Base64];

const fn fault(
    id: &'static str,
    title: &'static str,
    breaks: &'static [&'static str],
    act: fn(&mut Channels, Side, u8, Vec<u8>),
) -> Fault {
    Fault::new(id, title, breaks, BOTH, Act::Channels(act))
}

/// The first message of the server on a channel.
fn first(c: &mut Channels, side: Side, channel: u8, act: impl FnOnce(&mut Channels)) {
    if side == Side::Server && c.is_first(channel) {
        act(c);
    } else {
        c.pass();
    }
}

/// Data of the server.
fn down(c: &mut Channels, side: Side, channel: u8, act: impl FnOnce(&mut Channels)) {
    if side == Side::Server && !c.is_first(channel) && channel.is_multiple_of(2) {
        act(c);
    } else {
        c.pass();
    }
}

/// Texts of the server.
fn text(c: &mut Channels, side: Side, channel: u8, act: impl FnOnce(&mut Channels)) {
    if side == Side::Server && !c.is_first(channel) && channel % 2 == 1 {
        act(c);
    } else {
        c.pass();
    }
}

/// What the client sends on channels that are as `bad` says.
fn up(c: &mut Channels, side: Side, bad: bool, act: impl FnOnce(&mut Channels)) {
    if side == Side::Client && bad {
        act(c);
    } else {
        c.pass();
    }
}

pub(super) static FAULTS: &[Fault] = &[
    fault(
        "channel/no-first-message",
        "Does not begin with the port",
        &["11.8"],
        |c, side, channel, _| {
            first(c, side, channel, |_| {});
        },
    ),
    fault(
        "channel/first-on-data-only",
        "The port on data channels only",
        &["11.8"],
        |c, side, channel, _| {
            first(c, side, channel, |c| {
                if channel % 2 == 0 {
                    c.pass();
                }
            });
        },
    ),
    fault(
        "channel/first-big-endian",
        "The port with its highest byte first",
        &["11.8"],
        |c, side, channel, payload| {
            first(c, side, channel, |c| {
                let other: Vec<u8> = payload.iter().rev().copied().collect();
                c.client(channel, &other);
            });
        },
    ),
    fault(
        "channel/first-other-port",
        "Another port in the first message",
        &["11.8"],
        |c, side, channel, payload| {
            first(c, side, channel, |c| {
                let other: Vec<u8> = payload.iter().map(|byte| byte ^ 1).collect();
                c.client(channel, &other);
            });
        },
    ),
    fault(
        "channel/first-as-text",
        "The port in decimal",
        &["11.8"],
        |c, side, channel, payload| {
            first(c, side, channel, |c| {
                let port = payload
                    .first_chunk()
                    .map_or(0, |two| u16::from_le_bytes(*two));
                c.client(channel, port.to_string().as_bytes());
            });
        },
    ),
    fault(
        "channel/first-of-4-bytes",
        "The port in 4 bytes",
        &["11.8"],
        |c, side, channel, payload| {
            first(c, side, channel, |c| {
                c.client(channel, &[&payload[..], &[0, 0]].concat());
            });
        },
    ),
    fault(
        "channel/first-twice",
        "The port twice",
        &["11.8"],
        |c, side, channel, _| {
            first(c, side, channel, |c| {
                c.pass();
                c.pass();
            });
        },
    ),
    fault(
        "channel/first-behind-data",
        "The port comes behind the first data",
        &["11.8"],
        |c, side, channel, payload| {
            // The pod's number is what its first message would have said.
            if side == Side::Server && channel == 0 {
                if c.is_first(0) {
                    c.n = payload
                        .first_chunk()
                        .map_or(0, |two| u32::from(u16::from_le_bytes(*two)));
                    return;
                }
                c.pass();
                if c.n != 0 {
                    let port = u16::try_from(c.n).unwrap_or(0).to_le_bytes();
                    c.n = 0;
                    c.client(0, &port);
                }
            } else {
                c.pass();
            }
        },
    ),
    fault(
        "channel/first-late",
        "The port comes 8 seconds late",
        &["11.8"],
        |c, side, channel, _| {
            if side == Side::Server && c.is_first(channel) {
                c.pause(Duration::from_secs(8));
            }
            c.pass();
        },
    ),
    fault(
        "channel/text-on-data",
        "Error texts on the data channel",
        &["11.13"],
        |c, side, channel, payload| {
            text(c, side, channel, |c| c.client(channel - 1, &payload));
        },
    ),
    fault(
        "channel/text-missing",
        "No text for a failure",
        &["11.13"],
        |c, side, channel, _| {
            text(c, side, channel, |_| {});
        },
    ),
    fault(
        "channel/text-on-other-port",
        "The text on the next port's error channel",
        &["11.13", "11.7"],
        |c, side, channel, payload| {
            text(c, side, channel, |c| c.client(channel ^ 2, &payload));
        },
    ),
    fault(
        "channel/text-cut",
        "The first 4 bytes of the text only",
        &["11.13"],
        |c, side, channel, payload| {
            text(c, side, channel, |c| {
                c.client(channel, payload.get(..4).unwrap_or_default());
            });
        },
    ),
    fault(
        "channel/text-json",
        "The text is a Status object",
        &["11.13"],
        |c, side, channel, payload| {
            text(c, side, channel, |c| {
                let message = String::from_utf8_lossy(&payload).into_owned();
                let status =
                    serde_json::json!({"status": "Failure", "message": message}).to_string();
                c.client(
                    channel,
                    status.replace(|c: char| c.is_ascii_digit(), "").as_bytes(),
                );
            });
        },
    ),
    fault(
        "channel/numbers-swapped",
        "Data and error channel change places",
        &["11.7"],
        |c, side, channel, payload| {
            if side == Side::Server {
                c.client(channel ^ 1, &payload);
            } else {
                c.pass();
            }
        },
    ),
    fault(
        "channel/numbers-from-1",
        "Channels count from 1",
        &["11.7"],
        |c, side, channel, payload| {
            if side == Side::Server {
                c.client(channel + 1, &payload);
            } else {
                c.pass();
            }
        },
    ),
    fault(
        "channel/numbers-by-kind",
        "All data channels come before the error channels",
        &["11.7"],
        |c, side, channel, payload| {
            if side == Side::Server {
                let other = match channel {
                    1 => 2,
                    2 => 1,
                    other => other,
                };
                c.client(other, &payload);
            } else {
                c.pass();
            }
        },
    ),
    fault(
        "channel/second-on-first",
        "Data of the second port on the first port's channel",
        &["11.7", "11.11"],
        |c, side, channel, payload| {
            down(c, side, channel, |c| c.client(0, &payload));
        },
    ),
    fault(
        "channel/up-to-first",
        "Data for every port goes to the first",
        &["11.7", "11.11"],
        |c, side, channel, payload| {
            up(c, side, channel % 2 == 0 && channel > 0, |c| {
                c.server(0, &payload);
            });
        },
    ),
    fault(
        "channel/data-corrupted",
        "Changes a bit of the data",
        &["11.11"],
        |c, side, channel, mut payload| {
            down(c, side, channel, |c| {
                if let Some(byte) = payload.first_mut() {
                    *byte ^= 1;
                }
                c.client(channel, &payload);
            });
        },
    ),
    fault(
        "channel/byte-lost",
        "Loses the last byte of a message",
        &["11.11"],
        |c, side, channel, mut payload| {
            down(c, side, channel, |c| {
                payload.pop();
                c.client(channel, &payload);
            });
        },
    ),
    fault(
        "channel/data-doubled",
        "Sends data twice",
        &["11.11"],
        |c, side, channel, _| {
            down(c, side, channel, |c| {
                c.pass();
                c.pass();
            });
        },
    ),
    fault(
        "channel/up-lost",
        "Loses the client's first data",
        &["11.11"],
        |c, side, channel, _| {
            up(c, side, channel % 2 == 0, |c| {
                if c.n != 0 {
                    c.pass();
                }
                c.n = 1;
            });
        },
    ),
    fault(
        "channel/up-cut",
        "Takes 1024 bytes of a message",
        &["11.11"],
        |c, side, channel, payload| {
            up(c, side, payload.len() > 1024, |c| {
                c.server(channel, payload.get(..1024).unwrap_or_default());
            });
        },
    ),
    fault(
        "channel/text-only",
        "Data that is no UTF-8 is lost",
        &["11.11"],
        |c, side, _, payload| {
            up(c, side, std::str::from_utf8(&payload).is_err(), |_| {});
        },
    ),
    fault(
        "channel/unknown-dies",
        "Ends the connection at an unknown channel",
        &["11.15"],
        |c, side, channel, _| {
            let served = c.messages.contains_key(&channel);
            up(c, side, !served, Channels::close);
        },
    ),
    fault(
        "channel/unknown-to-first",
        "Takes data of unknown channels for the first",
        &["11.15"],
        |c, side, channel, payload| {
            let served = c.messages.contains_key(&channel);
            up(c, side, !served, |c| c.server(0, &payload));
        },
    ),
    fault(
        "channel/error-channel-dies",
        "Ends the connection at data on an error channel",
        &["11.15"],
        |c, side, channel, _| {
            up(c, side, channel % 2 == 1, Channels::close);
        },
    ),
    fault(
        "channel/error-channel-echoed",
        "Takes data on an error channel for that of the data channel",
        &["11.7"],
        |c, side, channel, payload| {
            up(c, side, channel % 2 == 1, |c| {
                c.server(channel - 1, &payload);
            });
        },
    ),
    fault(
        "channel/no-payload-dies",
        "Ends the connection at a message of a channel number only",
        &["11.14"],
        |c, side, _, payload| {
            up(c, side, payload.is_empty(), Channels::close);
        },
    ),
    fault(
        "channel/first-failure-closes",
        "Closes when the first port is over",
        &["11.18", "11.13"],
        |c, side, channel, _| {
            text(c, side, channel, |c| {
                c.pass();
                c.client_frame(LAST | CLOSE, &1000u16.to_be_bytes());
                c.close();
            });
        },
    ),
    fault(
        "channel/255-closes",
        "Takes channel 255 for CLOSE",
        &["11.15", "11.17"],
        |c, side, channel, _| {
            up(c, side, channel == 255, Channels::close);
        },
    ),
    fault(
        "channel/text-twice",
        "The text twice",
        &["11.13"],
        |c, side, channel, _| {
            text(c, side, channel, |c| {
                c.pass();
                c.pass();
            });
        },
    ),
    fault(
        "channel/stops-at-256k",
        "Sends nothing behind 256 KiB",
        &["9.1", "11.11"],
        |c, side, channel, payload| {
            down(c, side, channel, |c| {
                c.n =
                    c.n.saturating_add(u32::try_from(payload.len()).unwrap_or(u32::MAX));
                if c.n < 256 << 10 {
                    c.pass();
                }
            });
        },
    ),
    fault(
        "channel/dials-again",
        "Begins a connection anew when the client sends behind the pod's answer",
        &["11.12"],
        |c, side, channel, _| {
            let answered = c.messages.get(&channel).is_some_and(|count| *count > 1);
            c.pass();
            if side == Side::Client && answered {
                c.client(channel, b"anew");
            }
        },
    ),
    fault(
        "channel/text-for-success",
        "A text although nothing has failed",
        &["11.13"],
        |c, side, channel, _| {
            down(c, side, channel, |c| {
                c.pass();
                c.client(channel + 1, b"done");
            });
        },
    ),
];
