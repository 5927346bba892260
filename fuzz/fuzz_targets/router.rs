//! Any path and query: the input is a path, and a query behind the first `?`. See `api::fuzzed`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    api::fuzzed::router(path, query);
});
