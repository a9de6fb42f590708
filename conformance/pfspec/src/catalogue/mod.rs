//! All cases, by group.

mod authz;
mod backpressure;
mod channel;
mod check;
mod data;
mod error;
mod exec;
mod frame;
mod half_close;
pub(crate) mod header;
mod idle;
mod limits;
mod load;
mod negotiation;
mod pair;
mod pods;
mod reset;
mod session;
mod spdy;
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
        upgrade::refusal::CASES,
        upgrade::proxy::CASES,
        upgrade::heads::CASES,
        upgrade::backend::CASES,
        negotiation::CASES,
        authz::CASES,
        frame::CASES,
        frame::fields::CASES,
        frame::lengths::CASES,
        header::CASES,
        header::zlib::CASES,
        header::blocks::CASES,
        stream::CASES,
        stream::ends::CASES,
        stream::resets::CASES,
        session::CASES,
        session::end::CASES,
        pair::opening::CASES,
        pair::labels::CASES,
        pair::matching::CASES,
        pair::time::CASES,
        data::CASES,
        error::CASES,
        half_close::CASES,
        reset::CASES,
        backpressure::CASES,
        backpressure::pod::CASES,
        tunnel::CASES,
        tunnel::messages::CASES,
        tunnel::end::CASES,
        websocket::CASES,
        websocket::frames::CASES,
        websocket::close::CASES,
        channel::CASES,
        channel::ports::CASES,
        channel::messages::CASES,
        channel::end::CASES,
        exec::CASES,
        limits::blocks::CASES,
        limits::counts::CASES,
        limits::floods::CASES,
        load::CASES,
        idle::CASES,
    ];
    groups.concat()
}
