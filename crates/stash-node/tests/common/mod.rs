//! A node of its own for each test: its own directory, port and process, stopped by its own handle.

#![allow(dead_code, reason = "each test program uses its part of this")]

pub(crate) mod disk;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Far longer than anything here takes; a test that hangs ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program with an environment that knows nothing of this machine's stash.
pub(crate) fn stash(home: &Path, data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stash"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("STASH_") || text.starts_with("XDG_") {
            command.env_remove(&name);
        }
    }
    command.env("HOME", home).arg("--data-dir").arg(data_dir).current_dir(home);
    command.stdin(Stdio::null());
    command
}

/// A running node.
pub(crate) struct Node {
    pub(crate) home: TempDir,
    child: Child,
    log: Receiver<String>,
    seen: Vec<String>,
}

impl Node {
    /// A new node with a stash of its own.
    pub(crate) fn start() -> Self {
        Self::start_in(private_dir(), |_| {})
    }

    /// A node whose home directory exists already, with changes to its command.
    pub(crate) fn start_in(home: TempDir, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = stash(home.path(), &home.path().join("data"));
        command.args(["up", "--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (lines, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(Result::ok) {
                let _over = lines.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let mut node = Self { home, child, log, seen: Vec::new() };
        node.await_line("serving node ");
        node
    }

    /// Waits for a line of the log.
    pub(crate) fn await_line(&mut self, text: &str) {
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let found = line.contains(text);
                    self.seen.push(line);
                    if found {
                        return;
                    }
                }
                Err(_) => panic!("no line {text:?} in {:#?}", self.seen),
            }
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.data().join("stash.sock")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A path below the node's home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Writes a file below the node's home.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A command to this node.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = stash(self.home.path(), &self.data());
        command.args(arguments);
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed and gives its stdout.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(code(&output), 0, "{arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command with `--json` that must succeed and gives its document.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--json"]].concat());
        assert_eq!(text.lines().count(), 1, "one document: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Runs a command that must fail with this exit code, and gives its error from stdout (JSON).
    pub(crate) fn fails(&self, exit: i32, word: &str, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(code(&output), exit, "{arguments:?}: {}", stderr(&output));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["error"]["code"], word, "{arguments:?}: {document}");
        let message = document["error"]["message"].as_str().unwrap();
        assert!(!message.is_empty());
        document["error"].clone()
    }

    /// Every key that is listed.
    pub(crate) fn keys(&self) -> Vec<String> {
        let listing = self.json(&["ls", "-R"]);
        let entries = listing["entries"].as_array().unwrap();
        entries.iter().map(|entry| entry["key"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(&self.child, signal);
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// Stops the node cleanly and gives its home and everything it logged.
    pub(crate) fn stop(mut self) -> (TempDir, Vec<String>) {
        self.signal(Signal::TERM);
        assert_eq!(self.wait().code(), Some(0));
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        let home = std::mem::replace(&mut self.home, private_dir());
        (home, std::mem::take(&mut self.seen))
    }

    /// Kills the node and gives its home.
    pub(crate) fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.home, private_dir())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A node that joins the founder's stash, under a name.
pub(crate) fn member(founder: &Node, role: &str, name: &str) -> Node {
    let ticket = founder.ok(&["invite", "--role", role]);
    let node = Node::start();
    node.ok(&["join", ticket.trim(), "--name", name]);
    node
}

/// Waits until a node is connected to so many members, itself counted.
pub(crate) fn connected(node: &Node, members: u64) {
    until("members are connected", || node.json(&["status"])["connected"] == members);
}

/// Waits until something holds that is bound to.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A directory in which a socket's path is short enough.
pub(crate) fn private_dir() -> TempDir {
    tempfile::Builder::new().prefix("sn").tempdir().unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Waits for a child, but not for ever: a watchdog kills one that hangs.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let (ended, watch) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if watch.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _gone = kill_process(pid, Signal::KILL);
        }
    });
    let status = child.wait().unwrap();
    drop(ended);
    watchdog.join().unwrap();
    status
}

/// Bytes that no compressor or accident makes again, different for each seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// True if this process is root; some tests need it, and say so when they are skipped.
pub(crate) fn root_or_skip(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        #[expect(clippy::print_stderr, reason = "a test that is skipped says so loudly")]
        {
            eprintln!("SKIPPED, NEEDS ROOT: {test}");
        }
    }
    root
}
