//! Makes the fixture store that the tests of every later build open: the same bytes every time.
//!
//! ```sh
//! cargo run -p stash-store --example make_fixture -- crates/stash-store/tests/fixtures/v2
//! ```
//!
//! Without a directory, it makes one below that for temporary files.

#![allow(clippy::print_stdout, reason = "a program for people to read")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::PathBuf;

use stash_store::{Committer, Options};

fn main() -> std::io::Result<()> {
    let default = || std::env::temp_dir().join("stash-store-fixture");
    let dir = std::env::args().nth(1).map_or_else(default, PathBuf::from);
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    let options = Options {
        small: 1024,
        segment_bytes: 8192,
        seed: Some([9; 32]),
        committer: Committer::Inline,
        ..Options::default()
    };
    common::fixture::make(&dir, &options);
    // What can be had again from the log, and what git does not keep.
    for path in ["index", "tmp", "quarantine"] {
        let path = dir.join(path);
        if path.exists() {
            std::fs::remove_dir_all(path)?;
        }
    }
    for file in ["LOCK", "SCRUB", "BALLAST"] {
        let path = dir.join(file);
        if path.exists() {
            std::fs::remove_file(path)?;
        }
    }
    for path in common::files_below(&dir) {
        println!("{}", path.display());
    }
    Ok(())
}
