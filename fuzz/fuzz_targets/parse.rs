//! Text → tree, and what is said of it.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| waldo_fuzz::parse(input));
