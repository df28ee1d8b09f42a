//! Versions on the command line: exit codes, documents, what is said to people.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first thing that goes wrong, and says what it skips"
)]

use std::path::Path;
use std::time::Duration;

use crate::common::{Node, code, noise, private_dir, stderr};
use stash_vault::{
    Home, InitOptions, JoinOptions, Key, Progress, PutOptions, Role, RunOptions, Wait,
};

fn fields(value: &serde_json::Value) -> String {
    let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
    names.sort();
    names.join(" ")
}

const VERSION: &str =
    "chunks here kind mode modified place size version writer writer_name written";

#[test]
fn every_version_is_listed_read_and_brought_back() {
    let node = Node::start();
    let contents = [noise(1, 2_000_000), noise(2, 100)];
    for content in &contents {
        node.file("f", content);
        node.ok(&["put", "f"]);
    }
    node.fails(9, "refused", &["undelete", "f"]);
    node.fails(4, "not_found", &["history", "none"]);
    node.fails(4, "not_found", &["undelete", "none"]);
    node.ok(&["rm", "f"]);

    let history = node.json(&["history", "f"]);
    assert_eq!(fields(&history), "alarms key next versions");
    let versions = history["versions"].as_array().unwrap();
    assert_eq!(fields(&versions[0]), VERSION);
    let told: Vec<_> = versions
        .iter()
        .map(|version| (version["kind"].as_str(), version["place"].as_str()))
        .collect();
    let put = (Some("put"), Some("covered"));
    assert_eq!(told, [(Some("removed"), Some("head")), put, put]);
    assert!(versions.iter().all(|version| version["written"].is_string()));
    let short = |at: usize| &versions[at]["version"].as_str().unwrap()[..12];
    let table = node.ok(&["history", "f"]);
    assert_eq!(table.lines().count(), 3);
    assert!(table.lines().nth(2).unwrap().starts_with(short(2)), "{table}");

    // Fault case 116: what was removed is read, and comes back.
    for (at, content) in [(2, &contents[0]), (1, &contents[1])] {
        let cat = node.run(&["cat", "f", "--version", short(at)]);
        assert_eq!((code(&cat), &cat.stdout), (0, content));
    }
    let part = node.run(&["cat", "f", "--version", short(2), "--range", "1048570-1048580"]);
    assert_eq!(part.stdout, contents[0][1_048_570..=1_048_580]);
    node.ok(&["get", "f", "--version", short(2), "-o", "old"]);
    assert_eq!(std::fs::read(node.path("old")).unwrap(), contents[0]);
    node.fails(4, "not_found", &["cat", "f", "--version", short(0)]);
    node.fails(4, "not_found", &["cat", "f", "--version", "0123456789ab"]);
    node.fails(2, "usage", &["cat", "f", "--version", "xyz"]);

    let deleted = node.json(&["ls", "--deleted"]);
    assert_eq!(fields(&deleted), "entries next");
    assert_eq!(fields(&deleted["entries"][0]), "key more versions");
    assert_eq!(deleted["entries"][0]["versions"][1]["version"], versions[1]["version"]);
    assert!(node.ok(&["ls", "--deleted"]).ends_with("  100 B  f\n"));
    let done = node.json(&["undelete", "f"]);
    let undelete = "bytes copies missing restored short skipped unavailable wanted";
    assert_eq!((fields(&done).as_str(), &done["restored"]), (undelete, &1.into()));
    assert_eq!(node.run(&["cat", "f"]).stdout, contents[1]);
    assert_eq!(node.json(&["ls", "--deleted"])["entries"], serde_json::json!([]));
    let all = node.json(&["ls", "--versions", "f"]);
    assert_eq!(all["entries"][0]["versions"].as_array().unwrap().len(), 4);
    assert_eq!(node.ok(&["ls", "--versions"]).lines().count(), 5);

    // An older version, and a file, in the place of what is there.
    let done = node.json(&["resolve", "f", "--take", short(2)]);
    assert_eq!(fields(&done), "copies covered key missing short version wanted");
    assert_eq!(node.run(&["cat", "f"]).stdout, contents[0]);
    let again = node.json(&["resolve", "f", "--take", done["version"].as_str().unwrap()]);
    assert_eq!((&again["covered"], &again["version"]), (&0.into(), &done["version"]));
    node.file("merged", "merged");
    node.ok(&["resolve", "f", "--file", "merged"]);
    assert_eq!(node.run(&["cat", "f"]).stdout, b"merged");
    node.fails(2, "usage", &["resolve", "f", "--file", "."]);
    node.fails(4, "not_found", &["resolve", "none", "--take", short(2)]);
    for wrong in [&["resolve", "f"][..], &["ls", "--deleted", "--versions"]] {
        assert_eq!(code(&node.run(wrong)), 2, "{wrong:?}");
    }
}

#[test]
fn a_tree_comes_back_with_a_word_more() {
    let node = Node::start();
    for name in ["t/a", "t/b/c", "t-old"] {
        node.file(name, name);
    }
    node.ok(&["put", "t", "t-old"]);
    node.ok(&["rm", "-r", "-y", "t"]);
    let problem = node.fails(2, "usage", &["undelete", "t"]);
    assert!(problem["hint"].as_str().unwrap().contains("-r"));
    let text = node.ok(&["undelete", "-r", "t"]);
    assert_eq!(text, "brought back 2 files, 8 B, stored on 1 of 1 nodes\n");
    assert_eq!(node.keys(), ["t-old", "t/a", "t/b/c"]);
    node.fails(4, "not_found", &["undelete", "-r", "t"]);
}

async fn store(node: &stash_vault::Node, bytes: &[u8]) {
    let options = PutOptions { wait: Wait::Local, jobs: 1 };
    let (vault, key) = (node.vault.clone().unwrap(), Key::new("k").unwrap());
    vault.put_reader(key, bytes, None, options, &Progress::new()).await.unwrap();
}

/// A stash of two owners, each of which wrote `k` while the other was away; `data` holds both.
async fn written_apart(data: &Path, other: &Path) {
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    let open = async |path: &Path, listen: &[std::net::SocketAddr]| {
        let options = RunOptions { listen: listen.to_vec(), ..RunOptions::default() };
        Home::open(path, None, options).await.unwrap()
    };
    let stop = async |node: stash_vault::Node| node.shutdown(Duration::from_secs(5)).await;
    Home::init(data, InitOptions { display_name: "here".into(), passphrase: None }).unwrap();
    let node = open(data, &listen).await;
    let ticket = node.engine.invite(Role::Owner, Duration::from_secs(600)).await.unwrap();
    let options = JoinOptions { display_name: "there".into(), passphrase: None };
    Home::join(other, &ticket, options).await.unwrap();
    let there = open(other, &listen).await;
    let connected = async |node: &stash_vault::Node| {
        let wait = async {
            while !node.engine.members().iter().all(|member| member.connected) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
    };
    connected(&node).await;
    let address = there.engine.listen();
    stop(there).await;
    store(&node, b"from here").await;
    stop(node).await;
    let there = open(other, &address).await;
    store(&there, b"from there").await;
    let node = open(data, &listen).await;
    connected(&there).await;
    let name = there.vault.as_ref().unwrap().name_id(&Key::new("k").unwrap());
    let records = there.engine.records_of(name).await.unwrap();
    let sent = there.engine.upload(Wait::All).resend(records).await.unwrap().wait().await;
    assert_eq!(sent.copies, 2);
    stop(there).await;
    stop(node).await;
}

// Fault case 103.
#[test]
fn a_conflict_is_told_wherever_it_matters_and_ends_when_it_is_resolved() {
    let home = private_dir();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(written_apart(&home.path().join("data"), &home.path().join("other")));
    drop(runtime);
    let node = Node::start_in(home, |_| {});
    assert_eq!(node.json(&["ls"])["entries"][0]["conflicts"], 1);
    let conflicts = node.json(&["ls", "--conflicts"]);
    let leaves = conflicts["entries"][0]["versions"].as_array().unwrap();
    assert_eq!((leaves.len(), &leaves[1]["place"]), (2, &"sibling".into()));
    let mut names = [leaves[0]["writer_name"].clone(), leaves[1]["writer_name"].clone()];
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, ["here", "there"]);

    for arguments in [&["get", "k", "-o", "out"][..], &["cat", "k"]] {
        let output = node.run(arguments);
        assert_eq!(code(&output), 0);
        assert!(stderr(&output).contains("stash history k"), "{}", stderr(&output));
    }
    let id = leaves[1]["version"].as_str().unwrap();
    let sibling = node.run(&["cat", "k", "--version", id]);
    assert!(sibling.stderr.is_empty(), "{}", stderr(&sibling));

    // The other owner is away: this node has it, and says that it is short.
    let resolved = node.run(&["resolve", "k", "--take", id]);
    assert_eq!(code(&resolved), 7, "{}", stderr(&resolved));
    assert_eq!(node.json(&["ls", "--conflicts"])["entries"], serde_json::json!([]));
    let cat = node.run(&["cat", "k"]);
    assert_eq!(cat.stdout, sibling.stdout);
    assert!(cat.stderr.is_empty(), "{}", stderr(&cat));
    assert_eq!(node.json(&["history", "k"])["versions"].as_array().unwrap().len(), 3);
}
