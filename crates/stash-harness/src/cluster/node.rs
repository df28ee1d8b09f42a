//! A node of a cluster: its directories, its process, and the `stash` commands a user of it would type.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use stash_api::node::Ready;

use crate::cluster::role::Role;
use crate::process::Owned;
use crate::{guard, interrupt, machine};

/// From start to `ready.json`. The design asks for 0.5 s with a million objects and 1 s after a SIGKILL; the rest is for
/// slow machines.
const READY: Duration = Duration::from_secs(20);

/// From SIGTERM to the end of the process.
const STOP: Duration = Duration::from_secs(10);

/// The pause between two looks at `ready.json`.
const LOOK: Duration = Duration::from_millis(5);

/// The outcome of a start.
#[derive(Debug)]
pub enum Started {
    /// It serves, after so long.
    Serving(Duration),
    /// It ended instead. No code: by a signal.
    Ended {
        /// Its exit code.
        code: Option<i32>,
        /// The end of its log.
        said: String,
    },
}

/// Where a node lives, if that is not the loopback of this machine.
#[derive(Debug, Clone)]
pub struct Place {
    /// Words before the program to run it there. They must become the program, with its process id.
    pub enter: Vec<String>,
    /// Address and port; port 0 for a free one.
    pub listen: String,
}

/// A node; its process is stopped when it is dropped.
#[derive(Debug)]
pub struct Node {
    /// 1 for the founder.
    pub number: usize,
    /// The role in the ticket.
    pub role: Role,
    /// Holds `data/`, `log` and what else belongs to this node.
    pub home: PathBuf,
    /// Node id, once it has served.
    pub id: String,
    binary: PathBuf,
    socket: PathBuf,
    /// Where it listens: a free port at the first start, the same port afterwards.
    listen: String,
    /// Words before the program: see [`Place`].
    enter: Vec<String>,
    advertise: Option<String>,
    log_level: String,
    /// Words behind those that every node is started with.
    more: Vec<String>,
    process: Option<Owned>,
    peak_kib: u64,
}

impl Node {
    /// A node that has nothing yet: directories below `run`, its socket in `sockets`.
    pub fn new(
        number: usize,
        role: Role,
        run: &Path,
        sockets: &Path,
        binary: &Path,
    ) -> Result<Self> {
        let home = run.join(format!("node{number}"));
        fs::create_dir_all(home.join("home"))?;
        Ok(Self {
            number,
            role,
            home,
            id: String::new(),
            binary: binary.to_path_buf(),
            socket: sockets.join(format!("{number}.sock")),
            listen: "127.0.0.1:0".into(),
            enter: vec![],
            advertise: None,
            log_level: "info".into(),
            more: vec![],
            process: None,
            peak_kib: 0,
        })
    }

    /// Runs there from now on, both the node and its commands: one that joins dials by itself.
    pub fn live_in(&mut self, place: Place) {
        self.enter = place.enter;
        self.listen = place.listen;
    }

    /// The program to run, and its first arguments.
    pub(super) fn program(&self) -> (&Path, Vec<&OsStr>) {
        let mut words = self.enter.iter().map(OsStr::new).chain([self.binary.as_os_str()]);
        let first = words.next().map_or(self.binary.as_path(), Path::new);
        (first, words.collect())
    }

    /// Tells peers this address instead of the one it listens on.
    pub fn advertise(&mut self, address: String) {
        self.advertise = Some(address);
    }

    /// Filter of its log, from its next start on.
    pub fn log_level(&mut self, filter: &str) {
        self.log_level = filter.into();
    }

    /// Starts it with these options besides, from its next start on.
    pub fn with(&mut self, options: &[&str]) {
        self.more = options.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Name that its stash knows, such as `node2`.
    pub fn name(&self) -> String {
        format!("node{}", self.number)
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Its log, of all its processes.
    pub fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    /// Where it listens, once it has served.
    pub fn listen(&self) -> &str {
        &self.listen
    }

    /// True if it was started and neither stopped nor killed since.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The variables that make `stash` speak to this node, for a shell.
    pub fn variables(&self) -> [(&'static str, PathBuf); 2] {
        [("STASH_DATA_DIR", self.data()), ("STASH_SOCKET", self.socket.clone())]
    }

    /// Nothing of the caller's own stash may leak in: every `STASH_*` and XDG variable is the node's.
    pub(super) fn surroundings(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"STASH_") {
                command.env_remove(name);
            }
        }
        let home = self.home.join("home");
        command.envs(self.variables()).env("STASH_NAME", self.name()).env("HOME", &home);
        for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"] {
            command.env(name, &home);
        }
    }

    /// Starts `stash up` and waits until it serves. Returns how long that took.
    pub fn start(&mut self) -> Result<Duration> {
        match self.try_start()? {
            Started::Serving(took) => Ok(took),
            Started::Ended { code, said } => {
                bail!("{} ended while starting ({code:?}); its log: {said}", self.name())
            }
        }
    }

    /// As [`Node::start`], for a node that may refuse to.
    pub fn try_start(&mut self) -> Result<Started> {
        if self.is_running() {
            bail!("{} runs already", self.name());
        }
        let started = Instant::now();
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let (program, first) = self.program();
        let mut command = guard::command(program);
        command.args(first);
        self.surroundings(&mut command);
        command.args(["up", "--listen", &self.listen, "--name", &self.name()]);
        if let Some(address) = &self.advertise {
            command.args(["--advertise", address]);
        }
        command.args(&self.more);
        command.env("STASH_LOG", &self.log_level).current_dir(&self.home);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = self.process.insert(Owned::spawn(&mut command)?);
        let pid = process.id();
        match self.wait_ready(pid, started + READY)? {
            Ok(ready) => self.note(ready)?,
            Err(code) => return Ok(Started::Ended { code, said: self.log_tail() }),
        }
        Ok(Started::Serving(started.elapsed()))
    }

    /// After a join through the running program, the node is another one.
    pub fn refresh_ready(&mut self) -> Result<()> {
        let pid = self.process.as_ref().map(Owned::id).context("not running")?;
        match self.wait_ready(pid, Instant::now() + READY)? {
            Ok(ready) => self.note(ready),
            Err(code) => bail!("{} ended ({code:?}); its log: {}", self.name(), self.log_tail()),
        }
    }

    fn note(&mut self, ready: Ready) -> Result<()> {
        self.listen = ready.listen.first().context("ready.json names no address")?.to_string();
        self.id = ready.node_id;
        Ok(())
    }

    /// The page of the process, or its exit code if it ended without one.
    fn wait_ready(&mut self, pid: u32, deadline: Instant) -> Result<Result<Ready, Option<i32>>> {
        let path = self.data().join("ready.json");
        loop {
            // A page left by a killed predecessor has another process id.
            if let Some(ready) = read_ready(&path).filter(|ready| ready.pid == pid) {
                return Ok(Ok(ready));
            }
            let process = self.process.as_mut().context("not running")?;
            if let Some(status) = process.wait(LOOK)? {
                self.process = None;
                return Ok(Err(status.code()));
            }
            interrupt::check()?;
            if Instant::now() > deadline {
                bail!(
                    "{} wrote no {} in time; its log: {}",
                    self.name(),
                    path.display(),
                    self.log_tail()
                );
            }
        }
    }

    /// SIGTERM; fails, after a SIGKILL, if the node does not end in time or leaves its `ready.json`.
    pub fn stop(&mut self) -> Result<()> {
        self.note_peak();
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        if !process.stop(STOP)? {
            bail!("{} did not end within {} s of SIGTERM", self.name(), STOP.as_secs());
        }
        if self.data().join("ready.json").exists() {
            bail!("{} ended and left its ready.json", self.name());
        }
        Ok(())
    }

    /// SIGKILL: no goodbye, no flush.
    pub fn kill(&mut self) -> Result<()> {
        self.note_peak();
        match self.process.take() {
            Some(mut process) => process.kill(),
            None => bail!("{} is not running", self.name()),
        }
    }

    /// Fails if the process has ended by itself.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(process) = &mut self.process
            && let Some(status) = process.wait(Duration::ZERO)?
        {
            self.process = None;
            bail!("{} ended by itself ({status}); its log: {}", self.name(), self.log_tail());
        }
        Ok(())
    }

    /// Memory of its process.
    pub fn memory(&self) -> Result<machine::Memory> {
        machine::memory(self.process.as_ref().map(Owned::id).context("not running")?)
    }

    /// Processor time that its process has taken since it was started.
    pub fn processor_time(&self) -> Result<machine::Processor> {
        machine::processor_time(self.process.as_ref().map(Owned::id).context("not running")?)
    }

    fn note_peak(&mut self) {
        if let Ok(memory) = self.memory() {
            self.peak_kib = self.peak_kib.max(memory.peak_kib);
        }
    }

    /// The largest resident set that any process of this node had, in KiB.
    pub fn peak_kib(&mut self) -> u64 {
        self.note_peak();
        self.peak_kib
    }

    /// Everything this node has on disk.
    pub fn destroy(&mut self) -> Result<()> {
        self.kill()?;
        fs::remove_dir_all(self.data()).context("cannot destroy the data directory")
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(6)..].join(" | ")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            crate::report::complain(&format!("xtask: {error:#}"));
        }
    }
}

fn read_ready(path: &Path) -> Option<Ready> {
    serde_json::from_reader(File::open(path).ok()?).ok()
}
