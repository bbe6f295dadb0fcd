//! cargo-fuzz target: see `entries::batch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ferrocket_fuzz::batch(bytes));
