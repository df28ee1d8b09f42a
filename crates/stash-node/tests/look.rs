//! What the program tells unasked: members at one look, notices, that a node was removed.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::common::{Node, code, connected, member, private_dir, stderr, until};

fn line(node: &Node, name: &str) -> Value {
    let status = node.json(&["status"]);
    let peers = status["peers"].as_array().unwrap();
    peers.iter().find(|peer| peer["name"] == name).cloned().unwrap_or(Value::Null)
}

#[test]
fn status_has_a_line_a_member_with_what_it_has_and_when_it_was_seen() {
    let founder = Node::start_in(private_dir(), |command| {
        command.args(["--name", "laptop"]);
    });
    let attic = member(&founder, "keeper", "attic");
    connected(&founder, 2);
    founder.file("f", "content");
    founder.ok(&["put", "f", "--wait", "all"]);
    until("the attic has said what it has", || line(&founder, "attic")["percent"] == 100);
    let this = line(&founder, "laptop");
    assert_eq!(
        (&this["this"], &this["founder"], &this["percent"]),
        (&true.into(), &true.into(), &100.into())
    );
    let other = line(&founder, "attic");
    assert_eq!((&other["founder"], &other["connected"]), (&false.into(), &true.into()));
    assert_eq!(other["version"], env!("CARGO_PKG_VERSION"));
    assert!(other["free"].as_u64().unwrap() > 0 && other["last_seen"].is_string(), "{other}");
    let text = founder.ok(&["status"]);
    let row = |text: &str, name: &str| {
        text.lines().find(|line| line.starts_with(name)).unwrap().to_owned()
    };
    assert!(row(&text, "laptop ").contains("founder  this node  100 %"), "{text}");
    assert!(row(&text, "attic ").contains("keeper   connected  100 %"), "{text}");
    // A keeper knows no names.
    let ids = attic.json(&["status"]);
    assert!(ids["peers"].as_array().unwrap().iter().all(|peer| peer["name"].is_null()), "{ids}");

    let (_home, _) = attic.stop();
    until("the attic is gone", || line(&founder, "attic")["connected"] == false);
    assert!(row(&founder.ok(&["status"]), "attic ").contains(" ago  100 %"));
    // It is known after a start, too.
    let (home, _) = founder.stop();
    let founder = Node::start_in(home, |_| {});
    let gone = line(&founder, "attic");
    assert_eq!((&gone["percent"], &gone["connected"]), (&100.into(), &false.into()));
    assert!(gone["last_seen"].is_string(), "{gone}");
}

/// A program that writes a line for each notice.
fn teller(home: &std::path::Path) -> String {
    let path = home.join("tell");
    let text = "#!/bin/sh\ncat >/dev/null\necho \"$STASH_NOTICE $STASH_NOTICE_ABOUT $STASH_NOTICE_TEXT\" >>\"$1\"\n";
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{},{}", path.display(), home.join("told").display())
}

#[test]
fn a_member_that_is_away_is_told_once_over_a_restart_and_so_is_its_return() {
    let told = |node: &Node| std::fs::read_to_string(node.path("told")).unwrap_or_default();
    let telling = |home: tempfile::TempDir, listen: &str| {
        let command = teller(home.path());
        let listen = listen.to_owned();
        Node::start_in(home, move |up| {
            up.env("STASH_NOTIFY_COMMAND", command).env("STASH_NOTIFY_ABSENT", "2s");
            up.args(["--listen", &listen]);
        })
    };
    let founder = telling(private_dir(), "127.0.0.1:0");
    let attic = member(&founder, "keeper", "attic");
    connected(&founder, 2);
    let listen = |node: &Node| node.json(&["status"])["listen"][0].as_str().unwrap().to_owned();
    let (here, there) = (listen(&founder), listen(&attic));
    let (away, _) = attic.stop();
    until("its absence was told", || told(&founder).starts_with("begins absent attic is away"));
    let (home, _) = founder.stop();
    let founder = telling(home, &here);
    let attic = Node::start_in(away, |up| {
        up.args(["--listen", &there]);
    });
    until("its return was told", || told(&founder).contains("over absent attic is back"));
    assert_eq!(told(&founder).lines().count(), 2, "{}", told(&founder));
    drop(attic);
}

#[test]
fn a_command_that_is_no_path_is_refused_at_the_start() {
    let home = private_dir();
    let mut command = crate::common::stash(home.path(), &home.path().join("data"));
    command.env("STASH_NOTIFY_COMMAND", "mail me").args(["config", "show"]);
    let output = command.output().unwrap();
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("no absolute path"), "{}", stderr(&output));
}

#[test]
fn a_member_that_is_removed_while_it_is_connected_is_told_so_and_what_to_do() {
    let founder = Node::start();
    let laptop = member(&founder, "owner", "laptop");
    connected(&founder, 2);
    laptop.file("mine", "content");
    laptop.ok(&["put", "mine"]);
    founder.ok(&["peer", "remove", "laptop", "--yes"]);
    until("it knows", || laptop.json(&["status"])["safety"]["verdict"] == "removed");
    let text = laptop.ok(&["status"]);
    assert!(text.starts_with("NO MEMBER ANY MORE: this node was removed"), "{text}");
    assert_eq!(code(&laptop.run(&["status", "--check"])), 6);
    // What it had read stays read.
    assert_eq!(laptop.ok(&["cat", "mine"]), "content");
    laptop.ok(&["get", "mine", "-o", "back"]);
    let (home, _) = laptop.stop();
    let up = crate::common::stash(home.path(), &home.path().join("data"))
        .args(["up", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(code(&up), 9, "{}", stderr(&up));
    assert!(stderr(&up).contains("stash join TICKET"), "{}", stderr(&up));
}

fn waiting_joins(node: &Node) -> usize {
    let names = std::fs::read_dir(node.data()).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("joining-")).count()
}

#[test]
fn an_attempt_to_join_that_reached_nobody_leaves_nothing_and_a_member_is_not_told_of_another_node()
{
    let founder = Node::start();
    let ticket = founder.ok(&["invite", "--role", "keeper"]);
    let (home, _) = founder.stop();
    let node = Node::start();
    node.fails(5, "temporary", &["join", ticket.trim()]);
    assert_eq!(waiting_joins(&node), 0);
    let founder = Node::start_in(home, |_| {});
    let ticket = founder.ok(&["invite", "--role", "owner"]);
    node.fails(2, "usage", &["join", ticket.trim(), "--label", ""]);
    node.ok(&["join", ticket.trim(), "--label", "photos from next door"]);
    assert_eq!(waiting_joins(&node), 0);
    assert_eq!(node.json(&["status"])["label"], "photos from next door");
    let text = node.ok(&["status"]);
    let shown =
        |line: &str| line.starts_with("stash ") && line.ends_with(" (photos from next door)");
    assert!(text.lines().any(shown), "{text}");
    assert_eq!(founder.json(&["status"])["label"], Value::Null, "nobody else hears of it");
    for text in ["again", "after a put"] {
        let said = node.ok(&["join", ticket.trim()]);
        assert!(said.contains("is a member already"), "{text}: {said}");
        node.file("f", text);
        node.ok(&["put", "f", "--wait", "local"]);
    }
}
