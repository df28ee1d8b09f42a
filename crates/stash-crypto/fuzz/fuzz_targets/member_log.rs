#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    stash_crypto::fuzzing::member_log(bytes);
});
