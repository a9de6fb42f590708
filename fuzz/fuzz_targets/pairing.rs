//! Z12. Streams that look for their partner.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portforward::fuzz::pairing(data));
