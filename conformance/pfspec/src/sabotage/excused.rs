//! What the self-check leaves open, and why.

use super::matrix::matches;

/// Faults that no case catches.
const FAULTS: &[(&str, &str)] = &[(
    "session/client-end-ignored",
    "only the pod sees it, and the embedded pod does not count its connections",
)];

/// Cases of the levels MUST and SHOULD that catch no fault, with `*` for anything.
const CASES: &[(&str, &str)] = &[];

fn reason(table: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    let mut known = table.iter();
    known
        .find(|(pattern, _)| matches(pattern, name))
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
