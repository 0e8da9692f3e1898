//! `token` of `src/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| roomcast::fuzzing::token(bytes));
