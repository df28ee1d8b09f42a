//! The functions that a fuzzer runs: one for each thing that people or programs write, which panics
//! when a promise is broken.
//!
//! Compiled for tests and with `cfg(fuzzing)` only. `fuzz/` has a target for each function, and
//! the inputs from which both the fuzzer and the tests below begin. This is a program: the fuzz
//! package has its `main.rs` as a library.

#[cfg(test)]
mod tests;

use std::path::Path;

use arbitrary::Unstructured;

use crate::config::of_text;
use crate::error::Class;
use crate::range::Range;

/// A configuration file: settings that make sense, or a usage error that names the file.
pub fn config(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let path = Path::new("/etc/stash/config.toml");
    match of_text(path, text) {
        Ok(settings) => {
            let name = &settings.name.value;
            assert!((1..=64).contains(&name.len()) && !name.chars().any(char::is_control));
            for path in [&settings.data_dir.value, &settings.socket.value] {
                assert!(path.is_absolute(), "{}", path.display());
            }
            // As `stash config show --json` does.
            assert!(serde_json::to_string(&settings).is_ok());
            true
        }
        Err(problem) => {
            assert_eq!(problem.code, Class::Usage);
            assert!(problem.message.contains("/etc/stash/config.toml"), "{}", problem.message);
            false
        }
    }
}

/// A `Range` header: 8 bytes of the size of the file, then the text.
pub fn range(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let size: u64 = input.arbitrary().unwrap_or_default();
    let Some(range) = std::str::from_utf8(input.take_rest()).ok().and_then(Range::from_header)
    else {
        return false;
    };
    assert_eq!(range.to_string().parse(), Ok(range));
    if let Some(part) = range.within(size) {
        assert!(part.start < part.end && part.end <= size, "{part:?} of {size}");
    }
    true
}
