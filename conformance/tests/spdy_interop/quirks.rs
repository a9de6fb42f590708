//! What each peer makes of the frames of the list where that is not the same frame: the reviewed lists.

use conformance::peers::Peer;
use serde_json::{Map, Value, json};
use spdy::HeaderEncoding;

use crate::frames::{Case, cases, cases_without_colons};

/// What a peer makes of a frame.
pub(crate) enum Made {
    /// The same.
    Same,
    /// Something else, for a reason.
    Other(Value, &'static str),
    /// An error, for a reason.
    Refused(&'static str),
    /// Bytes that ours refuses, for a reason.
    Unreadable(&'static str),
}

use Made::{Other, Refused, Same, Unreadable};

/// A peer's list.
pub(crate) struct Codec {
    pub(crate) peer: Peer,
    pub(crate) cases: fn() -> Vec<Case>,
    /// Its decoder is fed so many bytes at a time, too.
    pub(crate) piece: &'static str,
    /// Our frame at its decoder, with that encoding of ours.
    pub(crate) sees: fn(&Case, &Value, HeaderEncoding) -> Made,
    /// Our decoder on what its encoder makes of a frame's line. `Refused`: it has no way to say it, and
    /// is not asked.
    pub(crate) says: fn(&Case, &Value) -> Made,
}

pub(crate) const GO_0_5_1: Codec = Codec {
    peer: Peer::SpdyGo,
    cases,
    piece: "1",
    sees: |_, _, _| Same,
    says: |_, _| Same,
};

pub(crate) const GO_0_2_0: Codec = Codec {
    peer: Peer::SpdyGo020,
    ..GO_0_5_1
};

pub(crate) const NODE: Codec = Codec {
    peer: Peer::SpdyNode,
    cases,
    // It loses part of a header block that comes in very many pieces: of 352 bytes in pieces of 2, say.
    piece: "1460",
    sees: |case, line, _| node_sees(case, line),
    says: node_says,
};

pub(crate) const NETTY: Codec = Codec {
    peer: Peer::SpdyNetty,
    cases,
    piece: "1",
    sees: |_, line, _| netty_sees(line),
    says: netty_says,
};

/// Its header names are those of HTTP/1: none begins with a colon.
pub(crate) const RUST: Codec = Codec {
    peer: Peer::SpdyRust,
    cases: cases_without_colons,
    piece: "1",
    sees: rust_sees,
    says: rust_says,
};

/// The pairs of a line.
fn headers(line: &Value) -> Map<String, Value> {
    line["headers"].as_object().cloned().unwrap_or_default()
}

/// It turns frames into those of HTTP/2.
fn node_sees(case: &Case, line: &Value) -> Made {
    let kind = line["type"].as_str().unwrap_or_default();
    let mut pairs = headers(line);
    match kind {
        "RST_STREAM" if case.name == "reset 99" => {
            let line = json!({"type": kind, "id": line["id"], "status": null});
            return Other(line, "a status without a name is not kept");
        }
        "SETTINGS" => {
            let settings = match case.name.as_str() {
                "settings" => json!({"max_concurrent_streams": 100, "initial_window_size": 65_536}),
                "settings persist" => {
                    json!({"max_concurrent_streams": 1000, "initial_window_size": 1 << 20})
                }
                // It skips the id of a persisted entry and takes its value for the next id.
                "settings persisted" => json!({"initial_window_size": 7}),
                "settings clear" => json!({"initial_window_size": 65_536}),
                _ => json!({}),
            };
            let line = json!({"type": kind, "settings": settings});
            return Other(
                line,
                "names for numbers; CLEAR and the entries' flags are not kept",
            );
        }
        "SYN_STREAM" | "SYN_REPLY" | "HEADERS" => {}
        _ => return Same,
    }
    // As node's HTTP/1 does with repeated fields.
    for value in pairs.values_mut() {
        *value = Value::from(value.as_str().unwrap_or_default().replace('\0', ", "));
    }
    pairs.remove(":version");
    let why = "HEADERS of HTTP/2 for all three; :version, slot, FIN of HEADERS are not kept";
    let head = |id: &Value, fin: Value, priority: Value, unidirectional: Value, pairs| {
        json!({"type": "HEADERS", "id": id, "fin": fin, "priority": priority,
            "unidirectional": unidirectional, "headers": pairs})
    };
    let (id, no) = (&line["id"], json!(false));
    let made = match kind {
        "SYN_STREAM" if line["associated"] != 0 => {
            let status = pairs.remove(":status");
            let push = json!({"type": "PUSH_PROMISE", "id": line["associated"], "promised": id,
                "headers": pairs});
            let status: Map<_, _> = [(":status".to_owned(), json!(status))]
                .into_iter()
                .collect();
            json!([
                push,
                head(id, no.clone(), line["priority"].clone(), no, status)
            ])
        }
        "SYN_STREAM" => head(
            id,
            line["fin"].clone(),
            line["priority"].clone(),
            line["unidirectional"].clone(),
            pairs,
        ),
        "SYN_REPLY" => head(id, line["fin"].clone(), json!(3), no, pairs),
        _ => head(id, no.clone(), json!(3), no, pairs),
    };
    Other(made, why)
}

/// It says what HTTP/2 could.
fn node_says(case: &Case, line: &Value) -> Made {
    let mut line = line.clone();
    let mut pairs = headers(&line);
    let mut add = |name: &str, value: &str| pairs.insert(name.to_owned(), json!(value));
    match (
        line["type"].as_str().unwrap_or_default(),
        case.name.as_str(),
    ) {
        (_, "syn unidirectional" | "syn fin unidirectional") => {
            Refused("there is no UNIDIRECTIONAL in HTTP/2")
        }
        (_, "syn slot") => Refused("slot is always 0"),
        (_, "reply fin" | "headers fin") => Refused("FIN only on SYN_STREAM and DATA"),
        (_, "reply empty block" | "reply empty block again") => {
            Refused("there is always a :status")
        }
        (_, "block not ascii") => {
            Unreadable("the length is that of UTF-8, the bytes are Latin-1's")
        }
        (_, "reset 99") => Refused("statuses by their names"),
        (_, "settings clear") => Refused("no CLEAR"),
        (_, "settings persisted") => Refused("the only flag is PERSIST"),
        (_, "settings") => {
            line["entries"] = json!([[1, 4, 100], [1, 7, 65_536]]);
            Other(line, "each entry has the flag PERSIST")
        }
        ("SYN_STREAM", name) => {
            add(":version", "HTTP/1.1");
            add(":scheme", "https");
            add(":host", "localhost");
            line["headers"] = Value::Object(pairs);
            if name == "syn associated" {
                line["unidirectional"] = json!(false);
            }
            Other(
                line,
                "HTTP's names are always there; a push is not marked UNIDIRECTIONAL",
            )
        }
        ("SYN_REPLY", _) => {
            add(":status", "200 OK");
            line["headers"] = Value::Object(pairs);
            Other(line, "the reason follows the status")
        }
        _ => Same,
    }
}

fn netty_sees(line: &Value) -> Made {
    match line["type"].as_str().unwrap_or_default() {
        "SYN_STREAM" => {
            let mut line = line.clone();
            if let Some(fields) = line.as_object_mut() {
                fields.remove("slot");
            }
            Other(line, "slot is not kept")
        }
        _ => Same,
    }
}

fn netty_says(case: &Case, line: &Value) -> Made {
    match case.name.as_str() {
        "syn slot" => Refused("slot is always 0"),
        "reply empty block" | "reply empty block again" => {
            Unreadable("no bytes at all for a block without pairs: a SYN_REPLY of length 4")
        }
        "block not ascii" => {
            let mut line = line.clone();
            line["headers"]["place"] = json!("Z\u{fffd}rich");
            Other(line, "one byte of Latin-1 for a character")
        }
        _ => Same,
    }
}

fn rust_sees(case: &Case, line: &Value, encoding: HeaderEncoding) -> Made {
    let deflated = encoding != HeaderEncoding::Stored;
    match case.name.as_str() {
        "reset 99" => Refused("a status without a name ends the session"),
        "block long value" if deflated => {
            Refused("it inflates to at most 4 times the block's length and 512 bytes")
        }
        _ => netty_sees(line),
    }
}

fn rust_says(case: &Case, _: &Value) -> Made {
    match case.name.as_str() {
        "syn slot" => Refused("slot is always 0"),
        "reset 99" => Refused("no status without a name"),
        _ => Same,
    }
}
