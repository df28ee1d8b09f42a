//! Starting a program that dies with this process, whatever ends this process.
//!
//! A node is started as `PROGRAM guard PARENT stash …`, where PROGRAM is this one ([`crate::program`]): the child asks the
//! kernel for SIGKILL at its parent's death and then becomes `stash` under the same process id. Guards in `Drop` stop
//! nodes politely; this is for the case that this process itself is killed.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Error, anyhow};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// A command that runs `program` under the guard, in a process group of its own (a Ctrl-C at the terminal reaches this one
/// alone). The kernel ties it to the *thread* that spawns it: spawn from a thread that lives as long as the child.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("guard").arg(std::process::id().to_string()).arg(program).process_group(0);
    command
}

/// The other side of [`command`]; returns only on failure.
pub(crate) fn become_program(parent: u32, program: &[String]) -> Error {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return Error::new(error).context("cannot tie this process to its parent");
    }
    let now = getppid().map(Pid::as_raw_nonzero);
    if now.map(|pid| pid.get().unsigned_abs()) != Some(parent) {
        return anyhow!("parent {parent} is gone");
    }
    let Some((name, arguments)) = program.split_first() else {
        return anyhow!("no program given");
    };
    let error = Command::new(name).args(arguments).exec();
    Error::new(error).context(format!("cannot run {name}"))
}
