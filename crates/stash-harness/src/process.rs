//! Child processes that are always waited for with a deadline, and never left behind.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::de::DeserializeOwned;

use crate::interrupt;

/// A child and the descriptor that names it for good, even after its process id is used again.
#[derive(Debug)]
pub struct Owned {
    child: Child,
    handle: OwnedFd,
}

impl Owned {
    /// Starts a child.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let mut child =
            command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let opened = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| anyhow!("process id {} is out of range", child.id()))
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open failed"));
        match opened {
            Ok(handle) => Ok(Self { child, handle }),
            Err(error) => {
                child.kill().ok();
                child.wait().ok();
                Err(error)
            }
        }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its stdout, if that is a pipe and nobody took it yet.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its stdin, if that is a pipe and nobody took it yet.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits at most `patience`; `None` means still running.
    pub fn wait(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let mut fds = [PollFd::new(&self.handle, PollFlags::IN)];
        let patience = Timespec {
            tv_sec: i64::try_from(patience.as_secs())?,
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        match poll(&mut fds, Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(self.child.try_wait()?),
            Err(error) => Err(error).context("poll failed"),
        }
    }

    /// Sends a signal; a child that has ended already is not an error.
    pub fn signal(&self, signal: Signal) {
        pidfd_send_signal(&self.handle, signal).ok();
    }

    /// SIGTERM, then SIGKILL after `patience`. Says whether the child ended by itself.
    pub fn stop(&mut self, patience: Duration) -> Result<bool> {
        if self.child.try_wait()?.is_some() {
            return Ok(true);
        }
        self.signal(Signal::TERM);
        if self.wait(patience)?.is_some() {
            return Ok(true);
        }
        self.kill()?;
        Ok(false)
    }

    /// SIGKILL, and waits.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// A command that runs, its output being collected.
#[derive(Debug)]
pub struct Running {
    owned: Owned,
    what: String,
    started: Instant,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    reaped: bool,
}

/// The answer of a command.
#[derive(Debug)]
pub struct Reply {
    /// The command, as errors call it.
    pub what: String,
    /// Exit code; 128 + signal when a signal ended it, as shells say it.
    pub code: i32,
    /// All of stdout.
    pub stdout: Vec<u8>,
    /// All of stderr.
    pub stderr: String,
    /// From the start to the end.
    pub took: Duration,
}

impl Running {
    /// Starts a command, which errors call `what`.
    pub fn spawn(command: &mut Command, what: String) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let started = Instant::now();
        let mut owned = Owned::spawn(command).with_context(|| what.clone())?;
        let stdout = collect(owned.child.stdout.take());
        let stderr = collect(owned.child.stderr.take());
        Ok(Self { owned, what, started, stdout, stderr, reaped: false })
    }

    /// True if it has ended, so that [`Running::finish`] does not wait.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.owned.wait(Duration::ZERO)?.is_some())
    }

    /// Waits for the end; kills it and fails when `deadline` passes or a signal came.
    pub fn finish(mut self, deadline: Duration) -> Result<Reply> {
        let status = wait_until(&mut self.owned, self.started + deadline)
            .with_context(|| self.what.clone())?;
        let took = self.started.elapsed();
        self.reaped = true;
        let stdout = take(&mut self.stdout);
        let stderr = String::from_utf8_lossy(&take(&mut self.stderr)).into_owned();
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Ok(Reply { what: std::mem::take(&mut self.what), code, stdout, stderr, took })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            self.owned.kill().ok();
        }
    }
}

impl Reply {
    /// The reply, if its exit code is one of `codes`; else an error with what the program said.
    pub fn expect(self, codes: &[i32]) -> Result<Self> {
        if codes.contains(&self.code) {
            return Ok(self);
        }
        let wanted: Vec<String> = codes.iter().map(i32::to_string).collect();
        bail!(
            "`{}` exited with {} where {} was expected; stderr: {}; stdout: {}",
            self.what,
            self.code,
            wanted.join(" or "),
            tail(&self.stderr),
            tail(&self.text()),
        )
    }

    /// Stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The JSON document on stdout.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.stdout).with_context(|| {
            format!("`{}` printed JSON of another shape: {}", self.what, tail(&self.text()))
        })
    }
}

/// Has cargo build something, with the terminal as its output. Without a deadline: how long a compiler
/// takes says how fast and how busy the machine is, and nothing else.
pub fn build_in_view(command: &mut Command) -> Result<()> {
    in_view(command, FAR)
}

/// Runs a command with the terminal as its output, for what cargo has built before.
pub fn run_in_view(command: &mut Command, deadline: Duration) -> Result<()> {
    in_view(command, deadline)
}

/// Far beyond any build: a year.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn in_view(command: &mut Command, deadline: Duration) -> Result<()> {
    let mut owned = Owned::spawn(command.stdin(Stdio::null()))?;
    match wait_until(&mut owned, Instant::now() + deadline) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("{command:?} failed: {status}"),
        Err(error) => {
            owned.stop(Duration::from_secs(5))?;
            Err(error).with_context(|| format!("{command:?}"))
        }
    }
}

/// Waits for the end; fails when `deadline` passes or a signal came, and leaves the child to the caller.
pub fn wait_until(owned: &mut Owned, deadline: Instant) -> Result<ExitStatus> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if let Some(status) = owned.wait(left.min(interrupt::LOOK))? {
            return Ok(status);
        }
        interrupt::check()?;
        if left.is_zero() {
            bail!("did not end before its deadline");
        }
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> Option<JoinHandle<Vec<u8>>> {
    pipe.map(|mut pipe| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).ok();
            bytes
        })
    })
}

fn take(reader: &mut Option<JoinHandle<Vec<u8>>>) -> Vec<u8> {
    reader.take().and_then(|reader| reader.join().ok()).unwrap_or_default()
}

/// The last 600 characters, on one line.
fn tail(text: &str) -> String {
    let flat = text.trim().replace('\n', " | ");
    let skip = flat.chars().count().saturating_sub(600);
    flat.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Running {
        let mut command = Command::new("sh");
        Running::spawn(command.arg("-c").arg(script), format!("sh -c {script}")).unwrap()
    }

    #[test]
    fn a_reply_carries_code_and_both_streams() {
        let reply =
            shell("echo out; echo err >&2; exit 7").finish(Duration::from_secs(20)).unwrap();
        assert_eq!(
            (reply.code, reply.text().as_str(), reply.stderr.as_str()),
            (7, "out\n", "err\n")
        );
        let error = reply.expect(&[0]).unwrap_err().to_string();
        assert!(error.contains("exited with 7") && error.contains("err"), "{error}");
    }

    #[test]
    fn a_command_past_its_deadline_is_killed_and_named() {
        let started = Instant::now();
        let error = shell("exec sleep 60").finish(Duration::from_millis(50)).unwrap_err();
        assert!(format!("{error:#}").contains("sleep 60"), "{error:#}");
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_command_that_was_seen_to_end_still_has_its_reply() {
        let mut running = shell("read line; echo out; exit 3");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !running.has_ended().unwrap() {
            assert!(Instant::now() < deadline);
        }
        let reply = running.finish(Duration::from_secs(20)).unwrap();
        assert_eq!((reply.code, reply.text().as_str()), (3, "out\n"));
    }

    #[test]
    fn a_signal_is_reported_as_shells_do() {
        let reply = shell("kill -9 $$").finish(Duration::from_secs(20)).unwrap();
        assert_eq!(reply.code, 137);
    }
}
