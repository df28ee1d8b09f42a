//! The daemon's life: first run, locks, signals, joins, passphrase.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first thing that goes wrong, and says what it skips"
)]

use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use crate::common::{Node, code, connected, noise, private_dir, send, stash, stderr, wait};
use rustix::process::Signal;

#[test]
fn the_first_run_makes_everything_and_says_what_to_type_next() {
    let home = private_dir();
    let mut node = Node::start_in(home, |command| {
        command.env("STASH_CONFIG", command.get_current_dir().unwrap().join("conf/config.toml"));
    });
    node.await_line("stash put PATH");
    let config = std::fs::read_to_string(node.path("conf/config.toml")).unwrap();
    assert!(config.contains("create = false"));
    let ready: serde_json::Value =
        serde_json::from_slice(&std::fs::read(node.data().join("ready.json")).unwrap()).unwrap();
    assert_eq!(ready["pid"], node.pid());
    assert_eq!(ready["socket"], node.socket().to_str().unwrap());
    let status = node.json(&["status"]);
    assert_eq!(ready["node_id"], status["node_id"]);
    assert_eq!(ready["listen"], status["listen"]);
    let (home, _) = node.stop();
    assert!(!home.path().join("data/ready.json").exists());
    assert!(!home.path().join("data/stash.sock").exists());
}

// Fault case 81: a disk that is not mounted is no reason to make a new stash.
#[test]
fn an_empty_directory_is_refused_where_the_configuration_says_that_a_stash_was_there() {
    let home = private_dir();
    std::fs::write(home.path().join("c.toml"), "create = false\n").unwrap();
    let up = stash(home.path(), &home.path().join("data"))
        .args(["--config", "c.toml", "up", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(code(&up), 10, "{}", stderr(&up));
    assert!(stderr(&up).contains("mounted"), "{}", stderr(&up));
    assert!(!home.path().join("data").exists());
}

#[test]
fn a_directory_with_other_things_in_it_is_no_data_directory() {
    let home = private_dir();
    let data = home.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("thesis.tex"), "precious").unwrap();
    for command in ["up", "init"] {
        let output = stash(home.path(), &data).arg(command).output().unwrap();
        assert_eq!(code(&output), 10, "{}", stderr(&output));
        assert!(stderr(&output).contains("thesis.tex"), "{}", stderr(&output));
    }
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1);
    let file = stash(home.path(), &data.join("thesis.tex")).arg("up").output().unwrap();
    assert_eq!(code(&file), 2, "{}", stderr(&file));
}

// Fault case 89.
#[test]
fn a_second_node_on_one_directory_is_refused_and_told_who_has_it() {
    let node = Node::start();
    for extra in [&["up"][..], &["up", "--socket", "other.sock"], &["init"]] {
        let output = node.run(&[extra, &["--listen", "127.0.0.1:0"][..0]].concat());
        assert_eq!(code(&output), 11, "{extra:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(&node.pid().to_string()), "{}", stderr(&output));
    }
    node.ok(&["status"]);
}

#[test]
fn a_taken_port_is_an_error_that_names_it_and_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = private_dir();
    let up = stash(home.path(), &home.path().join("data"))
        .args(["up", "--listen", &address])
        .output()
        .unwrap();
    assert_eq!(code(&up), 5, "{}", stderr(&up));
    assert!(stderr(&up).contains(&address), "{}", stderr(&up));
    assert!(stderr(&up).contains("--listen"), "{}", stderr(&up));
    assert!(!home.path().join("data/ready.json").exists());
}

// Fault cases 88 and 89: a killed node leaves a socket and a ready.json that mean nothing.
#[test]
fn a_killed_node_starts_again_and_has_everything_that_was_confirmed() {
    let node = Node::start();
    node.file("f", noise(1, 300_000));
    node.ok(&["put", "f"]);
    let home = node.kill();
    assert!(home.path().join("data/stash.sock").exists());
    let node = Node::start_in(home, |_| {});
    assert_eq!(node.run(&["cat", "f"]).stdout, noise(1, 300_000));
}

/// A put from stdin of which the node has a part.
fn half_a_put(node: &Node) -> (Child, std::process::ChildStdin) {
    let mut put = node
        .command(&["put", "-", "--as", "half", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = put.stdin.take().unwrap();
    // Far more than pipe, client and socket hold together: most of it is in the node.
    stdin.write_all(&noise(1, 8 << 20)).unwrap();
    (put, stdin)
}

/// The exit code of a put whose stdin is long and whose refusal comes early.
fn put_from_stdin(node: &Node, key: &str) -> i32 {
    let mut put = node
        .command(&["put", "-", "--as", key])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A put that was refused does not read on.
    let _refused = put.stdin.take().unwrap().write_all(&noise(1, 32 << 20));
    wait(&mut put).code().unwrap_or(-1)
}

#[test]
fn a_put_that_is_refused_while_it_sends_says_why() {
    let node = Node::start();
    for key in ["../x", "/x", ""] {
        assert_eq!(put_from_stdin(&node, key), 2, "{key:?}");
    }
    let mut stream = UnixStream::connect(node.socket()).unwrap();
    let head =
        "PUT /v1/objects/k?wait=most HTTP/1.1\r\nhost: x\r\ncontent-length: 33554432\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&noise(1, 8 << 20)).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
}

#[test]
fn a_put_that_is_cancelled_half_way_exits_130_and_shows_nothing() {
    let node = Node::start();
    for signal in [Signal::INT, Signal::TERM] {
        let (mut put, stdin) = half_a_put(&node);
        send(&put, signal);
        assert_eq!(wait(&mut put).code(), Some(130));
        drop(stdin);
        node.fails(4, "not_found", &["where", "half"]);
    }
    assert!(node.keys().is_empty());
    node.file("half", "whole");
    node.ok(&["put", "half"]);
}

// Fault case 93.
#[test]
fn a_node_that_is_told_to_stop_tells_a_running_put_and_exits_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut node = Node::start();
        let (put, stdin) = half_a_put(&node);
        node.signal(signal);
        assert_eq!(node.wait().code(), Some(0));
        drop(stdin);
        let put = put.wait_with_output().unwrap();
        assert_eq!(code(&put), 5, "{}", stderr(&put));
        let document: serde_json::Value = serde_json::from_slice(&put.stdout).unwrap();
        assert_eq!(document["error"]["code"], "temporary");
        assert!(!node.data().join("ready.json").exists());
        let node = Node::start_in(node.kill(), |_| {});
        assert!(node.keys().is_empty());
    }
}

// Fault case 93. The member's machine takes what is sent and answers nothing.
#[test]
fn a_node_whose_member_does_not_answer_any_more_stops_soon() {
    let founder = Node::start();
    let ticket = founder.json(&["invite", "--role", "keeper"])["ticket"].clone();
    let keeper = Node::start();
    keeper.ok(&["join", ticket.as_str().unwrap()]);
    connected(&founder, 2);
    keeper.signal(Signal::STOP);
    // More than lies in the buffers on the way.
    founder.file("large", noise(3, 32 << 20));
    founder.ok(&["put", "large", "--wait", "local"]);
    let (_home, log) = founder.stop();
    // Sooner than its time to stop is over, and not because of that.
    assert!(log.iter().any(|line| line.contains("no sign of life")), "{log:#?}");
}

#[test]
fn a_second_signal_ends_a_node_that_waits_for_a_client_at_once() {
    let mut node = Node::start();
    let (mut put, _stdin) = half_a_put(&node);
    send(&put, Signal::STOP);
    node.signal(Signal::TERM);
    node.await_line("stopping");
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(130));
    put.kill().unwrap();
    wait(&mut put);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let node = Node::start();
    node.file("f", noise(1, 4 << 20));
    node.ok(&["put", "f"]);
    let mut cat = node.command(&["cat", "f"]);
    let mut cat = cat.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(cat.stdout.take());
    let output = cat.wait_with_output().unwrap();
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
}

// Fault case 61.
#[test]
fn keys_with_a_passphrase_open_with_that_one_only() {
    let home = private_dir();
    let data = home.path().join("data");
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    };
    let (right, wrong) = (file("right", "correct horse\n"), file("wrong", "battery\n"));
    let init = stash(home.path(), &data)
        .args(["init", "--passphrase", "--json"])
        .env("STASH_PASSPHRASE_FILE", &right)
        .output()
        .unwrap();
    assert_eq!(code(&init), 0, "{}", stderr(&init));
    let before = std::fs::read(data.join("keyring")).unwrap();
    for passphrase in [None, Some(&wrong)] {
        let mut up = stash(home.path(), &data);
        up.args(["up", "--listen", "127.0.0.1:0"]);
        if let Some(path) = passphrase {
            up.env("STASH_PASSPHRASE_FILE", path);
        }
        let up = up.output().unwrap();
        assert_eq!(code(&up), 12, "{}", stderr(&up));
    }
    assert_eq!(std::fs::read(data.join("keyring")).unwrap(), before);
    let node = Node::start_in(home, |command| {
        command.env("STASH_PASSPHRASE_FILE", &right);
    });
    let made: serde_json::Value = serde_json::from_slice(&init.stdout).unwrap();
    assert_eq!(node.json(&["status"])["node_id"], made["node_id"]);
}

#[test]
fn init_makes_a_stash_once() {
    let home = private_dir();
    let data = home.path().join("data");
    assert_eq!(code(&stash(home.path(), &data).arg("init").output().unwrap()), 0);
    let keyring = std::fs::read(data.join("keyring")).unwrap();
    let again = stash(home.path(), &data).arg("init").output().unwrap();
    assert_eq!(code(&again), 9, "{}", stderr(&again));
    assert_eq!(std::fs::read(data.join("keyring")).unwrap(), keyring);
}

// Fault case 113.
#[test]
fn a_ticket_is_good_once_for_a_running_node_or_an_empty_directory() {
    let founder = Node::start();
    let invite = |role: &str| {
        founder.json(&["invite", "--role", role])["ticket"].as_str().unwrap().to_owned()
    };
    let (keeper_ticket, reader_ticket) = (invite("keeper"), invite("reader"));

    let mut keeper = Node::start();
    let joined = keeper.json(&["join", &keeper_ticket]);
    assert_eq!(joined["role"], "keeper");
    assert_eq!(joined["stash_id"], founder.json(&["status"])["stash_id"]);
    assert_eq!(keeper.json(&["status"])["node_id"], joined["node_id"]);
    let problem = keeper.fails(9, "refused", &["ls"]);
    assert!(problem["message"].as_str().unwrap().contains("keeper"));
    keeper.fails(9, "refused", &["cat", "k"]);
    assert_eq!(put_from_stdin(&keeper, "k"), 9);

    let other = private_dir();
    let mut join = stash(other.path(), &other.path().join("data"));
    let mut join = join.args(["join", "-", "--json"]);
    join = join.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut join = join.spawn().unwrap();
    join.stdin.take().unwrap().write_all(format!("{reader_ticket}\n").as_bytes()).unwrap();
    let join = join.wait_with_output().unwrap();
    assert_eq!(code(&join), 0, "{}", stderr(&join));
    let reader = Node::start_in(other, |_| {});
    assert_eq!(reader.json(&["status"])["role"], "reader");
    reader.file("f", "f");
    reader.fails(9, "refused", &["put", "f"]);
    reader.fails(9, "refused", &["invite", "--role", "keeper"]);

    let late = Node::start();
    let problem = late.fails(5, "temporary", &["join", &keeper_ticket]);
    assert!(problem["hint"].as_str().unwrap().contains("was used by another node"), "{problem}");
    let used = &founder.json(&["status"])["tickets"];
    let by =
        |id: &serde_json::Value| used.as_array().unwrap().iter().any(|one| one["used_by"] == *id);
    assert!(by(&joined["node_id"]), "{used}");
    assert_eq!(late.json(&["status"])["members"], 1, "it still serves its own stash");
    late.file("f", "f");
    late.ok(&["put", "f"]);
    late.fails(9, "refused", &["join", &invite("owner")]);
    keeper.signal(Signal::TERM);
    assert_eq!(keeper.wait().code(), Some(0));
}
