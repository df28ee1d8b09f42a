//! A target with a mistake: it takes the last byte of a text for the end of its line.
//!
//! `cargo run -p stash-fuzz --example broken` writes one committed input, which the target takes, and
//! shows the mutation that it does not take.

#![allow(clippy::print_stdout, reason = "it shows what it found")]

use std::error::Error;
use std::panic;

use stash_fuzz::{Corpus, seed};

/// A line of text, without its end. Promise: what is cut off is an end of line.
fn line(bytes: &[u8]) -> bool {
    let Some((end, _line)) = bytes.split_last() else {
        return false;
    };
    assert_eq!(*end, b'\n', "a byte of the line was cut off");
    true
}

fn main() -> Result<(), Box<dyn Error>> {
    let package = tempfile::tempdir()?;
    let corpus = package.path().join("fuzz/corpus/line");
    std::fs::create_dir_all(&corpus)?;
    std::fs::write(corpus.join("hello"), "hello\n")?;
    let corpus = Corpus::open(package.path(), "line", line, &[seed("hello", "hello\n")]);
    corpus.run(0);
    println!("every committed input keeps the promise");
    match panic::catch_unwind(|| corpus.run(1_000)) {
        Ok(()) => Err("no mutation showed the mistake".into()),
        Err(_) => {
            println!("a mutation breaks it: the lines above say which, and how to replay it");
            Ok(())
        }
    }
}
