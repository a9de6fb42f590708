//! The program as its users drive it: arguments in, lines, files and an exit code out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks is a test that fails"
)]

#[path = "../common/mod.rs"]
mod common;

mod choosing;
mod expectations;
mod interrupt;
mod proxy;
mod replay;
mod servers;
mod usage;
