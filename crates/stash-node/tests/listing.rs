//! What is stored, a level at a time: folders, sums, searches, what a name that is no file means.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use crate::common::{Node, code, connected, member, stderr};

/// A node with two folders and a file.
fn filled() -> Node {
    let node = Node::start();
    for (name, bytes) in [("Photos/2024/a.jpg", 10), ("Photos/2024/b.jpg", 20), ("Photos/x", 5)] {
        node.file(name, "x".repeat(bytes));
    }
    node.file("Docs/letter.txt", "dear");
    node.file("note", "n");
    node.ok(&["put", "Photos", "Docs", "note"]);
    node
}

#[test]
fn a_listing_shows_one_level_with_what_lies_below_and_all_of_it_on_demand() {
    let node = filled();
    assert_eq!(node.ok(&["ls"]), "Docs/  1 file, 4 B\nPhotos/  3 files, 35 B\nnote\n");
    assert_eq!(node.ok(&["ls", "Photos"]), "Photos/2024/  2 files, 30 B\nPhotos/x\n");
    assert_eq!(node.ok(&["ls", "Photos/"]), node.ok(&["ls", "Photos"]));
    assert_eq!(node.ok(&["ls", "note"]), "note\n");
    let all = "Docs/letter.txt\nPhotos/2024/a.jpg\nPhotos/2024/b.jpg\nPhotos/x\nnote\n";
    assert_eq!(node.ok(&["ls", "-R"]), all);
    let level = node.json(&["ls", "Photos"]);
    assert_eq!(level["entries"][0]["key"], "Photos/x");
    let folder = &level["folders"][0];
    assert_eq!((&folder["key"], &folder["files"]), (&"Photos/2024".into(), &2.into()));
    assert_eq!(node.json(&["ls", "-R"])["folders"], serde_json::json!([]));
    // A new stash is empty, and no error.
    assert_eq!(Node::start().ok(&["ls"]), "");
}

#[test]
fn times_are_those_of_the_zone_of_whoever_reads() {
    let node = Node::start();
    let path = node.file("f", "f");
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
    node.ok(&["put", "f"]);
    let mut ls = node.command(&["ls", "-l"]);
    let ls = ls.env("TZ", "CET-1CEST,M3.5.0,M10.5.0/3").output().unwrap();
    let text = String::from_utf8(ls.stdout).unwrap();
    assert!(text.contains("  2023-11-14 23:13:20 +0100  local  "), "{text}");
    assert_eq!(node.json(&["ls"])["entries"][0]["modified"], "2023-11-14T22:13:20Z");
}

#[test]
fn folders_are_summed_and_files_are_found_by_what_they_are_like() {
    let node = filled();
    let usage = " 4 B   1 file  Docs/\n35 B  3 files  Photos/\n40 B  5 files  in all\n";
    assert_eq!(node.ok(&["du"]), usage);
    let deeper = node.ok(&["du", "--depth", "2", "Photos"]);
    assert_eq!(deeper, "30 B  2 files  Photos/2024/\n35 B  3 files  Photos\n");
    assert_eq!(node.ok(&["find", "--name", "*.jpg"]), "Photos/2024/a.jpg\nPhotos/2024/b.jpg\n");
    assert_eq!(node.ok(&["find", "Photos", "--larger", "20 B"]), "Photos/2024/b.jpg\n");
    assert_eq!(node.ok(&["find", "--smaller", "4 B"]), "Docs/letter.txt\nnote\n");
    assert_eq!(node.ok(&["find", "--older", "1d"]), "");
    assert_eq!(node.ok(&["find", "--newer", "1d", "--name", "note"]), "note\n");
    node.fails(2, "usage", &["find", "--name", "[a"]);
    node.fails(4, "not_found", &["find", "none"]);
    node.fails(4, "not_found", &["du", "none"]);
}

#[test]
fn a_name_that_is_no_file_is_told_what_it_is() {
    let node = filled();
    for arguments in
        [&["ls", "nope"][..], &["ls", "-R", "nope"], &["get", "nope"], &["cat", "nope"]]
    {
        let problem = node.fails(4, "not_found", arguments);
        assert!(problem["message"].as_str().unwrap().contains("nothing is stored"), "{problem}");
    }
    for arguments in [&["where", "Photos"][..], &["history", "Photos/2024"], &["cat", "Photos"]] {
        let problem = node.fails(2, "usage", arguments);
        assert!(problem["hint"].as_str().unwrap().contains("stash ls"), "{problem}");
    }
    node.ok(&["rm", "note"]);
    for arguments in [&["ls", "note"][..], &["get", "note"], &["cat", "note"], &["where", "note"]] {
        let problem = node.fails(4, "not_found", arguments);
        assert!(
            problem["message"].as_str().unwrap().starts_with("'note' was removed on "),
            "{problem}"
        );
        assert_eq!(problem["hint"], "bring it back with: stash undelete note");
    }
    // Its versions are there all the same.
    node.ok(&["history", "note"]);
    node.ok(&["undelete", "note"]);
    node.ok(&["cat", "note"]);
}

#[test]
fn a_purge_of_many_files_wants_their_number() {
    let node = Node::start();
    for number in 0..101 {
        node.file(&format!("many/{number}"), "x");
    }
    node.file("few/1", "x");
    node.ok(&["put", "many", "few"]);
    let problem = node.fails(9, "refused", &["rm", "-r", "--purge", "-y", "many"]);
    assert!(problem["hint"].as_str().unwrap().ends_with("--expect 101"), "{problem}");
    node.fails(9, "refused", &["rm", "-r", "--purge", "-y", "--expect", "100", "many"]);
    node.fails(9, "refused", &["rm", "-r", "-y", "--expect", "2", "few"]);
    assert_eq!(node.keys().len(), 102);
    node.ok(&["rm", "-r", "--purge", "-y", "few"]);
    let done = node.json(&["rm", "-r", "--purge", "-y", "--expect", "101", "many"]);
    assert_eq!(done["removed"], 101);
}

#[test]
fn a_put_says_what_was_new_whose_version_it_replaces_and_that_one_node_is_no_backup() {
    let node = filled();
    node.file("note", "changed");
    node.file("Docs/second", "s");
    let put = node.run(&["put", "Docs", "note"]);
    let text = String::from_utf8_lossy(&put.stdout).into_owned();
    assert_eq!(
        text,
        "Docs: 2 files, 5 B, 1 new, 1 unchanged, stored on 1 of 1 nodes\n\
         note: 1 file, 7 B, changed, stored on 1 of 1 nodes\n"
    );
    assert!(stderr(&put).contains("this is no backup yet"), "{}", stderr(&put));

    let second = member(&node, "owner", "lap2");
    connected(&node, 2);
    second.file("note", "mine");
    crate::common::until("the second one knows the file", || {
        code(&second.run(&["cat", "note"])) == 0
    });
    let put = second.run(&["put", "note", "--json"]);
    let done: Value = serde_json::from_slice(&put.stdout).unwrap();
    let replaced = &done["roots"][0]["replaced"][0];
    assert_eq!(
        (&replaced["node_id"], &replaced["files"]),
        (&node.json(&["status"])["node_id"], &1.into())
    );
    assert!(stderr(&put).contains("note: replaces a version written by "), "{}", stderr(&put));
    assert!(!stderr(&put).contains("no backup"), "{}", stderr(&put));
}

/// What a shell is offered for the last of these words.
fn offered(node: &Node, words: &[&str]) -> Vec<String> {
    let data = node.data();
    let line = [&["stash", "--data-dir", data.to_str().unwrap()], words].concat();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stash"));
    command.env("HOME", node.home.path()).env("STASH_COMPLETE", "bash").env("_CLAP_IFS", "\n");
    command.env("_CLAP_COMPLETE_INDEX", (line.len() - 1).to_string());
    command.env("_CLAP_COMPLETE_COMP_TYPE", "9").env("_CLAP_COMPLETE_SPACE", "false");
    let output = command.arg("--").args(&line).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_shell_is_offered_keys_members_and_settings() {
    let node = filled();
    assert_eq!(offered(&node, &["cat", "Ph"]), ["Photos/"]);
    let mut below = offered(&node, &["get", "Photos/"]);
    below.sort_unstable();
    assert_eq!(below, ["Photos/2024/", "Photos/x"]);
    assert_eq!(offered(&node, &["cat", "Photos/2024/b"]), ["Photos/2024/b.jpg"]);
    assert_eq!(offered(&node, &["config", "set", "gc.g"]), ["gc.grace"]);
    node.ok(&["rm", "note"]);
    assert_eq!(offered(&node, &["undelete", "n"]), ["note"]);
    assert!(offered(&node, &["sta"]).contains(&"status".to_owned()));
    let _attic = member(&node, "keeper", "attic");
    connected(&node, 2);
    assert_eq!(offered(&node, &["peer", "remove", "a"]), ["attic"]);
}
