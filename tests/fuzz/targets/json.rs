//! cargo-fuzz target: see `entries::json_files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ferrocket_fuzz::json_files(bytes));
