#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    stash_server::fuzzing::ticket_row(bytes);
});
