//! Commands that keep a store in order: gc, quota, scrub, check.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first thing that goes wrong"
)]

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::disk::{files_below, flip};
use crate::common::{Node, code, connected, member, noise, private_dir, send, stash, stderr, wait};
use rustix::process::Signal;
use serde_json::Value;

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// Begins a put, hands over so many bytes of it, and cancels it: its chunks stay, and nothing names
/// them.
fn garbage(node: &Node, seed: u64, bytes: usize) {
    let mut put = node
        .command(&["put", "-", "--as", "given-up"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = put.stdin.take().unwrap();
    stdin.write_all(&noise(seed, bytes)).unwrap();
    send(&put, Signal::INT);
    wait(&mut put);
    drop(stdin);
    // Whatever was handed over is made durable with the next commit.
    node.file("seal", seed.to_le_bytes());
    node.ok(&["put", "seal", "--as", &format!("seal {seed}")]);
}

fn bytes_below(dir: &Path) -> u64 {
    files_below(dir).iter().map(|path| std::fs::metadata(path).unwrap().len()).sum()
}

// Fault case 44.
#[test]
fn a_dry_run_promises_what_a_collection_frees() {
    let node = Node::start();
    node.file("kept", noise(1, 3 << 20));
    node.ok(&["put", "kept"]);
    garbage(&node, 2, 8 << 20);
    let chunks = node.data().join("store/chunks");
    let before = bytes_below(&chunks);

    let waiting = node.json(&["gc", "--dry-run"]);
    assert_eq!((number(&waiting["bytes"]), number(&waiting["chunks"])), (0, 0), "{waiting}");
    assert!(number(&waiting["waiting_chunks"]) > 0, "{waiting}");
    let text = node.ok(&["gc", "--dry-run"]);
    assert!(text.starts_with("would free 0 B in 0 chunks; "), "{text}");
    assert_eq!(number(&node.json(&["gc"])["bytes"]), 0, "nothing before its grace");
    let status = node.json(&["status"]);
    assert_eq!(status["gc"]["waiting_chunks"], waiting["waiting_chunks"], "{status}");

    let promised = node.json(&["gc", "--dry-run", "--now"]);
    assert_eq!(promised["chunks"], waiting["waiting_chunks"]);
    let freed = node.json(&["gc", "--now"]);
    assert_eq!((&promised["bytes"], &promised["chunks"]), (&freed["bytes"], &freed["chunks"]));
    assert_eq!(before - bytes_below(&chunks), number(&freed["bytes"]));
    assert_eq!(number(&node.json(&["gc", "--dry-run", "--now"])["bytes"]), 0);
    assert_eq!(node.run(&["cat", "kept"]).stdout, noise(1, 3 << 20));
}

// Fault case 44: with a full quota, everything but puts goes on, and puts do once there is room.
#[test]
fn a_full_quota_refuses_puts_and_nothing_else() {
    let node = Node::start_in(private_dir(), |command| {
        command.args(["--quota-hard", "24 MiB", "--quota-soft", "12 MiB"]);
    });
    assert_eq!(node.json(&["status"])["store"]["state"], "enough");
    node.file("kept", noise(1, 3 << 20));
    node.ok(&["put", "kept"]);
    garbage(&node, 2, 6 << 20);
    node.file("large", noise(3, 20 << 20));
    let problem = node.fails(8, "full", &["put", "large"]);
    assert!(problem["message"].as_str().unwrap().contains("quota"), "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("stash gc"), "{problem}");
    let status = node.json(&["status"])["store"].clone();
    assert_eq!(status["hard"], 24 << 20);
    assert!(status["why"].as_str().unwrap().contains("quota"), "{status}");

    node.file("more", noise(4, 12 << 20));
    node.fails(8, "full", &["put", "more"]);
    assert_eq!(node.run(&["cat", "kept"]).stdout, noise(1, 3 << 20));
    node.ok(&["get", "kept", "-o", "back"]);
    node.ok(&["rm", "seal 2"]);
    assert_eq!(node.keys(), ["kept"]);
    assert!(number(&node.json(&["gc", "--now"])["bytes"]) > 0);
    node.ok(&["put", "more"]);
    assert_eq!(node.run(&["cat", "more"]).stdout, noise(4, 12 << 20));
}

// Fault case 100.
#[test]
fn a_limited_node_says_so_and_sends_no_faster() {
    let owner = Node::start_in(private_dir(), |command| {
        command.args(["--bwlimit", "1MiB:off"]).env("STASH_BACKGROUND_DOWN", "512 KiB");
    });
    let _keeper = member(&owner, "keeper", "nas");
    connected(&owner, 2);
    owner.file("f", noise(1, 3 << 20));
    let begun = Instant::now();
    owner.ok(&["put", "f", "--wait", "all"]);
    // The rate is kept within a tenth.
    assert!(begun.elapsed() >= Duration::from_millis(2_700), "{:?}", begun.elapsed());
    let traffic = owner.json(&["status"])["traffic"].clone();
    assert!(number(&traffic["sent"]) > 3 << 20, "{traffic}");
    let limits = ["up", "down", "background_down"].map(|limit| traffic[limit].as_u64());
    assert_eq!(limits, [Some(1 << 20), None, Some(512 << 10)], "{traffic}");
    let text = owner.ok(&["status"]);
    assert!(text.contains(" sent (at most 1.0 MiB/s), "), "{text}");
    assert!(text.contains("; in the background at most 512.0 KiB/s"), "{text}");
    let home = private_dir();
    let mut slow = stash(home.path(), &home.path().join("data"));
    let slow = slow.args(["up", "--bwlimit", "64KiB"]).output().unwrap();
    assert_eq!(code(&slow), 2);
    assert!(stderr(&slow).contains("128 KiB/s is the least"), "{}", stderr(&slow));
}

// Fault cases 21 and 119: damage that nobody else can heal is named, with the key to those who may
// know it, and ends with 6.
#[test]
fn scrub_and_check_name_the_key_on_an_owner_and_never_on_a_keeper() {
    let owner = Node::start();
    let keeper = member(&owner, "keeper", "nas");
    connected(&owner, 2);
    let address = keeper.json(&["status"])["listen"][0].as_str().unwrap().to_owned();
    owner.file("f", noise(1, 1 << 20));
    owner.ok(&["put", "f", "--as", "secret/plan", "--wait", "all"]);
    let (keeper_home, _) = keeper.stop();
    connected(&owner, 1);

    let [chunk, _mark] = &files_below(&owner.data().join("store/chunks"))[..] else { panic!() };
    flip(chunk, 1_000);
    let scrubbed = fails(&owner, &["scrub"]);
    assert_eq!(scrubbed["unhealed"], 1, "{scrubbed}");
    let damaged = &scrubbed["damaged"][0];
    assert_eq!(damaged["keys"], serde_json::json!(["secret/plan"]));
    let name = damaged["names"][0].as_str().unwrap().to_owned();
    let checked = fails(&owner, &["check"]);
    assert_eq!(checked["damaged"][0]["keys"], serde_json::json!(["secret/plan"]));
    assert_eq!(owner.json(&["status"])["damaged"][0]["keys"][0], "secret/plan");
    let text = String::from_utf8(owner.run(&["scrub"]).stdout).unwrap();
    assert!(text.contains("NOT HEALED: secret/plan: chunk "), "{text}");

    let (owner_home, _) = owner.stop();
    let keeper = Node::start_in(keeper_home, |_| {});
    let [chunk, _mark] = &files_below(&keeper.data().join("store/chunks"))[..] else { panic!() };
    let whole = std::fs::read(chunk).unwrap();
    flip(chunk, 1_000);
    let scrubbed = fails(&keeper, &["scrub"]);
    let damaged = &scrubbed["damaged"][0];
    assert_eq!((damaged["keys"].clone(), &damaged["names"][0]), (Value::Null, &name.into()));
    assert!(!scrubbed.to_string().contains("secret"), "{scrubbed}");

    // The owner's own copy is damaged too; what the keeper gets back heals both.
    std::fs::create_dir_all(chunk.parent().unwrap()).unwrap();
    std::fs::write(chunk, whole).unwrap();
    let (keeper_home, _) = keeper.stop();
    let keeper = Node::start_in(keeper_home, |_| {});
    let rebuilt = keeper.run(&["check", "--rebuild"]);
    assert_eq!(code(&rebuilt), 9, "{}", stderr(&rebuilt));
    let (keeper_home, _) = keeper.stop();
    let data = keeper_home.path().join("data");
    let rebuild = stash(keeper_home.path(), &data).args(["check", "--rebuild", "--json"]).output();
    let rebuild: Value = serde_json::from_slice(&rebuild.unwrap().stdout).unwrap();
    assert_eq!(rebuild["rebuilt"]["announced"], 1, "{rebuild}");
    // Where the owner saw it last: two that both moved do not find each other again.
    let keeper = Node::start_in(keeper_home, |command| {
        command.args(["--listen", &address]);
    });
    let owner = Node::start_in(owner_home, |_| {});
    connected(&owner, 2);
    let scrubbed = owner.json(&["scrub"]);
    assert_eq!(scrubbed["unhealed"], 0, "{scrubbed}");
    assert_eq!(owner.run(&["cat", "secret/plan"]).stdout, noise(1, 1 << 20));
    drop(keeper);
}

/// Runs a command that must end with 6 and give its document all the same.
fn fails(node: &Node, arguments: &[&str]) -> Value {
    let output = node.run(&[arguments, &["--json"]].concat());
    assert_eq!(code(&output), 6, "{arguments:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

// Fault case 78.
#[test]
fn a_store_is_checked_without_a_daemon_and_rebuilt_only_without_one() {
    let node = Node::start();
    node.file("f", noise(1, 2 << 20));
    node.ok(&["put", "f"]);
    let refused = node.fails(9, "refused", &["check", "--rebuild"]);
    assert!(refused["hint"].as_str().unwrap().contains("stash stop"), "{refused}");
    let checked = node.json(&["check", "--read-data"]);
    assert_eq!((&checked["sound"], &checked["found"]), (&Value::Bool(true), &Value::from(0)));
    let (home, _) = node.stop();

    let data = home.path().join("data");
    let run = |arguments: &[&str]| {
        let output = stash(home.path(), &data).args(arguments).arg("--json").output().unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        (code(&output), document)
    };
    let before = std::fs::read(data.join("opens")).unwrap();
    assert_eq!(run(&["check", "--read-data"]).0, 0);
    assert_eq!(std::fs::read(data.join("opens")).unwrap(), before, "it changed nothing");
    let chunk = &files_below(&data.join("store/chunks"))[0];
    flip(chunk, 77);
    assert_eq!(run(&["check"]).0, 0, "contents were not read");
    let (exit, checked) = run(&["check", "--read-data"]);
    assert_eq!((exit, &checked["unhealed"]), (6, &Value::from(1)), "{checked}");
    flip(chunk, 77);
    for path in files_below(&data.join("store/index")) {
        std::fs::remove_file(path).unwrap();
    }
    let (exit, rebuilt) = run(&["check", "--rebuild", "--read-data"]);
    assert_eq!((exit, &rebuilt["rebuilt"]["whole"]), (0, &Value::Bool(true)), "{rebuilt}");
    let node = Node::start_in(home, |_| {});
    assert_eq!(node.run(&["cat", "f"]).stdout, noise(1, 2 << 20));
    let status = node.json(&["status"]);
    assert_eq!(status["alarms"], serde_json::json!([]), "no new incarnation was needed");
}
