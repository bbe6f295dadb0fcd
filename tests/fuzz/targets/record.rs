//! cargo-fuzz target: see `entries::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ferrocket_fuzz::record(bytes));
