//! The settings: flag, environment, user file, system file, default, in this order.

mod edit;
mod file;
mod hours;
mod keys;
mod lookup;
mod network;
mod notify;
mod rows;
mod upkeep;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::{Global, Up};
use crate::error::{Class, Problem};
use crate::paths::{self, Environment};
use crate::typed::quoted;
use crate::units::{PORT, Place};
use file::{File, read_file};
use lookup::{Lookup, absolute, addresses, boolean, many, optional, or, or_default, text};

pub(crate) use edit::edit;
pub(crate) use keys::{KEYS, is_taken_anew, matters_later, unknown_variables};
pub(crate) use lookup::{Origin, Setting};
pub(crate) use network::Network;
pub(crate) use notify::NotifySettings;
pub(crate) use upkeep::Upkeep;

/// Bytes of a display name, as the member log has it.
const NAME_MAX: usize = 64;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    /// The directory of the stash.
    pub(crate) data_dir: Setting<PathBuf>,
    /// The socket of the local API.
    pub(crate) socket: Setting<PathBuf>,
    /// Where peers are awaited.
    pub(crate) listen: Setting<Vec<Place>>,
    /// Where peers are told to come; empty: found out from `listen`.
    pub(crate) advertise: Setting<Vec<Place>>,
    /// The name that other members see.
    pub(crate) name: Setting<String>,
    /// The filter of the log.
    pub(crate) log: Setting<Option<String>>,
    /// A file with the passphrase of the keys.
    pub(crate) passphrase_file: Setting<Option<PathBuf>>,
    /// True if `up` makes a new stash in a data directory that has none.
    pub(crate) create: Setting<bool>,
    /// The share of the line that the node takes, and how it finds others.
    pub(crate) network: Network,
    /// Who is told when something is wrong.
    pub(crate) notify: NotifySettings,
    /// The room of the disk that the node may take, and the upkeep of its store.
    #[serde(flatten)]
    pub(crate) upkeep: Upkeep,
    /// The user's file: read if it is there, written by the first run if it may.
    #[serde(skip)]
    pub(crate) user_file: Option<Setting<PathBuf>>,
    /// The list of the data directories of this user that hold a stash.
    #[serde(skip)]
    pub(crate) known_file: Option<PathBuf>,
    /// The files that were read.
    pub(crate) files: Vec<PathBuf>,
}

/// The flags with which this process was started, for reading the settings again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments {
    /// The flags of every command.
    pub(crate) global: Global,
    /// The flags of `up`; empty for other commands.
    pub(crate) up: Up,
    /// True if a file named by flag or environment must exist.
    pub(crate) named_file_must_exist: bool,
}

impl Arguments {
    /// The settings of these flags, the environment and the files as they are now.
    pub(crate) fn settings(&self) -> Result<Settings, Problem> {
        self.with(Settings::load)
    }

    /// The user's configuration file, whatever stands in it.
    pub(crate) fn user_file(&self) -> Option<PathBuf> {
        self.with(user_file).map(|file| file.value)
    }

    fn with<T>(&self, read: impl FnOnce(&Sources<'_>) -> T) -> T {
        read(&Sources {
            global: &self.global,
            up: &self.up,
            env: &|name| std::env::var_os(name),
            system_file: Path::new(paths::SYSTEM_FILE),
            named_file_must_exist: self.named_file_must_exist,
        })
    }
}

/// The command line and the environment.
pub(crate) struct Sources<'a> {
    /// The flags of every command.
    pub(crate) global: &'a Global,
    /// The flags of `up`; empty for other commands.
    pub(crate) up: &'a Up,
    /// The environment.
    pub(crate) env: Environment<'a>,
    /// The machine's file.
    pub(crate) system_file: &'a Path,
    /// True if a file named by flag or environment must exist.
    pub(crate) named_file_must_exist: bool,
}

impl Settings {
    /// A command to this node as it is to be typed: with the flags by which this one was told which node is meant.
    pub(crate) fn typed(&self, words: &str) -> String {
        let flag = |name: &str, origin: &Origin, path: &Path| {
            (*origin == Origin::Flag)
                .then(|| format!(" {name} {}", quoted(&path.to_string_lossy())))
        };
        let config = self.user_file.as_ref();
        let flags = [
            flag("--data-dir", &self.data_dir.origin, &self.data_dir.value),
            flag("--socket", &self.socket.origin, &self.socket.value),
            config.and_then(|config| flag("--config", &config.origin, &config.value)),
        ];
        format!("stash {words}{}", flags.into_iter().flatten().collect::<String>())
    }

    /// Reads every source.
    pub(crate) fn load(sources: &Sources<'_>) -> Result<Self, Problem> {
        let env = sources.env;
        let user_file = user_file(sources);
        let mut files = Vec::new();
        if let Some(Setting { value: path, origin }) = &user_file {
            let named = *origin != Origin::Default;
            // Of another user's home, where everything that matters was named.
            let told = sources.global.data_dir.is_some() && sources.global.socket.is_some();
            let file = match read_file(path) {
                Err(problem) if !named && told && problem.code == Class::Unreadable => None,
                file => file?,
            };
            match file {
                Some(file) => files.push((path.clone(), file)),
                None if named && sources.named_file_must_exist => {
                    return Err(Problem::usage(format!(
                        "there is no configuration file {} ({origin})",
                        path.display()
                    )));
                }
                None => {}
            }
        }
        if let Some(file) = read_file(sources.system_file)? {
            files.push((sources.system_file.to_owned(), file));
        }
        let lookup = Lookup { env, files: &files };
        lookup.settings(sources, user_file)
    }
}

fn user_file(sources: &Sources<'_>) -> Option<Setting<PathBuf>> {
    let named = sources.global.config.clone().map(|value| Setting { value, origin: Origin::Flag });
    named
        .or_else(|| {
            let value = (sources.env)("STASH_CONFIG").filter(|value| !value.is_empty())?.into();
            Some(Setting { value, origin: Origin::Environment("STASH_CONFIG") })
        })
        .or_else(|| {
            let value = paths::user_file(sources.env)?;
            Some(Setting { value, origin: Origin::Default })
        })
}

impl Lookup<'_> {
    fn settings(
        &self,
        sources: &Sources<'_>,
        user_file: Option<Setting<PathBuf>>,
    ) -> Result<Settings, Problem> {
        let (global, up) = (sources.global, sources.up);
        let path = |name, flag: &Option<PathBuf>, file: fn(&File) -> Option<PathBuf>| {
            self.find(name, flag.clone(), |text| Ok(PathBuf::from(text)), file)?
                .map(absolute)
                .transpose()
        };
        let data_dir = path("STASH_DATA_DIR", &global.data_dir, |f| f.data_dir.clone())?;
        let named = data_dir.is_some();
        let data_dir = or_default(data_dir, || paths::data_dir(self.env))?;
        let socket = path("STASH_SOCKET", &global.socket, |f| f.socket.clone())?;
        let socket = or_default(socket, || Ok(paths::socket(self.env, &data_dir.value, named)))?;
        let listen =
            self.find("STASH_LISTEN", many(&up.listen), addresses, |f| f.listen.clone())?;
        let advertise =
            self.find("STASH_ADVERTISE", many(&up.advertise), addresses, |f| f.advertise.clone())?;
        let name = self.find("STASH_NAME", up.name.clone(), text, |f| f.name.clone())?;
        let log = self.find("STASH_LOG", None, text, |f| f.log.clone())?;
        let passphrase = path("STASH_PASSPHRASE_FILE", &None, |f| f.passphrase_file.clone())?;
        let create = self.find("STASH_CREATE", None, boolean, |f| f.create)?;
        Ok(Settings {
            data_dir,
            socket,
            listen: or(listen, vec![Place(SocketAddr::from(([0, 0, 0, 0], PORT)).into())]),
            advertise: or(advertise, Vec::new()),
            name: check_name(or_default(name, || Ok(host_name()))?)?,
            log: optional(log),
            passphrase_file: optional(passphrase),
            create: or(create, true),
            network: self.network(up)?,
            notify: self.notify()?,
            upkeep: self.upkeep(up)?,
            user_file,
            known_file: paths::known_file(self.env),
            files: self.files.iter().map(|(path, _)| path.clone()).collect(),
        })
    }
}

fn check_name(name: Setting<String>) -> Result<Setting<String>, Problem> {
    let length = name.value.len();
    if (1..=NAME_MAX).contains(&length) && !name.value.chars().any(char::is_control) {
        return Ok(name);
    }
    Err(Problem::usage(format!(
        "the name ({}) must have 1 to {NAME_MAX} bytes and no control characters",
        name.origin
    )))
}

/// The machine's name, if it will do as a display name.
fn host_name() -> String {
    let system = rustix::system::uname();
    let name = system.nodename().to_str().unwrap_or_default();
    if (1..=NAME_MAX).contains(&name.len()) { name.to_owned() } else { "stash".to_owned() }
}

/// The settings of one file for a user whose home is `/home/u`, and nothing else.
#[cfg(any(test, fuzzing))]
pub(crate) fn of_text(path: &Path, text: &str) -> Result<Settings, Problem> {
    let sources = Sources {
        global: &Global::default(),
        up: &Up::default(),
        env: &|variable| (variable == "HOME").then(|| "/home/u".into()),
        system_file: path,
        named_file_must_exist: false,
    };
    let files = [(path.to_owned(), file::parse(path, text)?)];
    Lookup { env: sources.env, files: &files }.settings(&sources, None)
}

/// The configuration that the first run writes: every setting as a comment, and the one line that makes a missing
/// disk an error instead of a new stash.
pub(crate) const TEMPLATE: &str = r#"# stash configuration; a flag or an STASH_* variable wins over this file.

# data_dir = "/path/to/stash"
# socket = "/run/user/1000/stash/stash.sock"
# listen = ["0.0.0.0:7979"]
# advertise = ["home.example.org:7979"]
# name = "laptop"
# log = "info"
# passphrase_file = "/path/to/file"

# The stash of this configuration exists: an empty data directory (a disk that is not mounted) is
# an error and not a reason to make a new one.
create = false

# keep = "all"

# [network]
# bwlimit_up = "2 MiB"
# bwlimit_down = "off"
# background_down = "1 MiB"
# hours = ["up 512 KiB/s 08:00-22:00"]
# limit_lan = false
# discovery = true

# [notify]
# command = ["/usr/local/bin/tell-me"]
# grace = "24h"
# absent = "3d"

# [quota]
# soft = "400 GiB"
# hard = "500 GiB"
# reserve = "1 GiB"

# [gc]
# interval = "1h"
# grace = "24h"

# [scrub]
# share = "2 %"
# interval = "7d"

# [repair]
# interval = "24h"
# grace = "24h"
# lapse = "90d"
# copies = 2
# challenge = "5m"

# [retention]
# age = "30d"
# versions = 10
# forget_at_once = false
"#;

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
