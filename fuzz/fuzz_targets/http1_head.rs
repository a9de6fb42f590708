//! HTTP/1.1 heads of both roles: every split equals the whole.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portforward::fuzz::http1_head(data));
