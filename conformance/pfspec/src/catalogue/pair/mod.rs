//! `pf/pair/`: chapter 7, pairs of streams.

pub(super) mod labels;
pub(super) mod matching;
pub(super) mod opening;
pub(super) mod time;
