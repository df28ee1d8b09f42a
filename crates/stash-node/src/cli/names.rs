//! Arguments to list names, and to end them.

use clap::Args;
use stash_vault::Wait;

use super::words::{WAITS, words};
use crate::units::{Size, Span};

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Mode, size, time, and where the bytes are
    #[arg(short, long)]
    pub(crate) long: bool,
    /// All that lies below, and not only one level of it
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// Files with concurrent versions, and all of these
    #[arg(long, conflicts_with_all = ["deleted", "versions"])]
    pub(crate) conflicts: bool,
    /// Removed files that can be brought back, and when they were removed
    #[arg(long, conflicts_with = "versions")]
    pub(crate) deleted: bool,
    /// Every name with its versions, removed ones included
    #[arg(long)]
    pub(crate) versions: bool,
    /// Only this key, and what lies under it
    pub(crate) prefix: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Du {
    /// Folders of so many levels
    #[arg(short, long, value_name = "LEVELS", default_value_t = 1)]
    pub(crate) depth: u8,
    /// Only below this key
    pub(crate) prefix: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Find {
    /// Whose name is like this: `*` and `?`, `[a-z]` for one of these; with a `/`, the path below the prefix
    #[arg(long, value_name = "PATTERN")]
    pub(crate) name: Option<String>,
    /// Of this size or more, as in `100 MiB`
    #[arg(long, value_name = "SIZE")]
    pub(crate) larger: Option<Size>,
    /// Of this size or less
    #[arg(long, value_name = "SIZE")]
    pub(crate) smaller: Option<Size>,
    /// Changed within this time, as in `7d`
    #[arg(long, value_name = "TIME")]
    pub(crate) newer: Option<Span>,
    /// Not changed within this time
    #[arg(long, value_name = "TIME")]
    pub(crate) older: Option<Span>,
    /// Mode, size, time, and where the bytes are
    #[arg(short, long)]
    pub(crate) long: bool,
    /// Only below this key
    pub(crate) prefix: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// The key
    pub(crate) key: String,
}

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The key
    pub(crate) key: String,
    /// Everything below the key
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// With all versions and for good; also of a key that was removed before
    #[arg(long)]
    pub(crate) purge: bool,
    /// Remove nothing unless there are so many files; a purge of more than 100 needs it, or asks
    #[arg(long, value_name = "COUNT", requires = "recursive")]
    pub(crate) expect: Option<u64>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Return once this many members know
    #[arg(long, default_value = "quorum", value_parser = words::<Wait>(WAITS))]
    pub(crate) wait: Wait,
}
