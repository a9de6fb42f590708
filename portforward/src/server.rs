//! What the gateway and the node have in common: accepting TLS connections within budgets,
//! answering, and what a request says about upgrading.

pub(crate) mod admit;
pub(crate) mod answer;
pub(crate) mod listen;
pub(crate) mod negotiate;
pub(crate) mod websocket;

pub use admit::AcceptLimits;
