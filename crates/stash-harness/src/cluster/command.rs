//! The `stash` commands that a user of a node would type.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use stash_api::error::ErrorBody;

use crate::cluster::node::Node;
use crate::process::{Reply, Running};

/// The longest that one command may take.
pub const COMMAND: Duration = Duration::from_secs(180);

impl Node {
    fn command(&self, arguments: &[&str]) -> Command {
        let (program, first) = self.program();
        let mut command = Command::new(program);
        self.surroundings(&mut command);
        command.args(first).args(arguments).current_dir(&self.home);
        command
    }

    /// Starts a command without waiting for it.
    pub fn begin(&self, arguments: &[&str]) -> Result<Running> {
        let what = format!("{}: stash {}", self.name(), arguments.join(" "));
        Running::spawn(&mut self.command(arguments), what)
    }

    /// Runs `stash ARGUMENTS` at this node, whatever it answers.
    pub fn run(&self, arguments: &[&str]) -> Result<Reply> {
        self.begin(arguments)?.finish(COMMAND)
    }

    /// Runs a command that must succeed.
    pub fn ok(&self, arguments: &[&str]) -> Result<Reply> {
        self.run(arguments)?.expect(&[0])
    }

    /// Runs a command with `--json` that must succeed.
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        self.ok(&[arguments, &["--json"]].concat())?.json()
    }

    /// Runs a command that must fail with this exit code; returns its error code and message.
    pub fn fails(&self, arguments: &[&str], exit: i32) -> Result<(String, String)> {
        let reply = self.run(&[arguments, &["--json"]].concat())?.expect(&[exit])?;
        let text =
            if reply.stdout.is_empty() { reply.stderr.clone().into_bytes() } else { reply.stdout };
        // The document may follow warnings on stderr.
        let start = text.iter().position(|byte| *byte == b'{').unwrap_or(0);
        let failure: ErrorBody = serde_json::from_slice(&text[start..])
            .with_context(|| format!("`{}` failed without the documented JSON", reply.what))?;
        Ok((failure.error.code.to_string(), failure.error.message))
    }
}
