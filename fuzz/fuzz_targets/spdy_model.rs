//! Z6. One connection beside a simple model of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spdy::fuzz::against_model(data));
