//! Any patch of any object: the input is two texts with a NUL between them. See `apimachinery::fuzzed`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some(at) = input.iter().position(|byte| *byte == 0) else { return };
    if let Ok(object) = serde_json::from_slice(&input[..at]) {
        apimachinery::fuzzed::patches(&object, &input[at + 1..]);
    }
});
