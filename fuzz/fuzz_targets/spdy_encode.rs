//! Z4. Header blocks of both encodings, read by ours and by an independent inflater.
#![no_main]

#[path = "../../spdy/tests/common/oracle.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut oracle = oracle::Oracle::new();
    spdy::fuzz::encode_blocks(data, |block| oracle.block(block));
});
