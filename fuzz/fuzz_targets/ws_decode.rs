//! Z7. WebSocket frames: cutting changes nothing, unmask(unmask(x)) is x.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wsstream::fuzz::decode(data));
