//! Anything applied to anything: the input is two texts with a NUL between them. See `apimachinery::fuzzed`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some(at) = input.iter().position(|byte| *byte == 0) else { return };
    let (live, config) = (serde_json::from_slice(&input[..at]), serde_json::from_slice(&input[at + 1..]));
    if let (Ok(live), Ok(config)) = (live, config) {
        apimachinery::fuzzed::applies(&live, &config);
    }
});
