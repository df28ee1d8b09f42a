//! Slips of scripts: a variable that is not set, a name that means something else to the node, the
//! node's own files. Nothing is removed, and no secret is stored.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use crate::common::{Node, code, private_dir, stash, stderr};

/// The answer of the local API to a request with a JSON body.
fn post(node: &Node, method: &str, path: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(node.socket()).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn an_empty_name_never_means_everything_to_a_command_that_changes_something() {
    let node = Node::start();
    for name in ["t/a", "t/b", "gone"] {
        node.file(name, name);
    }
    node.ok(&["put", "t", "gone"]);
    node.ok(&["rm", "gone"]);
    for arguments in [
        &["rm", "-r", "-y", ""][..],
        &["rm", "-r", ""],
        &["rm", ""],
        &["rm", "-r", "--purge", "-y", ""],
        &["rm", "--purge", "-y", ""],
        &["undelete", "-r", ""],
        &["evict", "-r", ""],
    ] {
        let problem = node.fails(2, "usage", arguments);
        assert!(problem["hint"].as_str().unwrap().contains("variable"), "{problem}");
    }
    for (method, path, body) in [
        ("POST", "/v1/rm", r#"{"key":"","recursive":true}"#),
        ("POST", "/v1/rm", r#"{"key":"","recursive":true,"purge":true}"#),
        ("POST", "/v1/undelete", r#"{"key":"","recursive":true}"#),
        ("POST", "/v1/evict", r#"{"key":"","recursive":true}"#),
        ("DELETE", "/v1/objects/", ""),
        ("DELETE", "/v1/objects/?purge=true", ""),
    ] {
        let answer = post(&node, method, path, body);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{method} {path} {body}: {answer}");
    }
    assert_eq!(node.keys(), ["t/a", "t/b"]);
    // Those that only look and read take it for everything.
    node.ok(&["get", "", "-o", "all"]);
    assert_eq!(std::fs::read_to_string(node.path("all/t/b")).unwrap(), "t/b");
    node.ok(&["undelete", "gone"]);
}

#[test]
fn a_path_that_means_something_else_to_the_node_is_refused_with_the_way_out() {
    let node = Node::start();
    node.file("f", "mine");
    node.ok(&["put", "f"]);
    symlink("/dev/stdin", node.path("in")).unwrap();
    symlink("/proc/self/fd", node.path("fd")).unwrap();
    let own = format!("/proc/{}/fd/0", node.pid());
    for input in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "in", "fd/0", &own, "/dev/stdout"] {
        for arguments in [
            &["put", input, "--as", "k"][..],
            &["put", "f", input],
            &["resolve", "f", "--file", input],
        ] {
            let problem = node.fails(2, "usage", arguments);
            assert!(problem["hint"].as_str().unwrap().contains('-'), "{problem}");
        }
        let body = format!(r#"{{"paths":["{}"],"as":"k"}}"#, node.path(input).display());
        let answer = post(&node, "POST", "/v1/put", &body);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{input}: {answer}");
    }
    let problem = node.fails(2, "usage", &["get", "f", "-o", "/dev/stdout", "--overwrite"]);
    assert!(problem["hint"].as_str().unwrap().contains("-o -"), "{problem}");
    assert_eq!(node.keys(), ["f"]);
    let piped = node
        .command(&["put", "-", "--as", "k"])
        .stdin(Stdio::from(std::fs::File::open(node.path("f")).unwrap()))
        .output()
        .unwrap();
    assert_eq!(code(&piped), 0, "{}", stderr(&piped));
    assert_eq!(node.ok(&["cat", "k"]), "mine");
}

/// Checks that a put leaves a path out, and says so.
fn left_out(node: &Node, path: &Path) {
    let text = path.to_str().unwrap();
    let put = node.run(&["put", text, "--as", "stolen"]);
    assert_eq!(code(&put), 3, "{text}: {}", stderr(&put));
    assert!(stderr(&put).contains("data directory"), "{text}: {}", stderr(&put));
    assert!(node.keys().is_empty(), "{text}: {:?}", node.keys());
}

#[test]
fn nothing_in_the_data_directory_is_stored_under_any_path() {
    let node = Node::start();
    let data = node.data();
    for part in ["", "keyring", "names", "store", "store/log", "ready.json"] {
        left_out(&node, &data.join(part));
    }
    let segment = std::fs::read_dir(data.join("store/log")).unwrap().next().unwrap().unwrap();
    left_out(&node, &segment.path());
    symlink(&data, node.path("way in")).unwrap();
    symlink(data.join("keyring"), node.path("key")).unwrap();
    std::fs::hard_link(data.join("keyring"), node.path("hard")).unwrap();
    left_out(&node, &node.path("way in/store"));
    left_out(&node, &node.path("key"));
    left_out(&node, &node.path("hard"));

    node.file("letter", "kept");
    let put = node.run(&["put", node.home.path().to_str().unwrap(), "--as", "home"]);
    // What is left out of a tree on purpose is said, and is no fault.
    assert_eq!(code(&put), 0, "{}", stderr(&put));
    assert!(stderr(&put).contains("data directory"), "{}", stderr(&put));
    let mut keys = node.keys();
    // The list of data directories is no secret.
    keys.retain(|key| !key.starts_with("home/.local/"));
    assert_eq!(
        keys,
        ["home/key", "home/letter", "home/way in"],
        "links, and not what they lead to"
    );
}

#[test]
fn a_copy_of_keys_without_a_passphrase_is_stored_only_through_stdin() {
    let node = Node::start();
    let other = private_dir();
    let init = stash(other.path(), &other.path().join("data")).arg("init").output().unwrap();
    assert_eq!(code(&init), 0, "{}", stderr(&init));
    std::fs::copy(other.path().join("data/keyring"), node.path("backup")).unwrap();
    let put = node.run(&["put", "backup"]);
    assert_eq!(code(&put), 3, "{}", stderr(&put));
    assert!(stderr(&put).contains("keys of a stash"), "{}", stderr(&put));
    assert!(node.keys().is_empty());
    let piped = node
        .command(&["put", "-", "--as", "k"])
        .stdin(Stdio::from(std::fs::File::open(node.path("backup")).unwrap()))
        .output()
        .unwrap();
    assert_eq!(code(&piped), 0, "{}", stderr(&piped));
}
