//! `spdy/session/`.

pub(super) mod end;

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
