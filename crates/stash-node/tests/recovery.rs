//! Bringing a stash back over the command line, and the founder's tickets.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::process::Output;

use crate::common::{Node, code, member, private_dir, stash, stderr, until};

#[test]
fn one_keeper_in_reach_gives_everything_to_read_at_once_and_the_stash_when_told_so() {
    let founder = Node::start();
    // It names the machine that will be lost, and nobody else.
    let paper = founder.ok(&["key", "recovery"]);
    let keeper = member(&founder, "keeper", "attic");
    until("it is connected", || founder.json(&["status"])["connected"] == 2);
    let content = crate::common::noise(1, 200_000);
    founder.file("photo", &content);
    founder.ok(&["put", "photo", "--wait", "all"]);
    let status = founder.json(&["status"]);
    assert_eq!(status["recovery_text"]["printed"], true);
    assert_eq!(status["recovery_text"]["found"], 0, "it finds nobody");
    assert_eq!(status["confirmed"]["missing"], 0);
    assert!(founder.ok(&["status"]).contains("FINDS NOBODY"));
    let at = keeper.json(&["status"])["listen"][0].as_str().unwrap().to_owned();
    drop(founder);

    let home = private_dir();
    let (data, file) = (home.path().join("data"), home.path().join("paper"));
    std::fs::write(&file, paper).unwrap();
    let init = |more: &[&str]| -> Output {
        let mut command = stash(home.path(), &data);
        command.args(["init", "--recover"]).arg(&file).args(more).output().unwrap()
    };
    let nobody = init(&[]);
    assert_eq!(code(&nobody), 5, "{}", stderr(&nobody));
    let few = init(&["--at", &at]);
    assert_eq!(code(&few), 9, "{}", stderr(&few));
    assert!(stderr(&few).contains("1 of the 2 members") && stderr(&few).contains("--read"));
    assert_eq!(code(&init(&["--at", "nowhere"])), 2);
    assert!(!data.join("keyring").exists(), "nothing was made");

    let read = init(&["--at", &at, "--read"]);
    assert_eq!(code(&read), 0, "{}", stderr(&read));
    let visitor = Node::start_in(home, |_| {});
    until("it lists", || visitor.keys() == ["photo"]);
    visitor.ok(&["get", "photo", "-o", "back"]);
    assert_eq!(std::fs::read(visitor.path("back")).unwrap(), content);
    visitor.file("more", "more");
    visitor.fails(9, "refused", &["put", "more"]);
    visitor.fails(9, "refused", &["invite", "--role", "owner"]);
    assert_eq!(visitor.json(&["status"])["visits"], true);
    assert_eq!(
        keeper.json(&["peers"])["peers"].as_array().unwrap().len(),
        2,
        "nobody was admitted"
    );

    let (home, _) = visitor.stop();
    let init = |more: &[&str]| -> Output {
        let mut command = stash(home.path(), &data);
        command.args(["init", "--recover"]).arg(&file).args(more).output().unwrap()
    };
    let alone = init(&["--at", &at, "--alone"]);
    assert_eq!(code(&alone), 0, "{}", stderr(&alone));
    let heir = Node::start_in(home, |_| {});
    assert_eq!(heir.keys(), ["photo"], "what was fetched stays");
    until("it is connected", || heir.json(&["status"])["connected"] == 2);
    heir.ok(&["put", "more", "--wait", "one"]);
    assert_eq!(heir.json(&["status"])["visits"], false);
}

#[test]
fn tickets_are_listed_and_revoked_and_named_when_a_member_is_removed() {
    let founder = Node::start();
    let laptop = member(&founder, "reader", "laptop");
    let ticket = founder.ok(&["invite", "--role", "owner"]);
    let tickets = founder.json(&["tickets"]);
    let tickets = tickets["tickets"].as_array().unwrap();
    assert_eq!(tickets.len(), 2);
    let of = |state: &str| tickets.iter().find(|ticket| ticket["state"] == state).unwrap();
    assert_eq!(of("used")["used_by"], laptop.json(&["status"])["node_id"]);
    assert_eq!(of("used")["used_by_name"], "laptop");
    assert_eq!(of("open")["role"], "owner");
    let (used, open) = (of("used")["id"].as_str().unwrap(), of("open")["id"].as_str().unwrap());
    assert!(!founder.ok(&["tickets"]).contains(ticket.trim()), "never the secret");
    assert_eq!(laptop.json(&["tickets"])["tickets"].as_array().unwrap().len(), 0);
    founder.fails(9, "refused", &["tickets", "revoke", used]);
    founder.fails(4, "not_found", &["tickets", "revoke", "0123456789"]);
    founder.fails(2, "usage", &["tickets", "revoke", &open[..7]]);

    let removed = founder.run(&["peer", "remove", "laptop", "-y"]);
    assert_eq!(code(&removed), 0, "{}", stderr(&removed));
    assert!(stderr(&removed).contains(&open[..10]), "{}", stderr(&removed));
    founder.ok(&["tickets", "revoke", &open[..8]]);
    let guest = Node::start();
    guest.fails(5, "temporary", &["join", ticket.trim()]);
    assert_eq!(founder.json(&["peers"])["peers"].as_array().unwrap().len(), 1);
}
