//! What a run writes: no secret in it, and each report in its form.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that breaks is a test that fails"
)]

#[path = "../common/mod.rs"]
mod common;

mod capture;
mod endings;
mod forms;
mod json;
mod keys;
mod secrets;
