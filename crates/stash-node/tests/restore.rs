//! What a restore does to a directory that is there, and to one that it was making when the node died.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::disk::files_below;
use crate::common::{Node, code, connected, member, noise, stderr, until};

/// Files that are whole below a directory.
fn whole(dir: &Path) -> usize {
    if !dir.exists() {
        return 0;
    }
    let is_part = |path: &Path| path.to_string_lossy().contains(".stash-");
    files_below(dir).iter().filter(|path| !is_part(path)).count()
}

/// Fault case 88: SIGKILL during a get.
#[test]
fn a_node_that_is_killed_in_the_middle_of_a_get_goes_on_where_it_was() {
    const FILES: usize = 64;
    const SIZE: usize = 128 << 10;
    let founder = Node::start();
    for i in 0..FILES {
        founder.file(&format!("t/{}/{i}", i % 5), noise(i as u64, SIZE));
    }
    let reader = member(&founder, "reader", "reader");
    connected(&founder, 2);
    founder.ok(&["put", "t", "--wait", "all"]);
    reader.ok(&["evict", "-r", "--copies", "1", "t"]);
    let (home, _) = reader.stop();
    // Four seconds for all of it.
    let reader = Node::start_in(home, |command| {
        command.args(["--bwlimit", "2MiB"]);
    });
    connected(&reader, 2);
    let out = reader.path("out");
    let mut get = reader.command(&["get", "t", "-o", "out", "--no-keep"]);
    let mut get = get.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("half of the files are there", || whole(&out) * 2 >= FILES);
    let home = reader.kill();
    get.wait().unwrap();
    let out = home.path().join("out");
    let there = whole(&out);
    assert!(there < FILES, "all of it was there already");

    let reader = Node::start_in(home, |_| {});
    connected(&reader, 2);
    let before = reader.json(&["status"])["traffic"]["received"].as_u64().unwrap();
    let done = reader.json(&["get", "t", "-o", "out", "--no-keep"]);
    let read = reader.json(&["status"])["traffic"]["received"].as_u64().unwrap() - before;
    let (written, unchanged) =
        (done["files"].as_u64().unwrap(), done["unchanged"].as_u64().unwrap());
    assert_eq!((written + unchanged, unchanged), (FILES as u64, there as u64), "{done}");
    let total = (FILES * SIZE) as u64;
    assert!(done["bytes"].as_u64().unwrap() * 100 < total * 55, "{done}");
    assert!(read * 100 < total * 55, "{read} of {total} bytes came again");
    for i in 0..FILES {
        let back = std::fs::read(out.join(format!("{}/{i}", i % 5))).unwrap();
        assert!(back == noise(i as u64, SIZE), "{i}");
    }
    let mode = out.metadata().unwrap().permissions().mode() & 0o7777;
    let stored = founder.path("t").metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, stored, "it is finished");
}

#[test]
fn a_get_into_a_directory_that_is_there_says_what_it_would_do_and_does_no_more() {
    let node = Node::start();
    for name in ["t/a", "t/b", "t/sub/c"] {
        node.file(name, name);
    }
    node.ok(&["put", "t"]);
    assert_eq!(
        node.ok(&["get", "t", "-o", "out", "--dry-run"]),
        "out: would write 3 files, 13 B\n"
    );
    assert!(!node.path("out").exists());
    node.ok(&["get", "t", "-o", "out"]);
    node.file("out/b", "mine");
    std::fs::remove_file(node.path("out/a")).unwrap();
    for (flags, line) in [
        (&["--dry-run"][..], "out: would write 1 file, 3 B; there already 1 file, 7 B; 1 not\n"),
        (&[], "out: 1 file, 3 B; there already 1 file, 7 B; 1 not\n"),
    ] {
        let got = node.run(&[&["get", "t", "-o", "out"], flags].concat());
        assert_eq!((code(&got), String::from_utf8_lossy(&got.stdout).as_ref()), (9, line));
        assert!(stderr(&got).contains("not back: t/b: "), "{}", stderr(&got));
    }
    let done = node.run(&["get", "t", "-o", "out", "--json"]);
    let done: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&done["code"], &done["failed"][0]["key"]), (&"refused".into(), &"t/b".into()));
    assert_eq!(std::fs::read_to_string(node.path("out/b")).unwrap(), "mine");
    assert_eq!(
        node.ok(&["get", "t", "-o", "out", "--overwrite"]),
        "out: 1 file, 3 B; there already 2 files, 10 B\n"
    );
    assert_eq!(
        node.ok(&["get", "t", "-o", "out", "--verify"]),
        "out: 0 files, 0 B; there already 3 files, 13 B\n"
    );
    // One file, into a directory that is to be made.
    node.ok(&["get", "t/a", "-o", "new/"]);
    assert_eq!(std::fs::read_to_string(node.path("new/a")).unwrap(), "t/a");
}

#[test]
fn keys_and_patterns_are_written_below_one_directory() {
    let node = Node::start();
    for name in ["p/1/a.jpg", "p/1/b.png", "p/2/a.jpg", "p/2/[x].jpg", "note"] {
        node.file(name, name);
    }
    node.ok(&["put", "p", "note"]);
    assert_eq!(node.json(&["get", "p/*/*.jpg", "note", "-o", "out"])["files"], 4);
    for (path, content) in
        [("1/a.jpg", "p/1/a.jpg"), ("2/[x].jpg", "p/2/[x].jpg"), ("note", "note")]
    {
        assert_eq!(std::fs::read_to_string(node.path(&format!("out/{path}"))).unwrap(), content);
    }
    // A key that is stored is no pattern, and is the output itself.
    node.ok(&["get", "p/2/[x].jpg", "-o", "one"]);
    assert_eq!(std::fs::read_to_string(node.path("one")).unwrap(), "p/2/[x].jpg");
    node.ok(&["get", "p/?/b*"]);
    assert!(node.path("1/b.png").exists(), "below the working directory");
    node.fails(4, "not_found", &["get", "p/*.gif", "-o", "none"]);
    assert!(!node.path("none").exists());
    node.fails(2, "usage", &["get", "note", "p/1", "-o", "-"]);
    node.fails(2, "usage", &["get", "p/1/a.jpg", "p/2/a.jpg", "-o", "same"]);
}

/// Nothing but files and links is ever replaced.
#[test]
fn a_named_pipe_in_the_place_of_an_output_stays_one() {
    let node = Node::start();
    node.file("f", "content");
    node.ok(&["put", "f"]);
    let made = Command::new("mkfifo").arg(node.path("pipe")).status().unwrap();
    assert!(made.success());
    let problem = node.fails(9, "refused", &["get", "f", "-o", "pipe", "--overwrite"]);
    assert!(problem["hint"].as_str().unwrap().contains("-o -"), "{problem}");
    assert!(node.path("pipe").symlink_metadata().unwrap().file_type().is_fifo());
    node.fails(9, "refused", &["get", "f", "-o", "/dev/null", "--overwrite"]);
}

/// The node makes the directories, and whoever asks for them has a mask of his own.
#[test]
fn directories_that_no_record_describes_are_made_with_the_callers_umask() {
    let node = Node::start();
    let mut put = node.command(&["put", "-", "--as", "s/deep/x"]);
    let mut put = put.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    put.stdin.take().unwrap().write_all(b"x").unwrap();
    assert!(put.wait().unwrap().success());
    let got = Command::new("sh")
        .args(["-c", "umask 077 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_stash")])
        .args(["--data-dir".as_ref(), node.data().as_os_str()])
        .args(["get", "s", "-o", "out"])
        .current_dir(node.home.path())
        .env("HOME", node.home.path())
        .output()
        .unwrap();
    assert_eq!(code(&got), 0, "{}", stderr(&got));
    for path in ["out", "out/deep"] {
        let mode = node.path(path).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{path}");
    }
}
