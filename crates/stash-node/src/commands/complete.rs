//! Completions: the script with which a shell asks for them, and the answers.
//!
//! The engine of `clap_complete` that knows values is still marked as unstable: script and program must be of
//! one version, so the script is to be read anew by each shell.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::CommandFactory;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;
use stash_api::files::Listing;
use stash_api::members::Peers;
use stash_api::versions::{Names, Which};
use stash_api::{Client, ClientError};

use super::context::{Finish, client_runtime};
use crate::cli::{Cli, Global};
use crate::config::{Arguments, KEYS};
use crate::error::Problem;
use crate::output::Output;

/// The variable by which a shell asks: its value is the shell.
const VARIABLE: &str = "STASH_COMPLETE";

/// The longest wait for the node: somebody has pressed a key.
const PATIENCE: Duration = Duration::from_secs(1);

/// Names that are asked for.
const PAGE: u64 = 1000;

/// Prints the script of a shell.
pub(super) fn script(output: &Output, shell: clap_complete::Shell) -> anyhow::Result<Finish> {
    let completer = Shells::builtins();
    let name = shell.to_string();
    let completer = completer.completer(&name).ok_or_else(|| unknown(&name))?;
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, "stash", "stash", "stash", &mut script)?;
    output.raw(&String::from_utf8(script)?)?;
    Ok(Finish::Done)
}

fn unknown(shell: &str) -> Problem {
    Problem::usage(format!("there are no completions for {shell}"))
}

/// Answers a shell that asks; `None` if none does.
pub(crate) fn answer() -> Option<ExitCode> {
    let shell = std::env::var_os(VARIABLE).filter(|shell| !shell.is_empty())?;
    let words: Vec<OsString> =
        std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
    Some(match complete(&shell.to_string_lossy(), words) {
        // A shell shows nothing of an error.
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

fn complete(shell: &str, words: Vec<OsString>) -> anyhow::Result<()> {
    let completer = Shells::builtins();
    let completer = completer.completer(shell).ok_or_else(|| unknown(shell))?;
    let mut command = command(Arc::new(Source::of(&words)));
    command.build();
    let mut answer = Vec::new();
    let directory = std::env::current_dir().ok();
    completer.write_complete(&mut command, words, directory.as_deref(), &mut answer)?;
    std::io::stdout().write_all(&answer)?;
    Ok(())
}

/// The command line with completions for keys, members and settings.
fn command(source: Arc<Source>) -> clap::Command {
    let completer = |names: fn(&Source, &str) -> Vec<String>| {
        let source = Arc::clone(&source);
        ArgValueCompleter::new(move |current: &OsStr| {
            let Some(current) = current.to_str() else { return Vec::new() };
            let names = names(&source, current).into_iter();
            let names = names.filter(|name| name.starts_with(current));
            names.map(CompletionCandidate::new).collect::<Vec<_>>()
        })
    };
    let first = |completer: ArgValueCompleter| {
        move |command: clap::Command| {
            let ids: Vec<clap::Id> =
                command.get_positionals().map(|argument| argument.get_id().clone()).collect();
            // One that is changed goes to the end: the numbers keep the order.
            ids.into_iter().enumerate().fold(command, |command, (at, id)| {
                command.mut_arg(id, |argument| match at {
                    0 => argument.index(1).add(completer.clone()),
                    _ => argument.index(at + 1),
                })
            })
        }
    };
    let mut command = Cli::command();
    for name in ["get", "cat", "ls", "du", "find", "rm", "history", "resolve", "evict", "where"] {
        command = command.mut_subcommand(name, first(completer(Source::keys)));
    }
    let (removed, members) = (completer(Source::removed), completer(Source::members));
    let settings = completer(|_, _| KEYS.map(|(key, _)| key.to_owned()).to_vec());
    command
        .mut_subcommand("undelete", first(removed))
        .mut_subcommand("peer", |peer| {
            peer.mut_subcommand("remove", first(members.clone()))
                .mut_subcommand("role", first(members))
        })
        .mut_subcommand("config", |config| {
            config
                .mut_subcommand("set", first(settings.clone()))
                .mut_subcommand("unset", first(settings))
        })
}

/// The node that is asked for names.
struct Source {
    client: Option<Client>,
}

impl Source {
    /// The node that these words mean.
    fn of(words: &[OsString]) -> Self {
        let flag = |name: &str| {
            let mut words = words.iter();
            words.find(|word| *word == name)?;
            words.next().map(|value| value.into())
        };
        let (data_dir, socket, config) = (flag("--data-dir"), flag("--socket"), flag("--config"));
        let global = Global { data_dir, socket, config, ..Global::default() };
        let arguments = Arguments { global, ..Arguments::default() };
        let settings = arguments.settings().ok();
        Self { client: settings.map(|settings| Client::new(settings.socket.value)) }
    }

    fn ask<T, F>(&self, ask: impl FnOnce(Client) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let client = self.client.clone()?;
        let runtime = client_runtime(false).ok()?;
        runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(client)).await.ok()?.ok() })
    }

    /// Keys and folders of one level.
    fn keys(&self, current: &str) -> Vec<String> {
        let folder = current.rfind('/').map_or("", |at| &current[..=at]);
        let after = (current != folder).then_some(current);
        let level = Listing::level(folder, after, PAGE);
        let level = self.ask(|client| async move { client.get(&level).await });
        let Some(Listing { entries, folders, .. }) = level else { return Vec::new() };
        let files = entries.into_iter().map(|entry| entry.key);
        files.chain(folders.into_iter().map(|folder| folder.key + "/")).collect()
    }

    /// Keys that were removed and can be brought back.
    fn removed(&self, current: &str) -> Vec<String> {
        let folder = current.rfind('/').map_or("", |at| &current[..=at]);
        let names = Names::route(Which::Deleted, folder, None, PAGE);
        let names = self.ask(|client| async move { client.get(&names).await });
        names.map_or_else(Vec::new, |names| names.entries.into_iter().map(|one| one.key).collect())
    }

    fn members(&self, _: &str) -> Vec<String> {
        let peers = self.ask(|client| async move { client.get(&Peers::route()).await });
        let peers = peers.map_or_else(Vec::new, |peers| peers.peers);
        peers.into_iter().filter(|peer| !peer.this).filter_map(|peer| peer.name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_with_names_is_there_and_the_line_stays_consistent() {
        command(Arc::new(Source { client: None })).debug_assert();
    }

    #[test]
    fn the_words_say_which_node_is_asked() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let source = Source::of(&words(&["stash", "--socket", "/nowhere/s", "cat", "k"]));
        let client = format!("{:?}", source.client);
        assert!(client.contains("/nowhere/s"), "{client}");
        assert_eq!(source.keys("k"), [""; 0], "nobody answers there");
    }
}
