#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fugitive_fuzz::ticket(bytes));
