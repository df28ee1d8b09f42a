//! What the program tells unasked: members at one look, notices, that a node was removed.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

use serde_json::Value;

use crate::common::{Node, connected, member, private_dir, until};

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
