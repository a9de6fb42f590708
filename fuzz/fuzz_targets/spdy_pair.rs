//! Z5. Two connections, any calls, a wire that can be cut and corrupted.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spdy::fuzz::pair(data));
