//! Members over the command line: removing them while they, or others, are away.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panic")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::common::{Node, code, private_dir, stderr, until};
use serde_json::Value;
use tempfile::TempDir;

fn peer(node: &Node, name: &str) -> Option<Value> {
    let peers = node.json(&["peers"]);
    peers["peers"].as_array().unwrap().iter().find(|peer| peer["name"] == name).cloned()
}

/// A node that has joined the founder's stash, and is connected to it.
fn member(founder: &Node, role: &str, name: &str) -> Node {
    let node = crate::common::member(founder, role, name);
    until("it is connected", || connected(founder, name));
    node
}

fn connected(node: &Node, name: &str) -> bool {
    peer(node, name).is_some_and(|peer| peer["connected"] == true)
}

fn listen(node: &Node) -> String {
    node.json(&["status"])["listen"][0].as_str().unwrap().to_owned()
}

/// Starts a node again where the others saw it last.
fn again(home: TempDir, listen: &str) -> Node {
    Node::start_in(home, |command| {
        command.args(["--listen", listen]);
    })
}

/// A way to a node: how often it was taken, and what came back.
struct Way {
    addr: SocketAddr,
    to: Arc<OnceLock<SocketAddr>>,
    taken: Arc<AtomicU64>,
    back: Arc<AtomicU64>,
}

impl Way {
    fn new() -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let way = Way { addr, to: Arc::default(), taken: Arc::default(), back: Arc::default() };
        let (to, taken, back) =
            (Arc::clone(&way.to), Arc::clone(&way.taken), Arc::clone(&way.back));
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Some(Ok(far)) = to.get().map(TcpStream::connect) else { continue };
                let (there, here) = (far.try_clone().unwrap(), near.try_clone().unwrap());
                let back = Arc::clone(&back);
                std::thread::spawn(move || pipe(near, there, None));
                std::thread::spawn(move || pipe(far, here, Some(&back)));
                taken.fetch_add(1, Ordering::SeqCst);
            }
        });
        way
    }
}

fn pipe(mut from: TcpStream, mut to: TcpStream, count: Option<&AtomicU64>) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        if let Some(count) = count {
            count.fetch_add(len as u64, Ordering::SeqCst);
        }
        if to.write_all(&bytes[..len]).is_err() {
            break;
        }
    }
    let _closed = to.shutdown(std::net::Shutdown::Both);
}

// Fault case 3.
#[test]
fn a_removed_member_gets_no_byte_and_one_that_was_away_for_two_epochs_is_let_in() {
    let way = Way::new();
    let founder = Node::start_in(private_dir(), |command| {
        command.args(["--advertise", &way.addr.to_string()]);
    });
    way.to.set(listen(&founder).parse().unwrap()).unwrap();
    let laptop = member(&founder, "owner", "laptop");
    let desk = member(&founder, "reader", "desk");
    let attic = member(&founder, "keeper", "attic");
    founder.file("a", "a");
    founder.ok(&["put", "a", "--wait", "all"]);
    let attic_there = listen(&attic);
    let (attic, _) = attic.stop();
    until("the attic is away", || !connected(&founder, "attic"));

    let removed = founder.json(&["peer", "remove", "laptop", "--yes"]);
    assert_eq!((&removed["role"], &removed["epoch"]), (&Value::Null, &Value::from(1)));
    assert_eq!(removed["asked"], 1, "the desk");
    assert_eq!(removed["silent"].as_array().unwrap().len(), 1, "the attic");
    // It is told so, and does not count itself any more.
    until("the laptop is cut off", || laptop.json(&["status"])["connected"] == 0);
    assert!(peer(&founder, "laptop").is_none());
    let text = founder.ok(&["peers", "--removed"]);
    assert!(text.contains("laptop") && text.contains("removed"), "{text}");
    let (desk, _) = desk.stop();
    let told = founder.ok(&["peer", "remove", "desk", "--yes"]);
    assert_eq!(told, "removed desk; keys of epoch 2 are in use\n", "away itself");

    let (taken, back) = (way.taken.load(Ordering::SeqCst), way.back.load(Ordering::SeqCst));
    assert!(back > 0, "this is the way that it takes");
    until("the laptop has knocked again", || way.taken.load(Ordering::SeqCst) >= taken + 2);
    assert_eq!(way.back.load(Ordering::SeqCst), back, "silence");
    let desk = again(desk, "127.0.0.1:0");
    assert_eq!(desk.json(&["status"])["connected"], 1);
    drop(desk);
    drop(laptop);

    let attic = again(attic, &attic_there);
    until("the attic is back", || connected(&founder, "attic"));
    founder.file("b", "b");
    founder.ok(&["put", "b", "--wait", "all"]);
    assert_eq!(attic.json(&["status"])["records"], 2);
    assert_eq!(founder.keys(), ["a", "b"]);
}

#[test]
fn a_founder_that_has_met_nobody_since_its_start_signs_only_when_told_that_it_is_alone() {
    let founder = Node::start();
    let attic = member(&founder, "keeper", "attic");
    drop(attic);
    let there = listen(&founder);
    let founder = again(founder.stop().0, &there);
    let changes = [
        &["peer", "remove", "attic", "-y"][..],
        &["peer", "role", "attic", "reader"],
        &["invite", "--role", "keeper"],
    ];
    for change in changes {
        let refused = founder.fails(9, "refused", change);
        assert!(refused["message"].as_str().unwrap().contains("has not met"), "{refused}");
        assert!(refused["hint"].as_str().unwrap().contains("--alone"), "{refused}");
    }
    assert!(peer(&founder, "attic").is_some());
    founder.ok(&["peer", "remove", "attic", "-y", "--alone"]);
    assert!(peer(&founder, "attic").is_none());
    founder.ok(&["invite", "--role", "keeper"]);
}

#[test]
fn only_the_founding_node_changes_members_and_says_whom_it_means() {
    let founder = Node::start();
    let laptop = member(&founder, "owner", "laptop");
    let attic = member(&founder, "keeper", "attic");
    let refused = laptop.fails(9, "refused", &["peer", "remove", "attic", "-y"]);
    assert!(refused["message"].as_str().unwrap().contains("founded"), "{refused}");
    let name = founder.json(&["status"])["name"].as_str().unwrap().to_owned();
    assert!(refused["hint"].as_str().unwrap().contains(&name), "{refused}");
    founder.fails(4, "not_found", &["peer", "remove", "nobody", "-y"]);
    let asked = founder.run(&["peer", "remove", "attic"]);
    assert_eq!(code(&asked), 2, "{}", stderr(&asked));
    let me = founder.json(&["status"])["node_id"].as_str().unwrap()[..8].to_owned();
    founder.fails(9, "refused", &["peer", "remove", &me, "-y"]);
    founder.fails(2, "usage", &["peer", "role", "attic", "keeper"]);
    assert_eq!(code(&founder.run(&["peer", "role", "attic", "boss"])), 2);

    assert_eq!(founder.ok(&["peer", "role", "laptop", "reader"]), "laptop is reader now\n");
    let role = |node: &Node| {
        let status = node.run(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
        status["role"].clone()
    };
    until("it knows", || role(&laptop) == "reader");
    laptop.file("f", "f");
    laptop.fails(9, "refused", &["put", "f"]);
    founder.ok(&["peer", "role", "attic", "owner"]);
    until("it lists names, though nobody restarted it", || code(&attic.run(&["ls"])) == 0);
    until("it is connected", || connected(&founder, "attic") && connected(&attic, "laptop"));
    attic.file("g", "g");
    attic.ok(&["put", "g", "--wait", "all"]);
    assert_eq!(founder.keys(), ["g"]);

    founder.ok(&["peer", "role", "attic", "keeper"]);
    until("it knows", || role(&attic) == "keeper");
    until("its index of names is gone", || !attic.data().join("names").exists());
    until("it is open again", || code(&attic.run(&["ls"])) != 5);
    attic.fails(9, "refused", &["ls"]);
}

/// Both nodes at new addresses that neither could tell the other.
fn both_moved(founder: Node, other: Node) -> (Node, Node) {
    let ((founder, _), (other, _)) = (founder.stop(), other.stop());
    let nodes = (Node::start_in(founder, |_| {}), Node::start_in(other, |_| {}));
    assert!(!connected(&nodes.0, "attic"));
    nodes
}

fn port(node: &Node) -> u16 {
    listen(node).parse::<SocketAddr>().unwrap().port()
}

#[test]
fn members_that_both_moved_meet_again_where_a_user_says() {
    let founder = Node::start();
    let attic = member(&founder, "keeper", "attic");
    let (founder, attic) = both_moved(founder, attic);
    let place = format!("LocalHost:{}", port(&attic));
    let said = founder.json(&["peer", "address", "attic", &place]);
    assert_eq!(said["given"], serde_json::json!([place.to_lowercase()]));
    until("it is connected", || connected(&founder, "attic"));
    let shown = peer(&founder, "attic").unwrap();
    assert_eq!(shown["path"]["kind"], "lan");
    assert_eq!(shown["path"]["dialled"], true);
    let line = format!("connected, lan at {}", shown["path"]["address"].as_str().unwrap());
    assert!(founder.ok(&["peers"]).contains(&line), "{line}");
    assert!(attic.ok(&["peers"]).contains("connected, lan from "));

    founder.ok(&["peer", "address", "attic", "--none"]);
    assert_eq!(peer(&founder, "attic").unwrap()["given"], serde_json::json!([]));
    // It has answered there: that is remembered, by both after a start of one of them.
    let (home, _) = founder.stop();
    let founder = Node::start_in(home, |_| {});
    until("it is found again", || connected(&founder, "attic"));
    founder.fails(2, "usage", &["peer", "address", "attic", "nas.example.org:"]);
    founder.fails(4, "not_found", &["peer", "address", "nobody", "nas.example.org"]);
}

#[test]
fn a_ticket_of_the_own_stash_brings_addresses_and_stays_good() {
    let founder = Node::start();
    let attic = member(&founder, "keeper", "attic");
    let there = port(&founder);
    let ((founder, _), (attic, _)) = (founder.stop(), attic.stop());
    let attic = Node::start_in(attic, |_| {});
    let name = format!("localhost:{there}");
    let founder = Node::start_in(founder, |command| {
        command.args(["--listen", &format!("127.0.0.1:{there}"), "--advertise", &name]);
    });
    let ticket = founder.ok(&["invite", "--role", "keeper", "--alone"]);
    let took = attic.json(&["join", ticket.trim()]);
    let id = founder.json(&["key", "show"])["node_id"].clone();
    assert_eq!(took["addresses_of"], id);
    until("it is connected", || connected(&founder, "attic"));
    let given: Vec<_> = attic.json(&["peers"])["peers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|peer| peer["given"].clone())
        .collect();
    assert!(given.contains(&serde_json::json!([name])), "{given:?}");
    let (home, _) = attic.stop();
    let mut offline = crate::common::stash(home.path(), &home.path().join("data"));
    let refused = offline.args(["join", ticket.trim()]).output().unwrap();
    assert_eq!(code(&refused), 9, "what it has is not replaced: {}", stderr(&refused));
    let tickets = founder.json(&["tickets"])["tickets"].clone();
    let open = tickets.as_array().unwrap().iter().filter(|ticket| ticket["state"] == "open");
    assert_eq!(open.count(), 1, "{tickets}");
}
