#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    stash_crypto::fuzzing::statement(bytes);
});
