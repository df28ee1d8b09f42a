//! The socket itself: who may use it, and what a program in any language meets.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first thing that goes wrong, and says what it skips"
)]

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::common::{Node, code, noise, root_or_skip, stderr};

/// Sends bytes as they are and reads to the end.
fn raw(node: &Node, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(node.socket()).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A connection that the node resets after its answer has given the answer.
    let _reset = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(node: &Node, path: &str, headers: &str) -> String {
    raw(
        node,
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n").as_bytes(),
    )
}

// Fault case 123.
#[test]
fn the_socket_is_private_and_belongs_to_the_user_of_the_node() {
    let node = Node::start();
    let socket = std::fs::symlink_metadata(node.socket()).unwrap();
    assert_eq!(socket.mode() & 0o777, 0o600);
    assert_eq!(socket.uid(), rustix::process::geteuid().as_raw());
    let dir = std::fs::metadata(node.socket().parent().unwrap()).unwrap();
    assert_eq!(dir.mode() & 0o777, 0o700);
    for secret in ["keyring", "names", "tags"] {
        let metadata = std::fs::metadata(node.data().join(secret)).unwrap();
        assert_eq!(metadata.mode() & 0o077, 0, "{secret}");
    }
}

// Fault case 123.
#[test]
fn another_user_is_refused_even_where_the_file_modes_would_let_it_in() {
    if !root_or_skip("another user at the socket") {
        return;
    }
    let node = Node::start();
    for path in [node.home.path().to_owned(), node.data()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::set_permissions(node.socket(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let program = node.path("stash-copy");
    std::fs::copy(env!("CARGO_BIN_EXE_stash"), &program).unwrap();
    let output = Command::new(&program)
        .args(["status", "--json", "--socket"])
        .arg(node.socket())
        .arg("--data-dir")
        .arg(node.data())
        .env("HOME", "/")
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    assert_eq!(code(&output), 9, "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("own user"));
    node.ok(&["status"]);
}

// Fault case 40.
#[test]
fn ranges_follow_the_http_rules() {
    let node = Node::start();
    node.file("f", "0123456789");
    node.ok(&["put", "f"]);
    let whole = get(&node, "/v1/objects/f", "");
    assert!(whole.starts_with("HTTP/1.1 200 "), "{whole}");
    assert!(whole.contains("accept-ranges: bytes") && whole.contains("nosniff"), "{whole}");
    assert!(whole.ends_with("0123456789"));
    for (range, content_range, body) in [
        ("bytes=2-4", "content-range: bytes 2-4/10", "234"),
        ("bytes=-3", "content-range: bytes 7-9/10", "789"),
        ("bytes=8-18446744073709551615", "content-range: bytes 8-9/10", "89"),
        ("bytes=8-99999999999999999999999", "content-range: bytes 8-9/10", "89"),
    ] {
        let part = get(&node, "/v1/objects/f", &format!("range: {range}\r\n"));
        assert!(part.starts_with("HTTP/1.1 206 "), "{range}: {part}");
        assert!(part.contains(content_range) && part.ends_with(body), "{range}: {part}");
    }
    let none = get(&node, "/v1/objects/f", "range: bytes=10-\r\n");
    assert!(none.starts_with("HTTP/1.1 416 ") && none.contains("bytes */10"), "{none}");
    for ignored in ["bytes=0-1,4-5", "bytes=5-2", "lines=1-2"] {
        let whole = get(&node, "/v1/objects/f", &format!("range: {ignored}\r\n"));
        assert!(whole.starts_with("HTTP/1.1 200 ") && whole.ends_with("0123456789"), "{whole}");
    }
}

#[test]
fn errors_have_a_fitting_status_and_the_documented_body() {
    let node = Node::start();
    for (path, status, word) in [
        ("/v1/objects/none", "404", "not_found"),
        ("/v1/objects/..%2Fx", "400", "usage"),
        ("/v1/objects/%ff", "400", "usage"),
        ("/v1/where/none", "404", "not_found"),
        ("/v1/ls?limit=x", "400", "usage"),
        ("/v1/ls?wrong=x", "400", "usage"),
        ("/v2/anything", "400", "usage"),
    ] {
        let answer = get(&node, path, "");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["code"], word, "{path}");
    }
}

#[test]
fn a_listing_goes_page_by_page() {
    let node = Node::start();
    for name in ["a", "b", "c"] {
        node.file(&format!("t/{name}"), name);
    }
    node.ok(&["put", "t"]);
    let page = |query: &str| -> serde_json::Value {
        let answer = get(&node, &format!("/v1/ls?{query}"), "");
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
    };
    let first = page("limit=2");
    assert_eq!((&first["entries"].as_array().unwrap().len(), &first["next"]), (&2, &"t/b".into()));
    let rest = page("limit=2&after=t%2Fb");
    assert_eq!(
        (&rest["entries"][0]["key"], &rest["next"]),
        (&"t/c".into(), &serde_json::Value::Null)
    );
}

#[test]
fn a_body_that_does_not_reach_its_end_stores_nothing() {
    let node = Node::start();
    let mut stream = UnixStream::connect(node.socket()).unwrap();
    let head = "PUT /v1/objects/cut HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&noise(1, 4_999_999)).unwrap();
    drop(stream);
    let chunked =
        "PUT /v1/objects/cut HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    drop(raw_half(&node, chunked));
    node.fails(4, "not_found", &["where", "cut"]);
    let whole = "PUT /v1/objects/whole?wait=local HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                 content-length: 3\r\n\r\nabc";
    assert!(raw(&node, whole.as_bytes()).starts_with("HTTP/1.1 200 "));
    let delete = "DELETE /v1/objects/whole HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert!(raw(&node, delete.as_bytes()).starts_with("HTTP/1.1 200 "));
    assert!(node.keys().is_empty());
}

// Fault cases 36 and 93.
#[test]
fn a_get_whose_client_leaves_shows_the_whole_file_or_none() {
    const SIZE: usize = 24 << 20;
    let node = Node::start();
    node.file("big", noise(5, SIZE));
    node.ok(&["put", "big"]);
    std::fs::create_dir(node.path("out")).unwrap();
    for turn in 0..8 {
        let output = node.path(&format!("out/{turn}"));
        let body = format!(r#"{{"key":"big","output":{output:?}}}"#);
        let head = "POST /v1/get HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
        let length = body.len();
        let mut stream = raw_half(&node, &format!("{head}content-length: {length}\r\n\r\n{body}"));
        if turn % 2 == 0 {
            // Until the answer has begun: the get is under way, or done.
            let _begun = stream.read(&mut [0; 64]);
        }
        drop(stream);
    }
    let (home, _) = node.stop();
    for entry in std::fs::read_dir(home.path().join("out")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.len() == 1, "{name} was left behind");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), SIZE as u64, "{name}");
    }
}

fn raw_half(node: &Node, request: &str) -> UnixStream {
    let mut stream = UnixStream::connect(node.socket()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

// Fault case 126.
#[test]
fn hostile_requests_are_refused_and_the_node_goes_on() {
    let node = Node::start();
    let many: String = (0..100_000).map(|n| format!("h{n}: x\r\n")).collect();
    let long = format!("GET /v1/objects/{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(1 << 20));
    let bomb = format!("GET /v1/status HTTP/1.1\r\n{many}\r\n");
    let huge = "x".repeat(5 << 20);
    let document = format!(
        "POST /v1/put HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{huge}",
        huge.len()
    );
    for request in [
        &b"\x00\xff\x16\x03\x01 garbage\r\n\r\n"[..],
        long.as_bytes(),
        bomb.as_bytes(),
        document.as_bytes(),
    ] {
        let mut stream = UnixStream::connect(node.socket()).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        // The node may hang up before it has read everything.
        let _hung_up = stream.write_all(request);
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        node.ok(&["status"]);
    }
}

// Fault cases 71 and 63: what users store and type is in no log, at any level.
#[test]
fn no_name_and_no_content_is_logged_at_trace_level() {
    const MARKER: &str = "zq7markerq7z";
    let node = Node::start_in(crate::common::private_dir(), |command| {
        command.env("STASH_LOG", "trace");
    });
    let tree = format!("{MARKER}-tree");
    node.file(&format!("{tree}/{MARKER}.txt"), format!("{MARKER} content").repeat(1000));
    node.file(&format!("{tree}/big"), MARKER.repeat(300_000));
    let key = format!("{tree}/{MARKER}.txt");
    node.ok(&["put", &tree]);
    node.ok(&["ls", "-l", &tree]);
    node.ok(&["where", &key]);
    node.ok(&["get", &tree, "-o", &format!("{MARKER}-out")]);
    node.ok(&["cat", &key]);
    node.fails(4, "not_found", &["cat", &format!("{MARKER}-none")]);
    node.fails(9, "refused", &["evict", &key]);
    node.fails(2, "usage", &["get", &format!("../{MARKER}")]);
    let recovery = node.json(&["key", "recovery"])["recovery"].as_str().unwrap().to_owned();
    let ticket = node.json(&["invite", "--role", "owner"])["ticket"].as_str().unwrap().to_owned();
    node.ok(&["rm", "-r", "-y", &tree]);
    let argv = std::fs::read(format!("/proc/{}/cmdline", node.pid())).unwrap();
    let (home, log) = node.stop();
    assert!(log.len() > 3, "there is a log to look at");
    let word = recovery.split_whitespace().nth(4).unwrap();
    for line in &log {
        for secret in [MARKER, &ticket[20..], word] {
            assert!(!line.contains(secret), "{line}");
        }
    }
    assert!(!String::from_utf8_lossy(&argv).contains(MARKER));
    for name in ["ready.json", "stash.sock.lock"] {
        let text = std::fs::read(home.path().join("data").join(name)).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&text).contains(MARKER));
    }
}
