//! The work of each command.

mod complete;
mod config;
mod context;
mod detach;
mod evict;
mod get;
mod init;
mod key;
mod list;
mod member_lines;
mod members;
mod put;
mod remove;
mod repair;
mod status;
mod stop;
mod tickets;
mod up;
mod upkeep;
mod versions;

use serde::Serialize;

use crate::cli::{Cli, Command, Config, ConfigCommand, Up};
use crate::config::{Arguments, unknown_variables};
use crate::output::Output;
use context::{Context, Finish, client_runtime, with_signals};

pub(crate) use complete::answer as answer_shell;

/// Runs the command.
pub(crate) fn run(cli: Cli) -> anyhow::Result<Finish> {
    let Cli { global, command } = cli;
    let output = Output::new(global.json, global.quiet);
    let command = command.unwrap_or_else(|| Command::Up(Box::default()));
    if let Command::Completions(completions) = &command {
        return complete::script(&output, completions.shell);
    }
    if let Command::Version = &command {
        return version(&output);
    }
    let (up, makes_file) = match &command {
        Command::Up(up) => (Up::clone(up), true),
        Command::Init(init) => (Up { name: init.name.clone(), ..Up::default() }, true),
        Command::Join(join) => (Up { name: join.name.clone(), ..Up::default() }, true),
        _ => (Up::default(), false),
    };
    let arguments = Arguments { global, up, named_file_must_exist: !makes_file };
    if let Command::Config(Config { what: Some(what) }) = &command
        && !matches!(what, ConfigCommand::Show)
    {
        return config::on_file(&arguments, &output, what);
    }
    let shows_settings = matches!(command, Command::Up(_) | Command::Init(_) | Command::Config(_));
    let settings = arguments.settings()?;
    let (global, verbose) = (&arguments.global, arguments.global.verbose);
    let context = Context { settings, output, verbose };
    if shows_settings {
        warn_of_variables(&context.output);
    }
    let serves = matches!(command, Command::Up(_));
    crate::log::init(context.settings.log.value.as_deref(), global, serves)?;
    match command {
        Command::Up(up) if up.detach => detach::run(&context),
        Command::Up(_) => up::run(context, arguments),
        Command::Init(init) => init::run(&context, &init),
        command => {
            let runtime = client_runtime(matches!(command, Command::Join(_)))?;
            with_signals(runtime, async {
                let done = Box::pin(dispatch(&context, command)).await;
                done.map_err(|error| context.unanswered(error))
            })
        }
    }
}

/// Says which variables look like settings and set nothing.
fn warn_of_variables(output: &Output) {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in unknown_variables(names) {
        output.note(&format!("the variable {name} sets nothing: no setting has this name"));
    }
}

async fn dispatch(context: &Context, command: Command) -> anyhow::Result<Finish> {
    match command {
        Command::Config(_) => config::show(context).await,
        Command::Reload => config::reload(context).await,
        Command::Stop => stop::run(context).await,
        Command::Put(put) => put::run(context, put).await,
        Command::Get(get) => get::run(context, get).await,
        Command::Cat(cat) => get::cat(context, cat).await,
        Command::Ls(ls) => list::run(context, ls).await,
        Command::Du(du) => list::du(context, du).await,
        Command::Find(find) => list::find(context, find).await,
        Command::Rm(rm) => remove::run(context, rm).await,
        Command::Undelete(undelete) => versions::undelete(context, undelete).await,
        Command::History(history) => versions::history(context, history).await,
        Command::Resolve(resolve) => versions::resolve(context, resolve).await,
        Command::Evict(evict) => evict::run(context, evict).await,
        Command::Where(place) => status::locate(context, place).await,
        Command::Gc(gc) => upkeep::gc(context, gc).await,
        Command::Scrub => upkeep::scrub(context).await,
        Command::Repair(repair) => repair::run(context, repair).await,
        Command::Check(check) => upkeep::check(context, check).await,
        Command::Invite(invite) => members::invite(context, invite).await,
        Command::Join(join) => Box::pin(members::join(context, join)).await,
        Command::Tickets(tickets) => tickets::run(context, tickets.what).await,
        Command::Peers(peers) => members::peers(context, &peers).await,
        Command::Peer(peer) => members::change(context, peer.what).await,
        Command::Status(args) => status::run(context, &args).await,
        Command::Key(key) => key::run(context, key.what).await,
        Command::Up(_) | Command::Init(_) | Command::Completions(_) | Command::Version => {
            unreachable!("these are no clients")
        }
    }
}

/// `stash version --json`.
#[derive(Serialize)]
struct Version {
    version: &'static str,
    commit: Option<&'static str>,
    date: Option<&'static str>,
}

fn version(output: &Output) -> anyhow::Result<Finish> {
    output.result(&Version::of(option_env!("STASH_BUILT_FROM")), Version::shown)?;
    Ok(Finish::Done)
}

impl Version {
    /// Of a program that was built from this: a commit, and its date if that is known.
    fn of(built_from: Option<&'static str>) -> Version {
        let (commit, date) = match built_from.map(|from| from.split_once(' ').unwrap_or((from, "")))
        {
            Some((commit, date)) => (Some(commit), Some(date).filter(|date| !date.is_empty())),
            None => (None, None),
        };
        Version { version: env!("CARGO_PKG_VERSION"), commit, date }
    }

    fn shown(&self) -> String {
        let from: Vec<&str> = [self.commit, self.date].into_iter().flatten().collect();
        let from = if from.is_empty() { String::new() } else { format!(" ({})", from.join(", ")) };
        format!("stash {}{from}\n", self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_the_commit_and_its_date_as_far_as_they_are_known() {
        let shown = |from| Version::of(from).shown();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(shown(None), format!("stash {version}\n"));
        assert_eq!(shown(Some("0123456789")), format!("stash {version} (0123456789)\n"));
        let dated = format!("stash {version} (0123456789+, 2026-11-30)\n");
        assert_eq!(shown(Some("0123456789+ 2026-11-30")), dated);
    }
}
