//! The data directory: made at the first run, opened with its passphrase, replaced by a join.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stash_api::node::Ready;
use stash_vault::crypto::keys::KeyringError;
use stash_vault::crypto::{Keyring, RecoveryText};
use stash_vault::server::members::{Life, RecoverError};
use stash_vault::{Clock, Home, HomeError, InitOptions, Node, RecoverOptions, RunOptions};
use zeroize::Zeroizing;

use super::ready::{self, ReadyFile};
use super::{Daemon, Served, known, label};
use crate::config::{Origin, Settings, TEMPLATE};
use crate::error::{Class, Problem};
use crate::output::{Output, time};
use crate::passphrase::Source;
use crate::typed::quoted;
use crate::zone::{local, minute_of_day};

/// From a change among members to opening the node in a new role.
const SETTLE: Duration = Duration::from_millis(200);

/// Until a node that could not be opened is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Makes what the first run makes: the data directory with a stash of its own, and the
/// configuration. Does nothing where there is a stash.
pub(crate) fn prepare(settings: &Settings, output: &Output) -> Result<(), Problem> {
    let dir = &settings.data_dir.value;
    if Home::exists(dir) {
        remember(settings, output);
        return Ok(());
    }
    if dir.join("store").exists() {
        return Err(HomeError::KeyringMissing { path: dir.join("keyring") }.into());
    }
    // Fault case 81: an empty mount point must not become a new stash.
    if let Some(who) = says_that_there_was_one(settings) {
        let message =
            format!("there is no stash in {}, and {who} says that there was one", dir.display());
        return Err(Problem::new(Class::NoStore, message).hint(
            "is its disk mounted? To begin there anew all the same: stash init for a stash of your \
             own, or stash join TICKET",
        ));
    }
    let passphrase = settings.passphrase_file.value.as_deref();
    let passphrase = passphrase.map(|file| Source::File(file).chosen()).transpose()?;
    let file = settings.user_file.as_ref().map(|file| file.value.as_path());
    let file = file.filter(|file| !file.exists());
    create(settings, passphrase, output)?;
    let (join, stop) = (settings.typed("join TICKET"), settings.typed("stop"));
    output.note(&format!("to join somebody else's stash instead: {join}"));
    let made = [Some(dir.as_path()), file].into_iter().flatten().filter(|path| path.exists());
    let made: Vec<String> = made.map(|path| quoted(&path.to_string_lossy())).collect();
    output.note(&format!("to undo it: {stop}, then rm -r {}", made.join(" ")));
    Ok(())
}

/// The name of what says that this data directory had a stash: the settings, or the list of those
/// that had one, unless the settings say expressly that one may be made.
fn says_that_there_was_one(settings: &Settings) -> Option<String> {
    let create = &settings.create;
    if !create.value {
        return Some(create.origin.to_string());
    }
    let known = settings.known_file.as_deref();
    let had_one = known::contains(known, &settings.data_dir.value);
    known
        .filter(|_| had_one && create.origin == Origin::Default)
        .map(|list| list.display().to_string())
}

/// Notes outside of the data directory that there is a stash in it.
fn remember(settings: &Settings, output: &Output) {
    let noted = match &settings.known_file {
        Some(list) => known::note(list, &settings.data_dir.value).map_err(|error| {
            format!("cannot note in {} that a stash is here: {error}", list.display())
        }),
        None => Err("no home directory in which to note that a stash is here".to_owned()),
    };
    // With `create = false` nothing hangs on it.
    if let Err(why) = noted.as_ref()
        && settings.create.value
    {
        output.note(&format!(
            "{why}; should this directory be missing one day, a new stash would be made. To prevent \
             that, set create = false or STASH_CREATE=false"
        ));
    }
}

/// Notes outside of the data directory that a stash was made in it.
pub(super) fn note_made(settings: &Settings, output: &Output) -> Result<(), Problem> {
    remember(settings, output);
    if let Some(path) = write_configuration(settings)? {
        output.note(&format!("wrote the configuration {}", path.display()));
    }
    Ok(())
}

/// Makes a new stash in the data directory, and the configuration if there is none.
pub(crate) fn create(
    settings: &Settings,
    passphrase: Option<Zeroizing<String>>,
    output: &Output,
) -> Result<Home, Problem> {
    let dir = &settings.data_dir.value;
    usable(dir)?;
    let display_name = settings.name.value.clone();
    let home =
        Home::init(dir, InitOptions { display_name, passphrase }).map_err(|e| explained(e, dir))?;
    remember(settings, output);
    let configuration = write_configuration(settings)?;
    let configuration =
        configuration.map(|path| format!(" and the configuration {}", path.display()));
    output.note(&format!(
        "made an identity, an empty stash in {}{}; its recovery text, to keep on paper: {}",
        dir.display(),
        configuration.unwrap_or_default(),
        settings.typed("key recovery"),
    ));
    Ok(home)
}

/// The arguments for bringing a stash back.
pub(crate) struct Recovery {
    pub(crate) text: RecoveryText,
    pub(crate) options: RecoverOptions,
    /// Only to read.
    pub(crate) read: bool,
}

/// Brings a stash back from its recovery text, or lets this node read it by that alone.
pub(crate) async fn recover(
    settings: &Settings,
    recovery: Recovery,
    output: &Output,
) -> Result<Home, Problem> {
    let Recovery { text, options, read } = recovery;
    let dir = &settings.data_dir.value;
    usable(dir)?;
    let found = match read {
        true => Home::visit(dir, &text, options).await,
        false => Home::recover(dir, &text, options).await,
    };
    let (home, life) = found.map_err(|error| {
        if let HomeError::Recover(RecoverError::Parted(lives)) = &error {
            lives.iter().for_each(|life| output.note(&shown(life)));
        }
        explained(error, dir)
    })?;
    output.note(&shown(&life));
    let done = match read {
        true => "reads the stash in the name of the root from",
        false => "recovered the stash into",
    };
    output.note(&format!("{done} {}", dir.display()));
    note_made(settings, output)?;
    Ok(home)
}

/// The answers of members about one member log, for people.
fn shown(life: &Life) -> String {
    let confirmed = life.confirmed.and_then(|at| i64::try_from(at).ok());
    let confirmed = confirmed.map(|at| format!(", confirmed {}", local(&time(at))));
    let head: String = life.head.to_string().chars().take(10).collect();
    format!(
        "a member log of {} entries up to {head}{}: {} of its {} members show it, or its beginning",
        life.length,
        confirmed.unwrap_or_default(),
        life.answered,
        life.counted,
    )
}

/// Makes the data directory, or checks that a stash lies in it, or nothing of somebody else's.
pub(super) fn usable(dir: &Path) -> Result<(), Problem> {
    if Home::exists(dir) {
        return Ok(());
    }
    let cannot = |e: io::Error| {
        let class = crate::error::io_class(&e);
        Problem::new(class, format!("cannot use the data directory {}: {e}", dir.display()))
    };
    match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            return Err(Problem::usage(format!("{} is not a directory", dir.display())));
        }
        made => made.map_err(cannot)?,
    }
    for entry in std::fs::read_dir(dir).map_err(cannot)? {
        let name = entry.map_err(cannot)?.file_name();
        let ours = name.to_str().is_some_and(|name| OURS.iter().any(|ours| name.starts_with(ours)));
        if !ours {
            let message =
                format!("{} is no stash and not empty: it holds {}", dir.display(), name.display());
            return Err(Problem::new(Class::NoStore, message)
                .hint("name the directory of your stash, or an empty one, with --data-dir"));
        }
    }
    Ok(())
}

/// Beginnings of the names of what may lie in a data directory that has no stash: the daemon's socket
/// with its lock, a configuration, the sign of a file system's root, what an interrupted or refused
/// start or join left.
const OURS: [&str; 9] = [
    "up.log",
    "stash.sock",
    "config.toml",
    "lost+found",
    "ready.json",
    "lock",
    "joining-",
    "new-",
    "replaced-",
];

/// Writes the configuration of the first run, where it belongs to this data directory: not if the
/// directory was named, unless a file was named too; and never over a file. Gives the file that it wrote.
fn write_configuration(settings: &Settings) -> Result<Option<&Path>, Problem> {
    let Some(file) = &settings.user_file else {
        return Ok(None);
    };
    if settings.data_dir.origin != Origin::Default && file.origin == Origin::Default {
        return Ok(None);
    }
    let path = file.value.as_path();
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
    });
    match written.and_then(|mut file| file.write_all(TEMPLATE.as_bytes())) {
        Ok(()) => Ok(Some(path)),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(None),
        Err(e) => {
            let class = crate::error::io_class(&e);
            Err(Problem::new(class, format!("cannot write {}: {e}", path.display())))
        }
    }
}

/// Opens the node and serves it.
pub(crate) async fn serve(daemon: &Daemon) -> anyhow::Result<Arc<Served>> {
    let settings = &daemon.settings;
    let dir = &settings.data_dir.value;
    let node = open(daemon).await?;
    let engine = &node.engine;
    let ready = Ready {
        pid: std::process::id(),
        node_id: engine.node_id().to_string(),
        listen: engine.listen(),
        socket: settings.socket.value.clone(),
    };
    let ready = ReadyFile::write(dir, &ready)?;
    Ok(daemon.start(Served::new(node, ready, label::read(dir))))
}

async fn open(daemon: &Daemon) -> Result<Node, Problem> {
    let settings = &daemon.settings;
    let dir = &settings.data_dir.value;
    let options = RunOptions {
        listen: listened(settings)?,
        advertise: settings.advertise.value.iter().map(|place| place.0.clone()).collect(),
        housekeeping: settings.upkeep.housekeeping(),
        quota: settings.upkeep.quota(),
        traffic: daemon.network().traffic(minute_of_day()),
        discovery: daemon.network().discovery.value,
        clock: Clock::default(),
        retention: settings.upkeep.retention(),
    };
    Home::open(dir, daemon.passphrase(), options).await.map_err(|e| explained(e, dir))
}

/// The addresses that the settings say to listen on; a name is looked up, and stands for all that it leads to.
fn listened(settings: &Settings) -> Result<Vec<SocketAddr>, Problem> {
    let mut found = Vec::new();
    for place in &settings.listen.value {
        let resolved = place.to_string().to_socket_addrs().map_err(|e| {
            Problem::new(Class::Temporary, format!("cannot look up {place}, to listen there: {e}"))
                .hint("listen takes names of this machine, and its addresses, as in 0.0.0.0:7979")
        })?;
        found.extend(resolved.filter(|addr| !found.contains(addr)).collect::<Vec<_>>());
    }
    Ok(found)
}

/// Adds who holds a locked directory, and what to do about a port that is taken.
pub(super) fn explained(error: HomeError, dir: &Path) -> Problem {
    let taken = caused_by(&error, ErrorKind::AddrInUse);
    let problem = Problem::from(error);
    match (problem.code, ready::read(dir)) {
        (Class::Locked, Some(ready)) => {
            let message = format!("{}: process {} serves it", problem.message, ready.pid);
            Problem { message, ..problem }
        }
        _ if taken => Problem { code: Class::Temporary, ..problem }
            .hint("something listens there already; choose another port with --listen ADDR:PORT"),
        _ => problem,
    }
}

fn caused_by(error: &(dyn Error + 'static), kind: ErrorKind) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == kind) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The passphrase of the directory's keys, if they have one: from the file that the settings name,
/// or from the terminal. Waits for the person there.
pub(crate) fn passphrase(settings: &Settings) -> Result<Option<Zeroizing<String>>, Problem> {
    let file = settings.passphrase_file.value.as_deref();
    if file.is_none() && !protected(&settings.data_dir.value) {
        return Ok(None);
    }
    Source::new(file).existing().map(Some)
}

fn protected(dir: &Path) -> bool {
    std::fs::read(dir.join("keyring")).is_ok_and(|bytes| {
        matches!(Keyring::decode(&bytes, None), Err(KeyringError::NeedsPassphrase))
    })
}

/// Opens the node anew whenever the member log has given it reading or taken it away, which decides whether
/// there is a vault; until the daemon stops.
pub(crate) async fn follow_role(daemon: Arc<Daemon>) {
    while let Some(()) = daemon.stop.run_until_cancelled(misfit(&daemon)).await {
        // Not cancelled half-way: the stop waits for it.
        if let Err(error) = reopen(&daemon).await {
            tracing::error!(%error, "the node could not be opened in its new role: trying again");
            daemon.stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await;
        }
    }
}

/// Waits until the node that is served does not fit its role, or there is none.
async fn misfit(daemon: &Daemon) {
    while let Ok(served) = daemon.served() {
        let mut membership = served.node.engine.membership();
        let fits = served.fits_its_role();
        // Or else it could not be closed.
        drop(served);
        if !fits || membership.changed().await.is_err() {
            break;
        }
    }
    // A role and its keys are two entries of the log.
    tokio::time::sleep(SETTLE).await;
}

/// Opens the node anew if its role is another than it was opened with, or if that failed before.
async fn reopen(daemon: &Daemon) -> anyhow::Result<()> {
    let _one_at_a_time = daemon.joining.lock().await;
    if let Some(served) = daemon.take_if(|served| !served.fits_its_role()) {
        tracing::info!(role = %served.node.engine.role(), "opening the node in its new role");
        served.close().await;
    }
    if daemon.served().is_err() {
        serve(daemon).await?;
    }
    Ok(())
}
