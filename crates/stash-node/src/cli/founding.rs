//! Arguments to found a stash, to bring one back, and about its tickets.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The name that other members see [env: STASH_NAME]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Protect the keys with a passphrase, from the terminal or STASH_PASSPHRASE_FILE
    #[arg(long)]
    pub(crate) passphrase: bool,
    /// Bring a stash back from the recovery text in FILE (`-`: stdin)
    #[arg(long, value_name = "FILE")]
    pub(crate) recover: Option<PathBuf>,
    /// Ask here as well, whichever member it is; may be repeated
    #[arg(long, value_name = "HOST:PORT", requires = "recover")]
    pub(crate) at: Vec<String>,
    /// Only read, in the name of the root: works with any one member, and signs nothing
    #[arg(long, requires = "recover", conflicts_with = "alone")]
    pub(crate) read: bool,
    /// Sign although most members do not answer: those are gone for good
    #[arg(long, requires = "recover")]
    pub(crate) alone: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Tickets {
    #[command(subcommand)]
    pub(crate) what: Option<TicketsCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TicketsCommand {
    /// Make a ticket void that nobody has used
    Revoke {
        /// The beginning of its id as `stash tickets` shows it
        id: String,
    },
}
