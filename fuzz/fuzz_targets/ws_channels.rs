//! Z11. Channels in both formats: no byte on another channel.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wsstream::fuzz::channels(data));
