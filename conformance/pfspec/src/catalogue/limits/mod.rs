//! `limits/`: chapter 14, limits and abuse.

pub(super) mod blocks;
pub(super) mod counts;
pub(super) mod floods;
