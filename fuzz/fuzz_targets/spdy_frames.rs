//! Any bytes as what a SPDY client sends: see `node_api::spdy::frame::fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| node_api::spdy::frame::fuzz(input));
