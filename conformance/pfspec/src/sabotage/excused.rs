//! What the self-check leaves open, and why.

use crate::select::glob;

/// Faults that no case catches.
const FAULTS: &[(&str, &str)] = &[
    (
        "http/early-bytes-lost",
        "what becomes of bytes behind the head of a request is observed only, since real servers differ",
    ),
    (
        "frame/wrong-length-skipped",
        "frames of a wrong length are sent with --hostile only, and those cases take no part",
    ),
    (
        "session/goaway-missing",
        "a server ends a session in good order when it was idle for hours, and at a client's mistake it may end without",
    ),
    (
        "stream/headers-die",
        "no case of its clause asks that the session goes on: HEADERS may cost it",
    ),
    (
        "still/while-its-writes-wait",
        "only a case that loads the server writes enough to show it, and such cases take no part",
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

/// Cases that say nothing about the embedded cluster, and so meet no fault.
const SILENT: &[(&str, &str)] = &[(
    "exec/*",
    "the embedded cluster serves no exec: tests/cases.rs has a server for each, right and wrong",
)];

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

/// Why a case (`ID@WAY`) says nothing about the embedded cluster.
#[must_use]
pub fn silent(name: &str) -> Option<&'static str> {
    reason(SILENT, name)
}

/// Why a case (`ID@WAY`) catches no fault.
#[must_use]
pub fn case(name: &str) -> Option<&'static str> {
    reason(CASES, name)
}
