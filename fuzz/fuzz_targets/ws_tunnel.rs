//! Z10. The tunnel: bytes in are bytes out, across messages.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wsstream::fuzz::tunnel(data));
