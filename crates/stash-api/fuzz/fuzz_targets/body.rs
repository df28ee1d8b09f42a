#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    stash_api::fuzzing::body(bytes);
});
