//! `cargo fuzz run commit`: see `fuzz/README.md`.
#![no_main]

#[path = "../../tests/fuzz/trust.rs"]
mod trust;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trust::named("commit")(bytes));
