//! Z1. Bytes to frames: every split equals the whole.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spdy::fuzz::decode(data));
