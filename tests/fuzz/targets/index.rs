//! cargo-fuzz target: see `entries::index`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ferrocket_fuzz::index(bytes));
