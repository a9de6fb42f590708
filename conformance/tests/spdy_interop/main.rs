//! The crate `spdy` against every independent implementation of SPDY/3.1 there is: frame by frame, and as
//! whole sessions in both roles, with both of our header encodings.
//!
//! | file | what |
//! |---|---|
//! | `peer` | the programs of `conformance/peers/spdy`, and how to talk to them |
//! | `frames` | one line of JSON per frame, and the list of frames |
//! | `codec` | each frame to each peer and back |
//! | `differential` | sequences of frames, right and wrong, beside one peer's framer |
//! | `quirks` | what a peer makes another frame of, or refuses: the reviewed lists |
//! | `drive` | one `spdy::Connection` on a socket, without an async runtime |
//! | `behave` | what a stream does, at both of its ends |
//! | `session` | whole sessions with each peer |
//! | `flow` | windows: much more than fits in one, both ways |
//! | `tshark` | the packet analyser on bytes of ours |
//!
//! Without the programs the tests say so and pass, unless `CI` is set or `PF_REQUIRE_PEERS=1`.

mod behave;
mod codec;
mod differential;
mod drive;
mod flow;
mod frames;
mod peer;
mod quirks;
mod session;
mod tshark;
