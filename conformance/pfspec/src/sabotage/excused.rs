//! What the self-check leaves open, and why.

use crate::select::glob;

/// Faults that no case catches.
const FAULTS: &[(&str, &str)] = &[
    (
        "session/one-second",
        "cases that last as long as it takes to show are slow, and take no part",
    ),
    (
        "pair/timer-short",
        "cases that last as long as it takes to show are slow, and take no part",
    ),
    (
        "pair/lone-stream-dies",
        "cases that last as long as it takes to show are slow, and take no part",
    ),
    (
        "http/early-bytes-lost",
        "what becomes of bytes behind the head of a request is observed only, since real servers differ",
    ),
    (
        "session/client-end-ignored",
        "only the pod sees it, and the embedded pod does not count its connections",
    ),
    (
        "session/goaway-missing",
        "a gap: what a GOAWAY says is looked at where there is one, and a server may end without",
    ),
    (
        "session/goaway-early",
        "a gap: no case of its clauses looks at a GOAWAY while the session goes on",
    ),
    (
        "stream/headers-die",
        "no case of its clause asks that the session goes on: HEADERS may cost it",
    ),
    (
        "error/text-behind-end",
        "a gap: no case asks that a text comes before the end of its error stream",
    ),
    (
        "websocket/data-behind-close",
        "a gap: no case reads on behind Close",
    ),
    (
        "websocket/long-form-dies",
        "a server may end the connection at a length that is not in its shortest form",
    ),
    (
        "channel/fragments",
        "a server may send fragments, and the judge joins them",
    ),
];

/// Cases of the levels MUST and SHOULD that catch no fault, with `*` for anything.
const CASES: &[(&str, &str)] = &[];

fn reason(table: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    let mut known = table.iter();
    known
        .find(|(pattern, _)| glob(pattern, name))
        .map(|(_, reason)| *reason)
}

/// Why no case catches a fault.
#[must_use]
pub fn fault(id: &str) -> Option<&'static str> {
    reason(FAULTS, id)
}

/// Why a case (`ID@WAY`) catches no fault.
#[must_use]
pub fn case(name: &str) -> Option<&'static str> {
    reason(CASES, name)
}
