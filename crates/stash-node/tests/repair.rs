//! Copies that are lost and come back, with whole programs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first thing that goes wrong"
)]

use crate::common::{Node, code, connected, member, noise, until};
use serde_json::Value;

/// The figures of a status about what is held.
fn held(status: &Value) -> [&Value; 3] {
    [&status["records"], &status["chunks"], &status["bytes"]]
}

// Fault case 20.
#[test]
fn a_keeper_of_which_only_the_identity_is_left_is_whole_again_without_a_command() {
    let founder = Node::start();
    let (lost, other) = (member(&founder, "keeper", "lost"), member(&founder, "keeper", "other"));
    connected(&founder, 3);
    founder.file("tree/large", noise(1, 3 << 20));
    founder.file("tree/small", "inline");
    founder.ok(&["put", "tree", "--wait", "all"]);
    let before = other.json(&["status"]);
    connected(&lost, 3);
    // Two files and their directory.
    let all = serde_json::json!([0, 0, 0, 3]);
    until("it is known who has them", || other.json(&["repair", "--dry-run"])["copies"] == all);
    let home = lost.kill();
    for entry in std::fs::read_dir(home.path().join("data")).unwrap() {
        let path = entry.unwrap().path();
        match path.file_name().unwrap().to_str().unwrap() {
            "keyring" | "members" => {}
            _ if path.is_dir() => std::fs::remove_dir_all(path).unwrap(),
            _ => std::fs::remove_file(path).unwrap(),
        }
    }
    founder.stop();
    let back = Node::start_in(home, |_| {});
    until("everything is back", || {
        let status = back.json(&["status"]);
        held(&status) == held(&before) && status["synchronised"] == true
    });
    let repair = other.run(&["repair", "--json"]);
    let repaired: Value = serde_json::from_slice(&repair.stdout).unwrap();
    assert_eq!((code(&repair), &repaired["copies"]), (0, &all));
}

#[test]
fn what_is_evicted_with_one_copy_knowingly_stays_evicted() {
    let founder = Node::start();
    let keeper = member(&founder, "keeper", "keeper");
    connected(&founder, 2);
    founder.file("f", noise(2, 1 << 20));
    founder.ok(&["put", "f", "--wait", "all"]);
    let problem = founder.fails(9, "refused", &["evict", "f"]);
    assert!(problem["message"].as_str().unwrap().contains("fewer than 2"), "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("--copies 1"), "{problem}");
    let here = || founder.json(&["where", "f"])["nodes"][0]["state"].clone();
    assert_eq!(here(), "complete", "nothing was dropped");
    founder.ok(&["evict", "f", "--copies", "1"]);
    assert_eq!(founder.json(&["repair"])["brought_back"], 0);
    // Without the keeper nobody is known to have it: should it come back, the bytes are wanted.
    drop(keeper);
    until("it is gone", || founder.json(&["status"])["connected"] == 1);
    assert_ne!(here(), "complete");
}

#[test]
fn a_repair_brings_back_what_was_evicted_when_too_few_others_have_it() {
    let founder = Node::start();
    let (one, two) = (member(&founder, "keeper", "one"), member(&founder, "keeper", "two"));
    connected(&founder, 3);
    founder.file("f", noise(2, 1 << 20));
    founder.ok(&["put", "f", "--wait", "all"]);
    founder.ok(&["evict", "f"]);
    assert_eq!(founder.json(&["repair"])["brought_back"], 0);
    // Three copies elsewhere are more than there are.
    let (home, _) = founder.stop();
    let founder = Node::start_in(home, |command| {
        command.args(["--repair-copies", "3"]);
    });
    connected(&founder, 3);
    let dry = founder.run(&["repair", "--dry-run", "--json"]);
    assert_eq!(code(&dry), 7, "something is short");
    let dry: Value = serde_json::from_slice(&dry.stdout).unwrap();
    assert_eq!((&dry["brought_back"], &dry["completed"]), (&1.into(), &0.into()));
    assert_eq!(founder.json(&["where", "f"])["nodes"][0]["chunks"], 0);
    let repaired = founder.json(&["repair"]);
    assert_eq!((&repaired["completed"], &repaired["left"]), (&1.into(), &0.into()));
    assert_eq!(founder.json(&["where", "f"])["nodes"][0]["state"], "complete");
    drop((one, two));
}
