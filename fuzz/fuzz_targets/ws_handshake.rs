//! Z8. Opening handshakes of both roles: what is accepted passes a checklist.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wsstream::fuzz::handshake(data));
