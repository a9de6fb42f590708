//! `pfspec`: judges the streaming protocols behind `kubectl port-forward`.
//!
//! A [`case::Case`] asks a server one question that rests on clauses of the specification in `conformance/spec`, on
//! one [`case::Way`]; [`mod@run`] asks many; [`report`] writes down what came. [`probe`] is the judge's own client, which shares no protocol
//! code with the crates of this workspace.

pub mod case;
pub mod catalogue;
pub mod cli;
pub mod dice;
pub mod exit;
pub mod expect;
pub mod interrupt;
pub mod judge;
pub mod keylog;
pub mod probe;
pub mod profile;
pub mod replay;
pub mod report;
pub mod run;
pub mod sabotage;
pub mod screen;
pub mod select;
pub mod spec;
pub mod target;
pub mod trial;
