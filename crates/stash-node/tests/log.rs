//! A log that cannot be written: the node goes on, and stops as ever.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

use std::io::Write;
use std::process::{Child, Stdio};

use crate::common::{Node, code, noise, private_dir, send, stash, stderr, until, wait};
use rustix::process::Signal;
use tempfile::TempDir;

/// A node whose log goes there, at the level that logs most.
fn started(stderr: Stdio) -> (TempDir, Child) {
    let home = private_dir();
    let mut up = stash(home.path(), &home.path().join("data"));
    up.args(["up", "-vv", "--listen", "127.0.0.1:0"]).stdout(Stdio::null()).stderr(stderr);
    (home, up.spawn().unwrap())
}

/// Serves, and leaves nothing behind when it is told to stop.
fn serves_and_stops(home: &TempDir, mut node: Child) {
    let data = home.path().join("data");
    let ready = data.join("ready.json");
    until("the node serves", || {
        assert_eq!(node.try_wait().unwrap(), None, "the node has ended");
        ready.exists()
    });
    std::fs::write(home.path().join("f"), noise(1, 300_000)).unwrap();
    for arguments in [&["put", "f"][..], &["gc"], &["scrub"], &["cat", "f"], &["status"]] {
        let output = stash(home.path(), &data).args(arguments).output().unwrap();
        assert_eq!(code(&output), 0, "{arguments:?}: {}", stderr(&output));
    }
    send(&node, Signal::TERM);
    assert_eq!(wait(&mut node).code(), Some(0));
    assert!(!ready.exists() && !data.join("stash.sock").exists());
}

#[test]
fn a_node_whose_log_is_on_a_full_disk_serves_and_stops() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (home, node) = started(Stdio::from(full));
    serves_and_stops(&home, node);
}

#[test]
fn a_node_whose_log_nobody_reads_any_more_serves_and_stops() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (home, node) = started(Stdio::from(writer));
    drop(reader);
    serves_and_stops(&home, node);
}

#[test]
fn a_put_that_the_quota_refuses_makes_no_task_panic() {
    let node = Node::start_in(private_dir(), |command| {
        command.args(["--quota-hard", "3 MiB"]);
    });
    let mut put = node
        .command(&["put", "-", "--as", "k"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A put that was refused does not read on.
    let _refused = put.stdin.take().unwrap().write_all(&noise(1, 8 << 20));
    assert_eq!(wait(&mut put).code(), Some(8));
    let (_home, log) = node.stop();
    assert!(!log.iter().any(|line| line.contains("panicked")), "{log:#?}");
}
