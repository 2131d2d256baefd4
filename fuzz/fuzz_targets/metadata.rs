//! `cargo fuzz run metadata`: see `fuzz/README.md`.
#![no_main]

#[path = "../../tests/fuzz/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::check(targets::named("metadata"), bytes));
