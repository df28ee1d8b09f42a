//! `stash up --detach`: a node that outlives the terminal from which it was started.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use stash_api::error::Code;

use super::context::{Context, Finish};
use crate::daemon::{home, ready};
use crate::error::{self, Class, Problem};
use crate::output::short;

/// The log of such a node, in its data directory.
const LOG: &str = "up.log";

/// Bytes of a log that a new start still appends to; a longer one is set aside.
const LOG_MAX: u64 = 8 << 20;

/// The longest wait until the node serves: it may have to read the whole log of its store again.
const SERVES: Duration = Duration::from_secs(600);

/// From this wait on, the user is told what is waited for.
const TELL: Duration = Duration::from_secs(3);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Bytes at the end of a log in which the reason for a failed start is looked for.
const TAIL: u64 = 16 * 1024;

/// `stash up --detach --json`.
#[derive(Serialize)]
struct Detached {
    pid: u32,
    node_id: String,
    log: PathBuf,
}

pub(super) fn run(context: &Context) -> anyhow::Result<Finish> {
    let dir = &context.settings.data_dir.value;
    if let Some(pid) = context.holder() {
        let socket = context.settings.socket.value.display();
        return Err(Problem::new(Class::Locked, format!("process {pid} serves {socket} already"))
            .hint("ask it with: stash status")
            .into());
    }
    // Here and not in the node, so that its user reads what was made.
    home::prepare(&context.settings, &context.output)?;
    let path = dir.join(LOG);
    let log = open(&path).with_context(|| format!("cannot write the log {}", path.display()))?;
    let begin = log.metadata()?.len();
    let mut child = start(log).context("cannot start the node")?;
    let node_id = await_serving(context, &mut child, (&path, begin))?;
    let detached = Detached { pid: child.id(), node_id, log: path };
    context.output.done(&detached, |detached| {
        let (node, log) = (short(&detached.node_id), detached.log.display());
        format!("serving node {node}, process {}, log {log}\n", detached.pid)
    })?;
    context.output.note(&format!("stop it with: {}", context.settings.typed("stop")));
    Ok(Finish::Done)
}

/// Opens the log to append to it. One that has grown long is set aside, in the place of the one before.
fn open(path: &Path) -> io::Result<File> {
    if path.metadata().is_ok_and(|metadata| metadata.len() > LOG_MAX) {
        std::fs::rename(path, path.with_extension("log.old"))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Starts this program again with the same arguments, but for the one that is obeyed here.
fn start(log: File) -> io::Result<Child> {
    // Its last words are read from the log, as text.
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--json");
    let arguments = arguments.map(|one| if one == "--detach" { "--detached".into() } else { one });
    Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
}

/// Waits until the node serves, and gives its id.
fn await_serving(
    context: &Context,
    child: &mut Child,
    (log, begin): (&Path, u64),
) -> anyhow::Result<String> {
    let (started, mut told) = (Instant::now(), false);
    while started.elapsed() < SERVES {
        let ready = ready::read(&context.settings.data_dir.value);
        if let Some(ready) = ready.filter(|ready| ready.pid == child.id()) {
            return Ok(ready.node_id);
        }
        if let Some(status) = child.try_wait()? {
            return Err(failed(status, log, begin).into());
        }
        if started.elapsed() > TELL && !std::mem::replace(&mut told, true) {
            let log = log.display();
            context.output.note(&format!("waiting for the node to open its store; its log: {log}"));
        }
        std::thread::sleep(LOOK);
    }
    let message = format!("process {} has not opened its store yet, and goes on", child.id());
    Err(Problem::new(Class::Temporary, message)
        .hint(format!("its log says what it does: {}", log.display()))
        .into())
}

/// The problem with which a node ended before it served: its exit status, and what it said last.
fn failed(status: ExitStatus, log: &Path, begin: u64) -> Problem {
    let exit = status.code().and_then(|code| u8::try_from(code).ok());
    let mut classes = Code::ALL.into_iter().map(error::class);
    let class = classes.find(|class| exit == Some(error::exit_status(*class)));
    let class = class.unwrap_or(Class::Failed);
    let said = tail(log, begin).unwrap_or_default();
    let said: Vec<&str> = said.lines().collect();
    let last = said.iter().rposition(|line| line.starts_with("stash: "));
    let Some((message, rest)) = last.and_then(|at| said[at..].split_first()) else {
        return Problem::new(class, format!("the node ended before it served ({status})"))
            .hint(format!("its log: {}", log.display()));
    };
    let problem = Problem::new(class, message.trim_start_matches("stash: "));
    match rest.iter().find_map(|line| line.strip_prefix("  hint: ")) {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// The end of what a log has gained since it had `begin` bytes.
fn tail(log: &Path, begin: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(begin.max(length.saturating_sub(TAIL))))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_node_that_did_not_come_up_is_told_with_its_own_words_and_code() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join(LOG);
        let text =
            "stash: of a start before\nINFO x\nstash: the port is taken\n  hint: choose another\n";
        std::fs::write(&log, text).unwrap();
        let exit = |code| ExitStatus::from_raw(code << 8);
        let problem = failed(exit(5), &log, 25);
        assert_eq!((problem.code, &problem.message[..]), (Class::Temporary, "the port is taken"));
        assert_eq!(problem.hint.as_deref(), Some("choose another"));
        let silent = failed(ExitStatus::from_raw(9), &log, text.len() as u64);
        assert_eq!(silent.code, Class::Failed);
        assert!(silent.hint.unwrap().contains("up.log"));
    }

    #[test]
    fn a_long_log_is_set_aside_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join(LOG);
        open(&log).unwrap().set_len(LOG_MAX + 1).unwrap();
        assert_eq!(open(&log).unwrap().metadata().unwrap().len(), 0);
        assert!(dir.path().join("up.log.old").exists());
    }
}
