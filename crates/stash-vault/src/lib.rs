//! Files and names over a stash node: the only place where names and plaintext exist.
//!
//! **What it is:** the half of a node that reads and writes files. It cuts files into chunks,
//! seals them, signs records, lists names and gives files back, over the ciphertext engine of
//! `stash-server`. It also makes, joins, recovers and opens a node's directory ([`Home`]), since it
//! alone knows the keys that the directory holds.
//!
//! **What it is not:** it opens no socket, prints nothing, parses no arguments and keeps no
//! plaintext on disk but what a caller asked to be written there, and the index of names (mode
//! 0600). A keeper runs without it.
//!
//! Start with [`Home::init`] and [`Home::open`], which gives a [`Node`]; its [`Vault`] is where
//! files go in and come out. What callers name all the time stands here as well as in its module;
//! the rest stands in the modules:
//!
//! - [`home`]: one data directory, made, joined, recovered, opened
//! - [`names`]: what listings give: names, versions, alarms, locations
//! - [`retention`]: when old versions are forgotten
//! - [`error`]: why an operation failed, with all errors and their classes
//!
//! ```
//! use stash_vault::{GetOptions, Home, InitOptions, Key, Progress, PutOptions, RunOptions};
//!
//! # #[tokio::main(flavor = "multi_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! std::fs::write(dir.join("hello.txt"), "hello")?;
//!
//! let data = dir.join("data");
//! Home::init(&data, InitOptions::default())?;
//! let node = Home::open(&data, None, RunOptions::default()).await?;
//! let vault = node.vault.clone().ok_or("a keeper reads nothing")?;
//!
//! let progress = Progress::new();
//! let put = vault.put_path(&dir.join("hello.txt"), None, PutOptions::default(), &progress).await?;
//! assert_eq!(put.key, Key::new("hello.txt")?);
//!
//! let out = dir.join("back.txt");
//! vault.get_path("hello.txt", Some(&out), GetOptions::default(), &progress).await?;
//! assert_eq!(std::fs::read(out)?, b"hello");
//! node.shutdown(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```

mod blocking;
mod class;
mod clock;
mod faults;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod home;
mod index;
mod lookup;
mod model;
mod operations;
mod progress;
mod tags;
mod vault;

pub use class::Class;
pub use clock::Clock;
pub use home::node::Node;
pub use home::{Home, HomeError, InitOptions, JoinOptions, RecoverOptions, RunOptions};
pub use lookup::LookupError;
pub use model::retention::Retention;
pub use model::version::Here;
pub use model::version_id::VersionId;
pub use operations::evict::EvictReport;
pub use operations::get::{Failure, GetError, GetOptions, GetReport, Reading, Restore};
pub use operations::list::Entry;
pub use operations::put::per_process::is_per_process;
pub use operations::put::{PutError, PutOptions, PutReport, check_distinct};
pub use operations::remove::RemoveReport;
pub use operations::resolve::ResolveReport;
pub use operations::undelete::UndeleteReport;
pub use progress::{Progress, Snapshot};
pub use stash_crypto::member::Place;
pub use stash_crypto::record::FileType;
pub use stash_crypto::{self as crypto, Key, Meta, NodeId, Role, StashId, Ticket};
pub use stash_server::{self as server, Engine, Housekeeping, Traffic, Wait};
pub use vault::Vault;

pub mod error {
    //! Why an operation failed: an error of its own for each, and the [`Class`] that a program acts on.

    pub use crate::class::Class;
    pub use crate::faults::{change_member as change_member_class, house as house_class};
    pub use crate::home::HomeError;
    pub use crate::home::node::RecoveryTextError;
    pub use crate::lookup::LookupError;
    pub use crate::model::source::NamingError;
    pub use crate::model::version_id::VersionIdError;
    pub use crate::operations::evict::EvictError;
    pub use crate::operations::get::GetError;
    pub use crate::operations::put::PutError;
    pub use crate::operations::remove::RemoveError;
    pub use crate::operations::resolve::ResolveError;
    pub use crate::operations::retain::RetentionError;
    pub use crate::operations::rewrite::RewriteError;
    pub use crate::operations::undelete::UndeleteError;
    pub use stash_crypto::record::KeyError;
}

pub mod names {
    //! The names that there are, the versions of each, what was set aside of it, and where its chunks
    //! lie.
    //!
    //! [`Vault::ls`](crate::Vault::ls), [`Vault::level`](crate::Vault::level),
    //! [`Vault::find`](crate::Vault::find), [`Vault::names`](crate::Vault::names),
    //! [`Vault::history`](crate::Vault::history) and [`Vault::locations`](crate::Vault::locations)
    //! give these.

    pub use crate::index::level::Sum;
    pub use crate::model::glob::{Glob, GlobError};
    pub use crate::model::version::{Alarm, AlarmReason, Here, Standing};
    pub use crate::model::version_id::VersionId;
    pub use crate::operations::absence::Absence;
    pub use crate::operations::find::{Filter, Found};
    pub use crate::operations::history::{History, NameEntry, NamePage, Names, VersionEntry};
    pub use crate::operations::list::{Entry, Folder, Level};
    pub use crate::operations::locations::{Location, LocationState, Locations};
}

pub mod retention {
    //! When old versions are forgotten: the rules, and a pass of [`Vault::retain`](crate::Vault::retain).

    pub use crate::model::retention::Retention;
    pub use crate::operations::retain::{Moment, RetentionError, RetentionReport};
}
