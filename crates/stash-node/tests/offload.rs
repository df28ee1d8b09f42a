//! Room that an evict and a purge give back, with whole programs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test ends at the first thing that goes wrong"
)]

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::common::{Node, code, connected, member, noise, private_dir, stash, stderr, until};

/// Bytes of disk that a directory takes.
fn disk_use(directory: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let Ok(meta) = path.symlink_metadata() else { continue };
        bytes += meta.blocks() * 512;
        if meta.is_dir() {
            bytes += disk_use(&path);
        }
    }
    bytes
}

#[test]
fn after_evict_purge_and_collection_every_disk_is_as_before() {
    let founder = Node::start();
    let (owner, keeper) =
        (member(&founder, "owner", "owner"), member(&founder, "keeper", "keeper"));
    let nodes = [&founder, &owner, &keeper];
    nodes.iter().for_each(|node| connected(node, 3));
    // Directories and indexes that a first file leaves are there before and after.
    for (name, seed) in [("first", 1), ("t/a", 2), ("t/b", 3)] {
        let content = noise(seed, if name == "t/a" { 48 << 20 } else { 3 << 20 });
        founder.file(name, content);
    }
    let put = |name: &str| founder.ok(&["put", name, "--wait", "all"]);
    let purge = |name: &str, records: u64| {
        founder.ok(&["rm", "--purge", "-y", "-r", name]);
        for node in nodes {
            until("the forget has arrived", || node.json(&["status"])["records"] == records);
            node.ok(&["gc", "--now"]);
        }
    };
    put("first");
    purge("first", 1);
    let before = nodes.map(|node| disk_use(&node.data()));
    put("t");
    let full = nodes.map(|node| disk_use(&node.data()));
    for node in [&founder, &owner] {
        let evicted = node.json(&["evict", "-r", "t", "--copies", "1"]);
        assert_eq!((&evicted["files"], &evicted["stopped"]), (&2.into(), &serde_json::Value::Null));
    }
    // Two files and their directory.
    purge("t", 4);
    let after = nodes.map(|node| disk_use(&node.data()));
    println!("bytes of disk before {before:?}, with the files {full:?}, after {after:?}");
    for ((before, full), after) in before.into_iter().zip(full).zip(after) {
        assert!(full > before + (48 << 20), "{before} {full}");
        assert!(after <= before + (full - before) / 100, "{before} {full} {after}");
    }
}

#[test]
fn an_evict_that_finds_no_copy_of_the_rest_ends_with_5_and_says_how_far_it_came() {
    let founder = Node::start();
    let keeper = member(&founder, "keeper", "keeper");
    connected(&founder, 2);
    founder.file("t/a", noise(1, 12 << 20));
    founder.ok(&["put", "t", "--wait", "all"]);
    let home = keeper.kill();
    founder.file("t/b", noise(2, 24 << 20));
    founder.ok(&["put", "t", "--wait", "local"]);
    // A copy of the first file only: there is no room for the second one.
    let keeper = Node::start_in(home, |command| {
        command.args(["--quota-hard", "24 MiB"]);
    });
    connected(&founder, 2);
    until("it is full", || {
        founder.json(&["status"])["full"].as_array().is_some_and(|f| !f.is_empty())
    });

    let output = founder.run(&["evict", "-r", "t", "--copies", "1", "--json"]);
    assert_eq!(code(&output), 5, "{}", stderr(&output));
    let evicted: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(evicted["files"], 1, "{evicted}");
    assert!(evicted["stopped"]["message"].as_str().is_some(), "{evicted}");
    drop(keeper);
}

#[test]
fn a_member_that_keeps_little_puts_and_gets_more_than_it_keeps() {
    const KEEP: u64 = 4 << 20;
    let founder = Node::start();
    let keeper = member(&founder, "keeper", "keeper");
    let ticket = founder.ok(&["invite", "--role", "owner"]);
    let home = private_dir();
    let mut join = stash(home.path(), &home.path().join("data"));
    let join = join.args(["join", ticket.trim(), "--name", "laptop", "--keep", "4MiB"]);
    let joined = join.output().unwrap();
    assert_eq!(code(&joined), 0, "{}", stderr(&joined));
    assert!(stderr(&joined).contains("keep = 4 MiB in "), "{}", stderr(&joined));
    let laptop = Node::start_in(home, |_| {});
    laptop.fails(2, "usage", &["join", ticket.trim(), "--keep", "none"]);
    [&founder, &keeper, &laptop].into_iter().for_each(|node| connected(node, 3));
    let bytes = || laptop.json(&["status"])["bytes"].as_u64().unwrap();

    for file in 0..12 {
        laptop.file(&format!("t/{file}"), noise(file, 1 << 20));
    }
    let put = laptop.json(&["put", "t", "--wait", "all"]);
    assert_eq!((&put["roots"][0]["copies"], &put["roots"][0]["wanted"]), (&2.into(), &2.into()));
    until("no more is here than is kept", || bytes() <= KEEP);
    laptop.ok(&["get", "t", "-o", "out"]);
    for file in 0..12 {
        let got = std::fs::read(laptop.path(&format!("out/{file}"))).unwrap();
        assert!(got == noise(file, 1 << 20), "{file}");
    }
    assert!(bytes() <= KEEP);
    // A removed file comes back although its bytes are elsewhere.
    laptop.ok(&["rm", "t/0"]);
    laptop.ok(&["undelete", "t/0", "--wait", "all"]);
    assert!(laptop.ok(&["status"]).contains("4.0 MiB, no copy"));
    let peers = founder.json(&["peers"]);
    let keeps: Vec<_> = peers["peers"].as_array().unwrap().iter().map(|one| &one["keep"]).collect();
    assert_eq!(keeps, [&serde_json::Value::Null, &serde_json::Value::Null, &KEEP.into()]);
    until("the founder calls it safe", || founder.json(&["status"])["safety"]["verdict"] == "safe");
}
