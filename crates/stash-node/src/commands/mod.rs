//! The work of each command.

mod config;
mod context;
mod evict;
mod get;
mod init;
mod key;
mod list;
mod members;
mod put;
mod remove;
mod repair;
mod status;
mod tickets;
mod up;
mod upkeep;
mod versions;

use std::path::Path;

use clap::CommandFactory;
use serde::Serialize;

use crate::cli::{Cli, Command, Up};
use crate::config::{Settings, Sources};
use crate::output::Output;
use crate::paths;
use context::{Context, Finish, client_runtime, with_signals};

/// Runs the command.
pub(crate) fn run(cli: Cli) -> anyhow::Result<Finish> {
    let Cli { global, command } = cli;
    let output = Output::new(global.json, global.quiet);
    let command = command.unwrap_or_else(|| Command::Up(Box::default()));
    if let Command::Completions(completions) = &command {
        return complete(&output, completions.shell);
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
    let settings = Settings::load(&Sources {
        global: &global,
        up: &up,
        env: &|name| std::env::var_os(name),
        system_file: Path::new(paths::SYSTEM_FILE),
        named_file_must_exist: !makes_file,
    })?;
    let context = Context { settings, output, verbose: global.verbose };
    if let Command::Config(config) = &command {
        return config::run(&context, config.what);
    }
    let serves = matches!(command, Command::Up(_));
    crate::log::init(context.settings.log.value.as_deref(), &global, serves)?;
    match command {
        Command::Up(_) => up::run(context),
        Command::Init(init) => init::run(&context, &init),
        command => {
            let runtime = client_runtime(matches!(command, Command::Join(_)))?;
            with_signals(runtime, dispatch(&context, command))
        }
    }
}

async fn dispatch(context: &Context, command: Command) -> anyhow::Result<Finish> {
    match command {
        Command::Put(put) => put::run(context, put).await,
        Command::Get(get) => get::run(context, get).await,
        Command::Cat(cat) => get::cat(context, cat).await,
        Command::Ls(ls) => list::run(context, ls).await,
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
        Command::Status => status::run(context).await,
        Command::Key(key) => key::run(context, key.what).await,
        Command::Up(_)
        | Command::Init(_)
        | Command::Config(_)
        | Command::Completions(_)
        | Command::Version => unreachable!("these are no clients"),
    }
}

fn complete(output: &Output, shell: clap_complete::Shell) -> anyhow::Result<Finish> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "stash", &mut script);
    output.raw(&String::from_utf8(script)?)?;
    Ok(Finish::Done)
}

/// `stash version --json`.
#[derive(Serialize)]
struct Version {
    version: &'static str,
}

fn version(output: &Output) -> anyhow::Result<Finish> {
    let version = Version { version: env!("CARGO_PKG_VERSION") };
    output.result(&version, |v| format!("stash {}\n", v.version))?;
    Ok(Finish::Done)
}
