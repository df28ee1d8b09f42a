//! The command line: what may be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use stash_vault::{Role, Wait};

use crate::units::{Keep, Percent, Place, Size, Span, Speeds, seconds};

mod founding;
mod names;
mod reading;
mod words;

pub(crate) use founding::{Init, Tickets, TicketsCommand};
pub(crate) use names::{Du, Find, History, Ls, Rm};
pub(crate) use reading::{Cat, Get};
use words::{ROLES, WAITS, words};

/// Your files, encrypted, in several copies on machines of people you know.
///
/// Without a command, `stash` is `stash up`: the first run makes an identity, a configuration and
/// an empty stash, then serves.
#[derive(Debug, Parser)]
#[command(name = "stash", version, after_help = AFTER)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    /// Without a command: `up`.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

const AFTER: &str = "\
Each setting comes from the first of: flag, environment (STASH_DATA_DIR, STASH_SOCKET, STASH_CONFIG,
STASH_LISTEN, STASH_ADVERTISE, STASH_NAME, STASH_LOG, STASH_PASSPHRASE_FILE, STASH_QUOTA_*, STASH_GC_*,
STASH_SCRUB_*), user file, system file, default. `stash config show` tells which.

Exit status: 0 done, 1 failed, 2 usage, 3 some inputs unreadable, 4 not found, 5 temporary,
6 integrity or authentication, 7 stored below the requested copies, 8 quota or disk full, 9 refused for safety,
10 no store here, 11 locked, 12 wrong passphrase, 130 cancelled.";

/// Flags that every command knows.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Global {
    /// The directory of the stash [env: STASH_DATA_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The Unix socket of the daemon [env: STASH_SOCKET]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// The configuration file, instead of the user's [env: STASH_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print one JSON document on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print results and errors only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Log more (twice: everything), and show more of a status [env: STASH_LOG, a tracing filter]
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// The command to run.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve this node; the first run makes everything that is missing
    Up(Box<Up>),
    /// Stop the node that runs, and wait until it has
    Stop,
    /// Have the node that runs read its settings anew
    Reload,
    /// Make a new stash, or bring one back from its recovery text
    Init(Init),
    /// Store files and trees
    Put(Put),
    /// Bring a file or a tree back
    Get(Get),
    /// Write a file to stdout
    Cat(Cat),
    /// List what is stored, one level at a time
    Ls(Ls),
    /// Show how much lies in each folder
    Du(Du),
    /// List the files that are like this
    Find(Find),
    /// Remove a file, on every member
    Rm(Rm),
    /// Bring back what was removed
    Undelete(Undelete),
    /// List the versions of a file, also of a removed one
    History(History),
    /// End a conflict: one version takes the place of all concurrent ones
    Resolve(Resolve),
    /// Drop the local bytes once another node has proven its copy
    Evict(Evict),
    /// Show which members hold a file
    Where(Where),
    /// Give back the room of what no file needs
    Gc(Gc),
    /// Read everything on this node, and heal what is damaged from other members
    Scrub,
    /// Count the copies of everything, bring what is missing here, tell others what they miss
    Repair(Repair),
    /// Compare what this node says it has with what it has
    Check(Check),
    /// Make a ticket with which another node can join
    Invite(Invite),
    /// List the tickets that this node made, or make one void (founding node only)
    Tickets(Tickets),
    /// Join a stash with a ticket
    Join(Join),
    /// List the members
    Peers(Peers),
    /// Remove a member, or give it another role (founding node only)
    Peer(Peer),
    /// Show whether the stash is safe, and the state of this node
    Status(Status),
    /// Show the recovery text or this node's public identity
    Key(Key),
    /// Show or change the settings
    Config(Config),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print the version
    Version,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Up {
    /// Go on in the background, also when this terminal is closed; return once the node serves
    #[arg(long)]
    pub(crate) detach: bool,
    /// This is the node of an `up --detach`
    #[arg(long, hide = true, conflicts_with = "detach")]
    pub(crate) detached: bool,
    /// Listen for peers here, may be repeated [env: STASH_LISTEN, separated by commas]
    #[arg(long, value_name = "ADDR", value_parser = place)]
    pub(crate) listen: Vec<Place>,
    /// Tell peers to reach this node here, may be repeated [env: STASH_ADVERTISE]
    #[arg(long, value_name = "ADDR", value_parser = place)]
    pub(crate) advertise: Vec<Place>,
    /// The name that other members see, set at the first run [env: STASH_NAME]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Keep this much of the bytes: `all`, `none` or a size; with less than all, this node is no copy
    /// [env: STASH_KEEP] [default: all]
    #[arg(long, value_name = "SIZE")]
    pub(crate) keep: Option<Keep>,
    /// Send and receive at most so much a second, as in `2MiB`, `UP:DOWN` or `off`
    /// [env: STASH_BWLIMIT] [default: off]
    #[arg(long, value_name = "RATE")]
    pub(crate) bwlimit: Option<Speeds>,
    /// Say so when the store takes more than this, as in `400 GiB` [env: STASH_QUOTA_SOFT]
    #[arg(long, value_name = "SIZE")]
    pub(crate) quota_soft: Option<Size>,
    /// Refuse puts that would bring the store above this [env: STASH_QUOTA_HARD]
    #[arg(long, value_name = "SIZE")]
    pub(crate) quota_hard: Option<Size>,
    /// Refuse puts that would leave the disk less than this [env: STASH_QUOTA_RESERVE]
    #[arg(long, value_name = "SIZE")]
    pub(crate) quota_reserve: Option<Size>,
    /// Collect garbage this often [env: STASH_GC_INTERVAL] [default: 1h]
    #[arg(long, value_name = "TIME")]
    pub(crate) gc_interval: Option<Span>,
    /// Collect what nothing has named for this long [env: STASH_GC_GRACE] [default: 1d]
    #[arg(long, value_name = "TIME")]
    pub(crate) gc_grace: Option<Span>,
    /// Share of the disk's time for scrubbing [env: STASH_SCRUB_SHARE] [default: 2 %]
    #[arg(long, value_name = "PERCENT")]
    pub(crate) scrub_share: Option<Percent>,
    /// Begin to read everything this often [env: STASH_SCRUB_INTERVAL] [default: 7d]
    #[arg(long, value_name = "TIME")]
    pub(crate) scrub_interval: Option<Span>,
    /// Count all copies this often, at least [env: STASH_REPAIR_INTERVAL] [default: 1d]
    #[arg(long, value_name = "TIME")]
    pub(crate) repair_interval: Option<Span>,
    /// Count a member that is away as a copy for so long [env: STASH_REPAIR_GRACE] [default: 1d]
    #[arg(long, value_name = "TIME")]
    pub(crate) repair_grace: Option<Span>,
    /// Expect no copies of a member that was away for so long, until it is back; on the founding node
    /// [env: STASH_REPAIR_LAPSE] [default: 90d]
    #[arg(long, value_name = "TIME")]
    pub(crate) repair_lapse: Option<Span>,
    /// Bring back what was evicted here when fewer others than this have it
    /// [env: STASH_REPAIR_COPIES] [default: 2]
    #[arg(long, value_name = "COUNT")]
    pub(crate) repair_copies: Option<u32>,
    /// Have each member show something of what it holds this often [env: STASH_REPAIR_CHALLENGE]
    /// [default: 5m]
    #[arg(long, value_name = "TIME")]
    pub(crate) repair_challenge: Option<Span>,
    /// Forget versions so long after they were replaced or removed [env: STASH_RETENTION_AGE]
    /// [default: 30d]
    #[arg(long, value_name = "TIME")]
    pub(crate) retention_age: Option<Span>,
    /// Keep so many versions of a file, however old [env: STASH_RETENTION_VERSIONS] [default: 10]
    #[arg(long, value_name = "COUNT")]
    pub(crate) retention_versions: Option<u32>,
    /// Confirm a --retention-age of zero, which makes every removal final
    /// [env: STASH_RETENTION_FORGET_AT_ONCE]
    #[arg(long)]
    pub(crate) retention_forget_at_once: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    /// Files and directories, or `-` for stdin (needs --as)
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Store under this key instead of the base name
    #[arg(long = "as", value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// Return once this many members have stored it
    #[arg(long, default_value = "quorum", value_parser = words::<Wait>(WAITS))]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct Undelete {
    /// The key
    pub(crate) key: String,
    /// Everything below the key that was removed
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Return once this many members have stored it
    #[arg(long, default_value = "quorum", value_parser = words::<Wait>(WAITS))]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct Resolve {
    /// The key
    pub(crate) key: String,
    /// Take this version, as `stash history` shows it (12 digits or more)
    #[arg(long, value_name = "ID", group = "what")]
    pub(crate) take: Option<String>,
    /// Store this file instead of all of them
    #[arg(long, value_name = "PATH", group = "what")]
    pub(crate) file: Option<PathBuf>,
    /// Return once this many members have stored it
    #[arg(long, default_value = "quorum", value_parser = words::<Wait>(WAITS))]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct Evict {
    /// The key
    pub(crate) key: String,
    /// Everything below the key
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Other nodes that must prove their copies; with so many it stays evicted (default: repair.copies)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) copies: Option<u8>,
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Only say what would be given back
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not wait for the grace of what nothing names
    #[arg(long)]
    pub(crate) now: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// Only count
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Also read all contents
    #[arg(long)]
    pub(crate) read_data: bool,
    /// Make the index anew from the log and the files; the daemon must not run
    #[arg(long)]
    pub(crate) rebuild: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Where {
    /// The key
    pub(crate) key: String,
}

#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// What the new member may do
    #[arg(long, value_parser = words::<Role>(ROLES))]
    pub(crate) role: Role,
    /// How long the ticket is good: a number with s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = lifetime)]
    pub(crate) expires: Duration,
    /// Although no other member was met since the start: those that might know more are gone for good
    #[arg(long)]
    pub(crate) alone: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Join {
    /// The ticket, or `-` for stdin
    pub(crate) ticket: String,
    /// The name that other members see [env: STASH_NAME]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// What you call this stash, such as "photos from next door": shown on this machine alone
    #[arg(long, value_name = "TEXT")]
    pub(crate) label: Option<String>,
    /// Keep this much of the bytes, `all`, `none` or a size, and write it into the configuration
    #[arg(long, value_name = "SIZE")]
    pub(crate) keep: Option<Keep>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Exit with 0 if the stash is safe, with 7 if copies are too few, with 6 if something is damaged or an alarm waits
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Peers {
    /// List those that were removed instead
    #[arg(long)]
    pub(crate) removed: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Peer {
    #[command(subcommand)]
    pub(crate) what: PeerCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeerCommand {
    /// Shut a member out, for good: its connections are cut and all keys change
    Remove {
        /// Its name, or the beginning of its id as `stash peers` shows it
        name: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// Although no other member was met since the start: those that might know more are gone for
        /// good
        #[arg(long)]
        alone: bool,
    },
    /// Give a member another role
    Role {
        /// Its name, or the beginning of its id as `stash peers` shows it
        name: String,
        /// What it may do from now on
        #[arg(value_parser = words::<Role>(ROLES))]
        role: Role,
        /// Although no other member was met since the start: those that might know more are gone for
        /// good
        #[arg(long)]
        alone: bool,
    },
    /// Say where a member is to be dialled, beside the places that it names itself
    #[command(
        long_about = "Say where a member is to be dialled, beside the places that it names itself: \
for a member that has moved while nobody could be told. Names are looked up at each dial. It holds on this \
node, until something else is said."
    )]
    Address {
        /// Its name, or the beginning of its id as `stash peers` shows it
        name: String,
        /// Places, at most 8, as in nas.example.org:7979 or 203.0.113.7
        #[arg(value_name = "HOST:PORT", required_unless_present = "none", value_parser = place, num_args = 1..=8)]
        places: Vec<Place>,
        /// Take back what was said before
        #[arg(long, conflicts_with = "places")]
        none: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Key {
    #[command(subcommand)]
    pub(crate) what: KeyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// The recovery text: whoever holds it holds the stash (founding node only)
    Recovery,
    /// This node's and its stash's public ids
    Show,
}

#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) what: Option<ConfigCommand>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Every setting, where it comes from, and what the node that runs uses instead (default)
    Show,
    /// Write a setting into the user's file, and leave the rest of it as it is
    Set {
        /// Its name, as `stash config show` has it
        key: String,
        /// Its value; of several addresses or hours, separated by commas
        value: String,
    },
    /// Take a setting out of the user's file
    Unset {
        /// Its name, as `stash config show` has it
        key: String,
    },
    /// The file that is read, or would be
    Path,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// A place, with its port or without.
fn place(text: &str) -> Result<Place, String> {
    text.parse()
}

/// The longest life of a ticket.
const LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// `90s`, `15m`, `24h`, `7d`.
fn lifetime(text: &str) -> Result<Duration, String> {
    let Some(seconds) = seconds(text) else {
        return Err("expected a number with s, m, h or d, as in 24h".to_owned());
    };
    let lifetime = u64::try_from(seconds).ok().map(Duration::from_secs);
    match lifetime.filter(|lifetime| *lifetime <= LIFETIME_MAX) {
        None => Err("at most 30d".to_owned()),
        Some(Duration::ZERO) => Err("a ticket must live longer than that".to_owned()),
        Some(lifetime) => Ok(lifetime),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_is_up() {
        let cli = Cli::try_parse_from(["stash", "--data-dir", "/x"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.global.data_dir.as_deref(), Some(std::path::Path::new("/x")));
    }

    #[test]
    fn lifetimes_are_numbers_with_a_unit_up_to_thirty_days() {
        assert_eq!(lifetime("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(lifetime("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(lifetime("24 h"), lifetime("24h"));
        assert_eq!(lifetime("30d"), Ok(LIFETIME_MAX));
        for bad in ["", "h", "24", "-1h", "1.5h", "31d", "0h", "99999999999999999999d", "2é"] {
            assert!(lifetime(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ranges_may_start_with_a_hyphen() {
        let cli = Cli::try_parse_from(["stash", "cat", "k", "--range", "-50"]).unwrap();
        let Some(Command::Cat(cat)) = cli.command else { panic!("not cat") };
        assert_eq!(cat.range.as_deref(), Some("-50"));
    }
}
