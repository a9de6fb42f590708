//! Z3. Header blocks inflate within their bounds, and as an independent inflater has it.
#![no_main]

#[path = "../../spdy/tests/common/oracle.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut oracle = oracle::Oracle::new();
    spdy::fuzz::inflate(data, |block| oracle.block(block));
});
