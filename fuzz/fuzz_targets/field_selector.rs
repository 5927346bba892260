//! Any text as a field selector: see `apimachinery::fuzzed`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| apimachinery::fuzzed::field_selector(text));
