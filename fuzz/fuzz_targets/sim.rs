//! Client, relay and node over a network in memory: the bytes decide what happens.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portforward::sim::bytes(data));
