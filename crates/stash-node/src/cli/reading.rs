//! Arguments of what brings files back.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Keys, prefixes of trees, or patterns in quotes, as in 'Photos/2024/*.jpg'
    #[arg(required = true, value_name = "KEY")]
    pub(crate) keys: Vec<String>,
    /// Write here (default: the last part of the key, in this directory; `-`: stdout). Of several keys, and of
    /// a pattern, the directory for all of them
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
    /// Replace files and links that are there and differ
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Compare contents of what is there already, and not only sizes and times
    #[arg(long)]
    pub(crate) verify: bool,
    /// Only say what would be written, left alone and refused
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Give owner and group back, by number
    #[arg(long)]
    pub(crate) owner: bool,
    /// Give ACLs back
    #[arg(long)]
    pub(crate) acl: bool,
    /// Give extended attributes back
    #[arg(long)]
    pub(crate) xattr: bool,
    /// Give set-user-id and set-group-id back, too, and with --xattr what only root may give
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Do not keep a local copy of what comes from peers
    #[arg(long)]
    pub(crate) no_keep: bool,
    /// This version of the file, as `stash history` shows it (12 digits or more)
    #[arg(long = "version", value_name = "ID")]
    pub(crate) version: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// The key
    pub(crate) key: String,
    /// This version of the file, as `stash history` shows it (12 digits or more)
    #[arg(long = "version", value_name = "ID")]
    pub(crate) version: Option<String>,
    /// Only these bytes, counted from 0, both ends included: `a-b`, `a-` or `-last`
    #[arg(long, value_name = "A-B", allow_hyphen_values = true)]
    pub(crate) range: Option<String>,
    /// Do not keep a local copy of what comes from peers
    #[arg(long)]
    pub(crate) no_keep: bool,
}
