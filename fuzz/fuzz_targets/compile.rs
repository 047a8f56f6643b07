//! Text → checks → plans → files.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| waldo_fuzz::compile(input));
