//! x
use crate::case::Case;
pub(in crate::catalogue) const CASES: &[Case] = &[];
