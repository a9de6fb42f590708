//! `spdy/stream/`.

pub(super) mod ends;

use crate::case::Case;

pub(super) const CASES: &[Case] = &[];
