//! A program under strace, which stops or kills it at the wanted system call.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cut::{CALLS, Call, Cut, Edge, HINT};
use crate::process::Owned;
use crate::{interrupt, tools};

/// Lines of the trace that are read ahead of us.
const LINES_AHEAD: usize = 256;

/// Lines of the trace that are kept, to be shown where something does not hold.
const LINES_KEPT: usize = 30;

/// The longest that a run may take until its cut; it takes under a second.
const RUN: Duration = Duration::from_secs(60);

/// A program under strace. The namespace ends it where nobody kills it.
#[derive(Debug)]
pub(super) struct Traced {
    strace: Owned,
    /// The kind of call that is cut at.
    call: &'static Call,
    /// The thread that got the signal which stops the process.
    signalled: Option<String>,
    /// The program below strace, which may be there for a moment after strace is gone.
    process: Option<OwnedFd>,
    lines: Receiver<String>,
    /// The last lines of the trace.
    tail: VecDeque<String>,
}

/// The end of a run under strace.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is stopped, or killed, at the call.
    Cut,
    /// It ended with this exit code before it made the call so often.
    Ended { code: i32 },
}

impl Traced {
    /// Starts `program` so that it ends, or stops, at the cut. What it says on stderr goes to `says`.
    pub(super) fn spawn(cut: &Cut, program: &Command, says: File) -> Result<Self> {
        let calls: Vec<&str> = CALLS.iter().map(|call| call.name).collect();
        let signal = if cut.edge == Edge::Before { "KILL" } else { "STOP" };
        let mut strace = tools::command("strace");
        strace.args(["-f", "-s", "0", "-o", "/dev/stdout", "-e"]);
        strace.arg(format!("trace={}", calls.join(","))).arg("-e");
        let more = if cut.call.only.is_some() { "+" } else { "" };
        let when = format!("{}{more}", cut.ordinal);
        strace.arg(format!("inject={}:signal={signal}:when={when}", cut.call.name));
        if !cut.hints {
            strace.arg("-e").arg(format!("inject={HINT}:retval=0"));
        }
        strace.arg(program.get_program()).args(program.get_args());
        strace.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(says);
        let mut strace = Owned::spawn(&mut strace)?;
        let output = strace.stdout().context("strace has no output")?;
        let (sender, lines) = sync_channel(LINES_AHEAD);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Nobody listens after the cut: the rest is read all the same, or strace would wait for us.
                sender.send(line).ok();
            }
        });
        Ok(Self {
            strace,
            call: cut.call,
            signalled: None,
            process: None,
            lines,
            tail: VecDeque::new(),
        })
    }

    /// Waits until the process is at the cut, or has ended without it. Where it is stopped, it stays so until
    /// [`Traced::kill`].
    pub(super) fn wait(&mut self) -> Result<Outcome> {
        let deadline = Instant::now() + RUN;
        loop {
            match self.lines.recv_timeout(interrupt::LOOK) {
                Ok(line) => {
                    let stopped = self.note(line);
                    if stopped && self.is_meant() {
                        return Ok(Outcome::Cut);
                    }
                    if stopped {
                        self.go_on()?;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return self.ended(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            interrupt::check()?;
            if Instant::now() > deadline {
                bail!("the run was neither cut nor did it end in {} s", RUN.as_secs());
            }
        }
    }

    /// Takes a line of the trace. True if the thread that got the signal is stopped now: the others of its process
    /// stop with it, each with a line of its own, in no order.
    fn note(&mut self, line: String) -> bool {
        let thread = line.split(' ').next().unwrap_or_default();
        if self.tail.is_empty() {
            // A program begins with one thread: the first call is that of its process.
            let process = thread.parse().ok().and_then(Pid::from_raw);
            self.process = process.and_then(|id| pidfd_open(id, PidfdFlags::empty()).ok());
        }
        if line.contains("--- SIGSTOP {") {
            self.signalled = Some(thread.to_owned());
        }
        let stopped = self.signalled.as_deref() == Some(thread) && line.contains("--- stopped by");
        if self.tail.len() == LINES_KEPT {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
        stopped
    }

    /// True if the call after which it was stopped is of the wanted kind.
    fn is_meant(&self) -> bool {
        let (Some(only), Some(thread)) = (self.call.only, self.signalled.as_deref()) else {
            return true;
        };
        let of_thread = |line: &&String| line.split(' ').next() == Some(thread);
        let name = format!("{}(", self.call.name);
        let mut calls = self.tail.iter().rev().filter(of_thread);
        calls.find(|line| line.contains(&name)).is_some_and(|line| line.contains(only))
    }

    fn go_on(&mut self) -> Result<()> {
        self.signalled = None;
        let process = self.process.as_ref().context("the trace does not begin with a call")?;
        Ok(pidfd_send_signal(process, Signal::CONT)?)
    }

    fn ended(&mut self) -> Result<Outcome> {
        let status = self.strace.wait(RUN)?.context("strace closed its output and goes on")?;
        // strace ends as the program under it ended, by the same signal.
        Ok(status.code().map_or(Outcome::Cut, |code| Outcome::Ended { code }))
    }

    /// Ends the process, if it has not ended yet, and waits until all that it had open is closed.
    pub(super) fn kill(self) -> Result<()> {
        let Self { mut strace, process, lines, .. } = self;
        drop(lines);
        if let Some(process) = process {
            // It was killed already where the cut is before the call.
            pidfd_send_signal(&process, Signal::KILL).ok();
            let mut gone = [PollFd::new(&process, PollFlags::IN)];
            let patience = Timespec { tv_sec: RUN.as_secs().cast_signed(), tv_nsec: 0 };
            ensure!(poll(&mut gone, Some(&patience))? > 0, "a killed process is still there");
        }
        strace.wait(RUN)?.context("strace goes on without its process")?;
        Ok(())
    }
}
