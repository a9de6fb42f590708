//! Header blocks on one zlib context: bounded, errors stick.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spdy::fuzz::header_block(data));
