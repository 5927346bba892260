//! Any text as a label selector: see `apimachinery::fuzzed`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| apimachinery::fuzzed::label_selector(text));
