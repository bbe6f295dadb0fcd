//! cargo-fuzz target: see `entries::properties`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ferrocket_fuzz::properties(bytes));
