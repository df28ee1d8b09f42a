//! Bad input on one node: a clear error, the right exit code, nothing lost or changed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first thing that goes wrong, and says what it skips"
)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use crate::common::{Node, code, noise, private_dir, root_or_skip, stash, stderr};
use rustix::fs::Mode;

#[test]
fn an_unknown_key_is_not_found_by_any_command() {
    let node = Node::start();
    for arguments in [
        &["get", "none"][..],
        &["cat", "none"],
        &["where", "none"],
        &["rm", "none"],
        &["rm", "-r", "-y", "none"],
        &["evict", "none"],
    ] {
        let problem = node.fails(4, "not_found", arguments);
        assert!(problem["message"].as_str().unwrap().contains("none"), "{problem}");
    }
    assert!(!node.path("none").exists());
}

#[test]
fn what_is_never_stored_is_named_and_is_no_error() {
    let node = Node::start();
    node.file("tree/good", "good");
    let fifo = node.path("tree/fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    std::os::unix::fs::symlink("/etc/passwd", node.path("tree/link")).unwrap();
    std::os::unix::fs::symlink("nowhere", node.path("tree/dangling")).unwrap();
    std::fs::write(node.path("tree").join(OsStr::from_bytes(b"caf\xe9")), "x").unwrap();

    let put = node.run(&["put", "tree", "--json"]);
    assert_eq!(code(&put), 0, "{}", stderr(&put));
    let done: serde_json::Value = serde_json::from_slice(&put.stdout).unwrap();
    let root = &done["roots"][0];
    assert_eq!((&root["files"], &root["skipped"]), (&4.into(), &serde_json::json!([])), "{done}");
    assert_eq!(root["notes"].as_array().unwrap().len(), 1, "{done}");
    assert_eq!(node.keys(), ["tree/caf\\xE9", "tree/dangling", "tree/good", "tree/link"]);
    assert!(stderr(&put).contains("tree/fifo: a named pipe is not stored"), "{}", stderr(&put));

    node.fails(3, "unreadable", &["put", "tree/fifo"]);
    node.fails(3, "unreadable", &["put", "tree/dangling"]);
    node.fails(3, "unreadable", &["put", "nothing here"]);
    let several = node.run(&["put", "nothing here", "tree/good"]);
    assert_eq!(code(&several), 3);
    assert_eq!(node.keys()[0], "good");
}

// Fault case 80.
#[test]
fn a_file_without_read_permission_is_named_and_the_others_are_stored() {
    if rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED, ROOT READS EVERYTHING: a file without read permission");
        return;
    }
    let node = Node::start();
    let closed = node.file("tree/closed", "x");
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    node.file("tree/open", "x");
    let put = node.run(&["put", "tree"]);
    assert_eq!(code(&put), 3, "{}", stderr(&put));
    assert!(stderr(&put).contains("closed"), "{}", stderr(&put));
    assert_eq!(node.keys(), ["tree/open"]);
    let problem = node.fails(3, "unreadable", &["put", "tree/closed"]);
    assert!(problem["message"].as_str().unwrap().contains("closed"), "{problem}");
}

#[test]
fn a_directory_where_a_file_is_meant_is_a_usage_error() {
    let node = Node::start();
    node.file("t/f", "f");
    node.ok(&["put", "t"]);
    std::fs::create_dir(node.path("there")).unwrap();
    node.fails(2, "usage", &["get", "t/f", "-o", "there"]);
    node.fails(2, "usage", &["get", "t/f", "-o", "there", "--overwrite"]);
    node.fails(2, "usage", &["rm", "t"]);
    node.fails(2, "usage", &["evict", "t"]);
    assert_eq!(std::fs::read_dir(node.path("there")).unwrap().count(), 0);
}

#[test]
fn an_output_that_exists_is_kept_unless_it_may_be_overwritten() {
    let node = Node::start();
    node.file("f", "new");
    node.ok(&["put", "f"]);
    let out = node.file("out", "precious");
    let problem = node.fails(9, "refused", &["get", "f", "-o", "out"]);
    assert!(problem["hint"].as_str().unwrap().contains("--overwrite"));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "precious");
    node.ok(&["get", "f", "-o", "out", "--overwrite"]);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "new");
    // Without -o the output is ./f, which is the input: the same, and left alone.
    assert_eq!(node.json(&["get", "f"])["unchanged"], 1);
}

// Fault case 83.
#[test]
fn absolute_keys_and_keys_that_climb_are_refused_in_and_out() {
    let node = Node::start();
    node.file("f", "f");
    let long = "k".repeat(1025);
    for key in ["/etc/x", "../x", "a/../x", "a//b", "./a", "", "a/", &long] {
        node.fails(2, "usage", &["put", "f", "--as", key]);
        node.fails(2, "usage", &["cat", key]);
        node.fails(2, "usage", &["where", key]);
    }
    for key in ["/etc/passwd", "../x", "a/../x", "..", &long] {
        node.fails(2, "usage", &["get", key, "-o", "out"]);
        node.fails(2, "usage", &["rm", key]);
        node.fails(2, "usage", &["evict", key]);
        node.fails(2, "usage", &["ls", key]);
    }
    assert!(node.keys().is_empty());
    assert!(!node.path("out").exists());
    // No file system has a name of so many bytes.
    node.fails(2, "usage", &["put", "f", "--as", &"k".repeat(256)]);
    let longest = ["k".repeat(204).as_str(); 5].join("/");
    assert_eq!(longest.len(), 1024);
    node.ok(&["put", "f", "--as", &longest]);
    assert_eq!(node.run(&["cat", &longest]).stdout, b"f");
}

#[test]
fn names_that_are_not_utf_8_are_usage_errors() {
    let node = Node::start();
    let name = OsStr::from_bytes(b"caf\xe9");
    std::fs::write(node.home.path().join(name), "x").unwrap();
    for command in ["put", "get", "cat", "where"] {
        let output = node.command(&[command]).arg(name).output().unwrap();
        assert_eq!(code(&output), 2, "{command}: {}", stderr(&output));
    }
    assert!(node.keys().is_empty());
}

// Fault case 112.
#[test]
fn a_mistyped_ticket_is_refused_with_the_place_of_the_slip() {
    let node = Node::start();
    let ticket = node.json(&["invite", "--role", "keeper"])["ticket"].as_str().unwrap().to_owned();
    let other = private_dir();
    let step = ticket.len() / 12;
    let slips = (13..ticket.len()).step_by(step.max(1));
    assert!(slips.len() > 8);
    for slip in slips {
        let mut typed = ticket.clone().into_bytes();
        typed[slip] = if typed[slip] == b'q' { b'p' } else { b'q' };
        let typed = String::from_utf8(typed).unwrap();
        let join = stash(other.path(), &other.path().join("data"))
            .args(["join", &typed])
            .output()
            .unwrap();
        assert_eq!(code(&join), 2, "{}", stderr(&join));
        let place = format!("character {}", slip + 1);
        assert!(stderr(&join).contains(&place), "{place} is not in {}", stderr(&join));
    }
    assert!(!other.path().join("data").exists(), "never a new stash");
    node.fails(2, "usage", &["join", &ticket[..ticket.len() - 9]]);
}

#[test]
fn without_a_daemon_every_client_says_how_to_start_it() {
    let home = private_dir();
    std::fs::write(home.path().join("f"), "f").unwrap();
    for arguments in [
        &["put", "f"][..],
        &["get", "k"],
        &["cat", "k"],
        &["ls"],
        &["rm", "k"],
        &["evict", "k"],
        &["where", "k"],
        &["invite", "--role", "keeper"],
        &["peers"],
        &["status"],
        &["key", "recovery"],
        &["key", "show"],
    ] {
        let output =
            stash(home.path(), &home.path().join("data")).args(arguments).output().unwrap();
        assert_eq!(code(&output), 5, "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("stash up"), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_configuration_error_names_file_line_and_key() {
    let home = private_dir();
    let file = home.path().join("config.toml");
    std::fs::write(&file, "name = \"x\"\nlisten_at = []\n").unwrap();
    let output = stash(home.path(), &home.path().join("data"))
        .args(["status", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(code(&output), 2);
    for part in ["config.toml", "line 2", "listen_at"] {
        assert!(stderr(&output).contains(part), "{part}: {}", stderr(&output));
    }
}

// Fault case 78: a flipped bit may leave no UTF-8.
#[test]
fn a_configuration_that_is_no_utf_8_is_refused_with_its_line() {
    let home = private_dir();
    let file = home.path().join("config.toml");
    std::fs::write(&file, b"# one\n# two\nlog = \"\xe9nfo\"\n").unwrap();
    let mut command = stash(home.path(), &home.path().join("data"));
    let output = command.args(["status", "--config"]).arg(&file).output().unwrap();
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("config.toml, line 3: "), "{}", stderr(&output));
}

#[test]
fn a_socket_path_that_is_too_long_is_an_error_that_says_so() {
    let home = private_dir();
    let long = home.path().join("x".repeat(120));
    for command in ["up", "status"] {
        let output = stash(home.path(), &home.path().join("data"))
            .args([command, "--socket"])
            .arg(&long)
            .output()
            .unwrap();
        assert_eq!(code(&output), 2);
        assert!(stderr(&output).contains("107"), "{}", stderr(&output));
    }
}

/// A file system of a few megabytes that goes when the test ends.
struct SmallDisk(std::path::PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _lazily = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A home whose data directory lies on a tmpfs of 48 MiB; `None`, loudly, where none can be mounted.
fn home_on_small_disk(what: &str) -> Option<(SmallDisk, tempfile::TempDir)> {
    let home = private_dir();
    let disk = home.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=48m,mode=0700", "tmpfs"])
        .arg(&disk)
        .stderr(Stdio::null())
        .status();
    if !mount.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED, CANNOT MOUNT A TMPFS: {what}");
        return None;
    }
    let mounted = SmallDisk(disk.clone());
    std::os::unix::fs::symlink(disk.join("data"), home.path().join("data")).unwrap();
    std::fs::create_dir(disk.join("data")).unwrap();
    std::fs::set_permissions(
        disk.join("data"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    Some((mounted, home))
}

/// Fault case 80: a read-only disk is named, and nothing on it is lost.
#[test]
fn a_disk_that_became_read_only_is_named_and_loses_nothing() {
    if !root_or_skip("a read-only disk, on a small tmpfs") {
        return;
    }
    let Some((mounted, home)) = home_on_small_disk("a read-only disk") else { return };
    let remount = |mode: &str| {
        let options = format!("remount,{mode}");
        let mut mount = std::process::Command::new("mount");
        let done = mount.args(["-o", &options]).arg(&mounted.0);
        assert!(done.status().unwrap().success(), "remount {mode}");
    };
    let node = Node::start_in(home, |_| {});
    node.file("kept", noise(3, 200_000));
    node.ok(&["put", "kept"]);
    let (home, _) = node.stop();
    remount("ro");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_stash"))
        .args(["up", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(home.path().join("data"))
        .arg("--socket")
        .arg(home.path().join("socket"))
        .env("HOME", home.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("Read-only file system"), "{words}");
    let mut check = stash(home.path(), &home.path().join("data"));
    let check = check.args(["check", "--read-data", "--json"]).output().unwrap();
    assert_eq!(code(&check), 0, "{}", stderr(&check));
    let done: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!((&done["sound"], &done["found"]), (&true.into(), &0.into()), "{done}");
    remount("rw");
    let node = Node::start_in(home, |_| {});
    assert_eq!(node.run(&["cat", "kept"]).stdout, noise(3, 200_000));
    let (home, _) = node.stop();
    drop(mounted);
    drop(home);
}

// Fault case 44.
#[test]
fn a_full_disk_fails_the_put_and_keeps_everything_that_was_stored() {
    if !root_or_skip("a full disk, on a small tmpfs") {
        return;
    }
    let Some((mounted, home)) = home_on_small_disk("a full disk") else { return };
    let node = Node::start_in(home, |_| {});
    node.file("small", noise(1, 200_000));
    node.ok(&["put", "small"]);
    node.file("huge", noise(2, 64 << 20));
    let problem = node.fails(8, "full", &["put", "huge"]);
    assert!(problem["hint"].is_string(), "{problem}");
    assert_eq!(node.keys(), ["small"]);
    assert_eq!(node.run(&["cat", "small"]).stdout, noise(1, 200_000));
    let (home, _) = node.stop();
    let node = Node::start_in(home, |_| {});
    assert_eq!(node.run(&["cat", "small"]).stdout, noise(1, 200_000));
    let (home, _) = node.stop();
    // Before the directory that it is mounted in.
    drop(mounted);
    drop(home);
}
