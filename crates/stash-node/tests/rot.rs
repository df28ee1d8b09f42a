//! Flipped bits in a node's directory, with nobody to heal it from: errors, and never a wrong byte.
//! `cargo xtask chaos rot` does it beside a member, and in many more places.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first thing that goes wrong"
)]

use std::path::Path;
use std::process::Output;

use crate::common::disk::{copy, files_below, flip};
use crate::common::{Node, code, noise, private_dir, stash, stderr};
use tempfile::TempDir;

/// Contents in a record, in the log, and in a file of their own.
const SIZES: [(&str, usize); 4] =
    [("empty", 0), ("inline", 900), ("log", 9_000), ("file", 300_000)];

/// A seed to replay, or a new one.
fn seed() -> u64 {
    let given = std::env::var("STASH_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    given.unwrap_or_else(|| u64::from(now.subsec_nanos()))
}

/// The body of the last record in the log, by the document of the format (B.4, B.5).
fn last_record(segment: &[u8]) -> usize {
    let (mut at, mut last) = (256, None);
    while let Some(header) = segment.get(at..at + 32) {
        let len = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        if header[4] == 1 {
            last = Some(at + 32 + len / 2);
        }
        at = (at + 32 + len).next_multiple_of(8);
    }
    last.unwrap()
}

/// The content of a key: its bytes, or a clear error.
fn read(node: &Node, key: &str) -> Option<Vec<u8>> {
    let Output { status, stdout, stderr } = node.run(&["cat", key]);
    match status.code() {
        Some(0) => Some(stdout),
        Some(5 | 6) if stdout.is_empty() && stderr.len() > 20 => None,
        other => panic!("{key}: exit {other:?}, {}", String::from_utf8_lossy(&stderr)),
    }
}

/// A stopped node with every kind of content in it.
fn stopped() -> TempDir {
    let node = Node::start();
    for (seed, (name, size)) in SIZES.iter().enumerate() {
        let path = node.file(name, noise(seed as u64 + 1, *size));
        node.ok(&["put", path.to_str().unwrap()]);
    }
    node.ok(&["scrub"]);
    node.stop().0
}

// Fault case 78.
#[test]
fn a_flipped_bit_in_any_file_gives_an_error_and_never_a_wrong_byte() {
    let (pristine, seed) = (stopped(), seed());
    eprintln!("STASH_SEED={seed}");
    let data = pristine.path().join("data");
    for (number, path) in files_below(&data).into_iter().enumerate() {
        let name = path.strip_prefix(&data).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        if length == 0 || name.starts_with("store/BALLAST") {
            continue;
        }
        let at = u64::from_le_bytes(noise(seed + number as u64, 8).try_into().unwrap()) % length;
        let home = private_dir();
        copy(pristine.path(), home.path());
        flip(&home.path().join("data").join(name), usize::try_from(at).unwrap());
        let what = format!("seed {seed}: byte {at} of {}", name.display());

        let refused = [("keyring", "backup"), ("store/FORMAT", "stash check --rebuild")];
        if let Some((_, advice)) = refused.iter().find(|(path, _)| name == Path::new(path)) {
            let mut up = stash(home.path(), &home.path().join("data"));
            let up = up.args(["up", "--listen", "127.0.0.1:0"]).output().unwrap();
            assert_eq!(code(&up), 6, "{what}: {}", stderr(&up));
            let said = stderr(&up);
            assert!(said.contains(name.to_str().unwrap()) && said.contains(advice), "{said}");
            continue;
        }
        let node = Node::start_in(home, |_| {});
        assert_eq!(node.keys(), ["empty", "file", "inline", "log"], "{what}");
        for (seed, (key, size)) in SIZES.iter().enumerate() {
            let bytes = noise(seed as u64 + 1, *size);
            if let Some(read) = read(&node, key) {
                assert!(read == bytes, "{what}: {key} has WRONG BYTES");
                continue;
            }
            let path = node.file(key, &bytes);
            node.ok(&["put", path.to_str().unwrap()]);
            assert!(read(&node, key) == Some(bytes), "{what}: {key} was put again");
        }
    }
}

// Fault case 78: what no member has whole stands in the way of nothing else.
#[test]
fn a_record_that_nobody_has_whole_can_be_put_again_or_removed_and_hides_nothing() {
    let node = Node::start();
    for (name, content) in [("other", "other"), ("f", "one"), ("f", "two two"), ("f", "three")] {
        let path = node.file(name, content);
        node.ok(&["put", path.to_str().unwrap()]);
    }
    let (pristine, _) = node.stop();
    let [log] = &files_below(&pristine.path().join("data/store/log"))[..] else { panic!("one") };
    flip(log, last_record(&std::fs::read(log).unwrap()));

    // With the index of names, and where it has to be built again.
    for (lost, remove) in [(false, false), (true, true), (false, true), (true, false)] {
        let home = private_dir();
        copy(pristine.path(), home.path());
        if lost {
            std::fs::remove_dir_all(home.path().join("data/names")).unwrap();
        }
        let node = Node::start_in(home, |_| {});
        let listed = node.json(&["ls"])["entries"].clone();
        let here: Vec<_> =
            listed.as_array().unwrap().iter().map(|one| (&one["key"], &one["here"])).collect();
        assert_eq!(here, [(&"f".into(), &"damaged".into()), (&"other".into(), &"local".into())]);
        assert_eq!(read(&node, "other"), Some(b"other".to_vec()));
        let problem = node.fails(6, "integrity", &["cat", "f"]);
        assert!(problem["hint"].as_str().unwrap().contains("put them again"), "{problem}");
        assert_eq!(code(&node.run(&["scrub"])), 6);
        if remove {
            node.ok(&["rm", "f", "-y"]);
            assert_eq!(node.keys(), ["other"]);
        } else {
            let path = node.file("f", "three");
            node.ok(&["put", path.to_str().unwrap()]);
            assert_eq!(read(&node, "f"), Some(b"three".to_vec()));
            assert_eq!(node.keys(), ["f", "other"]);
        }
        node.ok(&["scrub"]);
        node.ok(&["gc"]);
        assert_eq!(node.json(&["scrub"])["found"], 0, "nothing is left of it");
        node.ok(&["check", "--read-data"]);
    }
}
