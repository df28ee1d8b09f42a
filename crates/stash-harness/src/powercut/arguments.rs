//! Arguments: the file systems that are cut, and the number of cuts.

#![expect(
    missing_docs,
    reason = "a doc line here is a line of --help, and not every option has one"
)]

use std::fmt::{self, Display, Formatter};

use clap::{Args, ValueEnum};

/// Arguments of a run of power cuts.
#[derive(Debug, Clone, Args)]
pub struct PowercutArguments {
    /// File systems to cut
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = FileSystem::ALL)]
    pub fs: Vec<FileSystem>,
    /// Fate of the file system's journal at the cut, where it has one
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Journal::ALL)]
    pub journal: Vec<Journal>,
    /// Cuts for each file system and each fate of its journal
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub cuts: u32,
    #[arg(long)]
    pub seed: Option<u64>,
    /// Only this cut, after those that were on the same image before it
    #[arg(long, value_name = "CUT", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub at: Option<u32>,
    /// Names of what may be missing here, as the complaint about it says them; `xfs` leaves that one out
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub allow_missing: Vec<String>,
}

/// A file system whose power can be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FileSystem {
    Ext4,
    Xfs,
    /// ext4 without a journal, repaired after each cut: shows that no sync of a directory is missing
    Bare,
}

impl FileSystem {
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Bare];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Bare => "bare",
        }
    }
}

impl Display for FileSystem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The fate of the file system's own journal at a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Journal {
    /// It reaches the disk before the cut; contents of files that were not synced do not
    Flushed,
    /// Changes that were not synced are gone, names and sizes as well
    Dropped,
}

impl Journal {
    pub const ALL: [Self; 2] = [Self::Flushed, Self::Dropped];
}

impl Display for Journal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flushed => "flushed",
            Self::Dropped => "dropped",
        })
    }
}
