//! All cases, by group.

mod authz;
mod backpressure;
mod channel;
mod data;
mod error;
mod frame;
mod half_close;
mod header;
mod idle;
mod limits;
mod load;
mod negotiation;
mod pair;
mod pods;
mod reset;
mod session;
mod stream;
mod tunnel;
mod upgrade;
mod websocket;

use crate::case::Case;

/// Every case, in the order of reports.
#[must_use]
pub fn all() -> Vec<Case> {
    let groups: &[&[Case]] = &[
        upgrade::CASES,
        negotiation::CASES,
        authz::CASES,
        frame::CASES,
        header::CASES,
        stream::CASES,
        session::CASES,
        pair::opening::CASES,
        pair::labels::CASES,
        pair::matching::CASES,
        pair::time::CASES,
        data::CASES,
        error::CASES,
        half_close::CASES,
        reset::CASES,
        backpressure::CASES,
        tunnel::CASES,
        websocket::CASES,
        channel::CASES,
        limits::blocks::CASES,
        limits::counts::CASES,
        limits::floods::CASES,
        load::CASES,
        idle::CASES,
    ];
    groups.concat()
}
