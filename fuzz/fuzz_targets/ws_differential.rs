//! Z7. WebSocket messages as two other implementations read them.
#![no_main]

#[path = "../../wsstream/tests/common/oracle.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    wsstream::fuzz::differential(data, oracle::tungstenite, oracle::allowed);
    wsstream::fuzz::differential(data, oracle::fastwebsockets, oracle::allowed_fast);
});
