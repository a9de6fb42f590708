//! What the suites under `tests/` share. They run the program `pf` as its users do: arguments and a
//! kubeconfig in, lines, bytes and an exit code out; nothing here looks inside it.
//!
//! | suite | `pf` talks to | needs |
//! |---|---|---|
//! | `tests/embedded.rs` | its own cluster, `pf --embedded` | nothing |
//! | `tests/cluster/` | the real cluster of `cluster/` | `cluster/up`, or it says that it skips |
//! | `tests/bad_input/` | servers and files of the suite that are wrong in one way each | nothing |
//!
//! Room by room: [`program`] finds and drives the program, [`output`] waits for and reads what it
//! prints, [`cluster`] finds the real cluster, [`cases`] moves bytes through a forwarded port and
//! judges what comes out, [`relay`] is a TCP relay that can be cut, [`script`] an API server that
//! says what it is told to.
//!
//! Everything ends by itself: each wait has a deadline, and a `pf` that is dropped is killed by its
//! own handle. Unix only.

pub mod cases;
pub mod cluster;
pub mod output;
pub mod program;
pub mod relay;
pub mod script;

/// Tells whoever runs the suite something even where the test harness swallows what tests print.
pub fn say(text: &str) {
    use std::io::Write as _;
    // A closed standard error is no reason to fail a test.
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}
