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
mod zone;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;
use stash_api::error::ErrorBody;

use crate::error::Problem;

fn main() -> ExitCode {
    if let Some(answered) = commands::answer_shell() {
        return answered;
    }
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misread(&error),
    };
    let json = cli.global.json;
    match commands::run(cli) {
        Ok(finish) => finish.into(),
        Err(error) if reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&Problem::of(&error), json),
    }
}

/// Arguments that will not do, or a question for help.
fn misread(error: &clap::Error) -> ExitCode {
    let arguments = std::env::args_os().skip(1).take_while(|argument| argument != "--");
    if !error.use_stderr() || !arguments.into_iter().any(|argument| argument == "--json") {
        error.exit();
    }
    fail(&usage(error), true)
}

/// What clap says in several lines, as one sentence and a hint.
fn usage(error: &clap::Error) -> Problem {
    let text = error.render().to_string();
    let mut parts =
        text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let first = parts.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(&first);
    let tip = parts.find_map(|part| part.strip_prefix("tip: ").map(str::to_owned));
    Problem::usage(message)
        .hint(tip.unwrap_or_else(|| "`stash --help` lists the commands".to_owned()))
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
