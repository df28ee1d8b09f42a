//! The `stash` program: it maps arguments to calls of `stash-vault` and to requests to a running
//! daemon. It decides nothing about files, keys or peers.

mod api;
mod check;
mod cli;
mod commands;
mod config;
mod daemon;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod hints;
mod log;
mod output;
mod passphrase;
mod paths;
mod progress;
mod range;
mod signals;
mod typed;
mod units;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;
use stash_api::error::ErrorBody;

use crate::error::Problem;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let json = cli.global.json;
    match commands::run(cli) {
        Ok(finish) => finish.into(),
        Err(error) if reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&Problem::of(&error), json),
    }
}

/// True if the reader of stdout closed it (`| head`): it has what it wanted.
fn reader_left(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
}

fn fail(problem: &Problem, json: bool) -> ExitCode {
    if json {
        let body = ErrorBody::from(problem.clone());
        let document = serde_json::to_string(&body).unwrap_or_default();
        // The exit status tells of the failure even if nobody reads this.
        let _nobody_reads = output::Output::new(true, true).raw(&format!("{document}\n"));
    } else {
        output::say(&format!("stash: {}", output::visible_lines(&problem.message)));
        if let Some(hint) = &problem.hint {
            output::say(&format!("  hint: {}", output::visible_lines(hint)));
        }
    }
    ExitCode::from(error::exit_status(problem.code))
}
