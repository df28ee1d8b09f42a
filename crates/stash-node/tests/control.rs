//! Commands about the node itself: stop, reload, settings, a node in the background, one that does not answer.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

use std::fs::File;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::common::{Node, code, private_dir, stash, stderr, until};

/// A node with a configuration of its own.
fn with_configuration() -> Node {
    Node::start_in(private_dir(), |command| {
        command.env("STASH_CONFIG", command.get_current_dir().unwrap().join("config.toml"));
    })
}

/// A command to a node that has [`with_configuration`].
fn configured(node: &Node, arguments: &[&str]) -> Output {
    let mut command = node.command(arguments);
    command.env("STASH_CONFIG", node.path("config.toml")).output().unwrap()
}

fn text(output: &Output) -> String {
    assert_eq!(code(output), 0, "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_node_that_is_stopped_ends_every_command_within_half_a_minute() {
    let node = Node::start();
    node.file("f", "f");
    node.signal(Signal::STOP);
    let begun = Instant::now();
    let commands = [&["status"][..], &["ls"], &["cat", "f"], &["put", "f"], &["config", "show"]];
    let running: Vec<_> = commands
        .map(|arguments| {
            let mut command = node.command(arguments);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
            (arguments, command.spawn().unwrap())
        })
        .into();
    for (arguments, child) in running {
        let output = child.wait_with_output().unwrap();
        let expected = if arguments[0] == "config" { 0 } else { 5 };
        assert_eq!(code(&output), expected, "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("does not answer"), "{}", stderr(&output));
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let output = node.run(&["ls"]);
    assert!(
        stderr(&output).contains("waiting for an answer of the node at "),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains(&format!("kill -CONT {}", node.pid())), "{}", stderr(&output));
    node.signal(Signal::CONT);
    node.ok(&["ls"]);
}

#[test]
fn stop_waits_until_the_node_has_ended_and_may_be_said_again() {
    let mut node = Node::start();
    let pid = node.pid();
    assert_eq!(node.ok(&["stop"]), format!("stopped process {pid}\n"));
    assert!(!node.data().join("ready.json").exists());
    assert_eq!(node.wait().code(), Some(0));
    assert_eq!(node.ok(&["stop"]), "no node runs\n");
    assert_eq!(node.json(&["stop"])["pid"], Value::Null);
}

#[test]
fn a_node_whose_socket_was_removed_is_named_and_the_way_out_too() {
    let node = Node::start();
    std::fs::remove_file(node.socket()).unwrap();
    for command in ["status", "stop", "up"] {
        let output = node.run(&[command]);
        assert_eq!(code(&output), if command == "up" { 11 } else { 5 }, "{}", stderr(&output));
        let kill = format!("kill {}", node.pid());
        assert!(stderr(&output).contains(&kill), "{command}: {}", stderr(&output));
    }
}

#[test]
fn a_setting_is_written_and_used_by_the_node_that_runs_after_a_reload() {
    let node = with_configuration();
    let set = configured(&node, &["config", "set", "network.bwlimit_up", "2MiB"]);
    assert!(text(&set).starts_with("network.bwlimit_up = \"2MiB\" in "), "{}", text(&set));
    assert!(stderr(&set).contains("stash reload"));
    let file = std::fs::read_to_string(node.path("config.toml")).unwrap();
    assert!(file.starts_with("# stash configuration;") && file.contains("\ncreate = false\n"));
    text(&configured(&node, &["config", "set", "gc.grace", "2d"]));

    let shown = text(&configured(&node, &["config", "show"]));
    let row = shown.lines().find(|line| line.starts_with("network.bwlimit_up")).unwrap();
    assert!(row.contains("2 MiB/s") && row.ends_with("the node that runs: off (default)"), "{row}");
    let reloaded = text(&configured(&node, &["reload"]));
    assert_eq!(
        reloaded,
        "in use now: network.bwlimit_up; used after the next start of the node: gc.grace\n"
    );
    assert_eq!(node.json(&["status"])["traffic"]["up"], 2 << 20);
    let shown = text(&configured(&node, &["config", "show", "--json"]));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let running = shown["running"].as_array().unwrap();
    let value = |name: &str| &running.iter().find(|one| one["name"] == name).unwrap()["value"];
    assert_eq!((value("network.bwlimit_up"), value("gc.grace")), (&"2 MiB/s".into(), &"1d".into()));

    // Whatever the time is, a limit of all hours holds.
    text(&configured(&node, &["config", "set", "network.hours", "up 1 MiB/s 00:00-24:00"]));
    text(&configured(&node, &["reload"]));
    until("the limit of the hours holds", || node.json(&["status"])["traffic"]["up"] == 1 << 20);
    text(&configured(&node, &["config", "unset", "network.hours"]));
    text(&configured(&node, &["config", "unset", "network.bwlimit_up"]));
    text(&configured(&node, &["reload"]));
    until("no limit holds", || node.json(&["status"])["traffic"]["up"] == Value::Null);
}

#[test]
fn what_no_node_could_start_with_is_not_written() {
    let node = with_configuration();
    let before = std::fs::read(node.path("config.toml")).unwrap();
    for (key, value) in [("quota.hard", "much"), ("gc.interval", "1s"), ("gc.intervall", "1h")] {
        let set = configured(&node, &["config", "set", key, value]);
        assert_eq!(code(&set), 2, "{key} {value}: {}", stderr(&set));
        assert!(!stderr(&set).contains(".new"), "{}", stderr(&set));
    }
    assert_eq!(std::fs::read(node.path("config.toml")).unwrap(), before);
    std::fs::write(node.path("config.toml"), "lisen = []\n").unwrap();
    // What names the file works all the same, and the hint leads somewhere.
    text(&configured(&node, &["config", "path"]));
    let broken = configured(&node, &["config", "show"]);
    assert_eq!(code(&broken), 2);
    assert!(
        stderr(&broken).contains("stash config show --config /dev/null"),
        "{}",
        stderr(&broken)
    );
    node.ok(&["config", "show", "--config", "/dev/null"]);
    let broken = configured(&node, &["reload"]);
    assert_eq!(code(&broken), 2, "{}", stderr(&broken));
}

#[test]
fn a_variable_with_a_typo_is_pointed_out() {
    let home = private_dir();
    let mut command = stash(home.path(), &home.path().join("data"));
    let output = command.args(["config", "show"]).env("STASH_LISTN", "[::]:1").output().unwrap();
    assert_eq!(code(&output), 0);
    assert!(stderr(&output).contains("STASH_LISTN"), "{}", stderr(&output));
}

#[test]
fn wrong_arguments_are_a_document_with_json() {
    let home = private_dir();
    for arguments in
        [&["gc", "--nosuch"][..], &["putt", "f"], &["put"], &["invite", "--role", "boss"]]
    {
        let arguments = [&["--json"], arguments].concat();
        let output = stash(home.path(), home.path()).args(&arguments).output().unwrap();
        assert_eq!(code(&output), 2, "{arguments:?}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["error"]["code"], "usage", "{document}");
        let message = document["error"]["message"].as_str().unwrap();
        assert!(!message.is_empty() && !message.contains('\n'), "{message}");
        assert!(output.stderr.is_empty());
    }
    // A file of this name is no flag.
    let output = stash(home.path(), home.path()).args(["putt", "--", "--json"]).output().unwrap();
    assert_eq!((code(&output), output.stdout.len()), (2, 0));
}

#[test]
fn help_is_a_command_too() {
    let home = private_dir();
    for arguments in [&["help", "put"][..], &["put", "--help"], &["help", "peer", "remove"]] {
        let output = stash(home.path(), home.path()).args(arguments).output().unwrap();
        assert!(text(&output).contains("Usage: stash"), "{arguments:?}");
    }
}

#[test]
fn what_was_done_is_said_when_stdout_cannot_be_written() {
    let node = Node::start();
    node.file("f", "f");
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let put = node.command(&["put", "f"]).stdout(full()).output().unwrap();
    assert_eq!(code(&put), 1, "{}", stderr(&put));
    for part in ["it is done", "f: 1 file", "stdout", "No space left"] {
        assert!(stderr(&put).contains(part), "{part}: {}", stderr(&put));
    }
    assert_eq!(node.keys(), ["f"]);
    for command in [&["ls"][..], &["cat", "f"]] {
        let output = node.command(command).stdout(full()).output().unwrap();
        assert_eq!(code(&output), 1, "{}", stderr(&output));
        assert!(stderr(&output).contains("stdout cannot be written"), "{}", stderr(&output));
    }
}

/// Stops the node of a home when the test ends, whatever its end.
struct Stops<'a>(&'a std::path::Path);

impl Stops<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = stash(self.0, &self.0.join("data"));
        command.args(arguments);
        command
    }
}

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        let _stopped = self.command(&["stop"]).output();
    }
}

#[test]
fn a_node_in_the_background_has_left_the_session_and_serves_when_the_command_returns() {
    let home = private_dir();
    let node = Stops(home.path());
    let up =
        node.command(&["up", "--detach", "--listen", "127.0.0.1:0", "--json"]).output().unwrap();
    let done: Value = serde_json::from_str(&text(&up)).unwrap();
    for part in ["stash join TICKET", "to undo it: stash stop --data-dir "] {
        assert!(stderr(&up).contains(part), "{part}: {}", stderr(&up));
    }
    text(&node.command(&["status"]).output().unwrap());
    let pid = Pid::from_raw(i32::try_from(done["pid"].as_i64().unwrap()).unwrap()).unwrap();
    assert_eq!(rustix::process::getsid(Some(pid)).unwrap(), pid, "a session of its own");
    let log = home.path().join("data/up.log");
    assert_eq!(done["log"], log.to_str().unwrap());
    assert!(std::fs::read_to_string(&log).unwrap().contains("serving node "));
    let again = node.command(&["up", "--detach"]).output().unwrap();
    assert_eq!(code(&again), 11, "{}", stderr(&again));
    let stop = text(&node.command(&["stop"]).output().unwrap());
    assert_eq!(stop, format!("stopped process {}\n", done["pid"]));
}

#[test]
fn a_node_that_cannot_serve_in_the_background_says_why_and_with_its_code() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = private_dir();
    let node = Stops(home.path());
    let up = node.command(&["up", "--detach", "--listen", &address]).output().unwrap();
    assert_eq!(code(&up), 5, "{}", stderr(&up));
    for part in [&address[..], "hint: something listens there already"] {
        assert!(stderr(&up).contains(part), "{part}: {}", stderr(&up));
    }
}
