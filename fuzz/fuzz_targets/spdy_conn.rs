//! Operations and peer bytes on one connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spdy::fuzz::connection(data));
