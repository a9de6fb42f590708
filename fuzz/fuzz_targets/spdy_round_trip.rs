//! Z2. Frames to bytes and back.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spdy::fuzz::round_trip(data));
