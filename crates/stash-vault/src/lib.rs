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

mod admission;
mod blocking;
mod class;
mod clock;
mod commits;
mod damage;
mod evict;
mod faults;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod get;
mod history;
pub mod home;
mod index;
mod keys;
mod list;
mod locations;
mod lookup;
mod node;
mod pages;
mod per_process;
mod plan;
mod progress;
mod put;
mod reissue;
mod remove;
mod resolve;
pub mod retention;
mod rewrite;
mod scope;
mod source;
mod tags;
mod undelete;
mod vault;
mod version;
mod version_id;

pub use class::Class;
pub use clock::Clock;
pub use evict::EvictReport;
pub use get::{GetError, GetOptions, GetReport, Reading};
pub use home::{Home, HomeError, InitOptions, JoinOptions, RecoverOptions, RunOptions};
pub use list::{Entry, Here};
pub use lookup::LookupError;
pub use node::Node;
pub use per_process::is_per_process;
pub use progress::{Progress, Snapshot};
pub use put::{PutError, PutOptions, PutReport};
pub use remove::RemoveReport;
pub use resolve::ResolveReport;
pub use retention::Retention;
pub use stash_crypto::{self as crypto, Key, Meta, NodeId, Role, StashId, Ticket};
pub use stash_server::{self as server, Engine, Housekeeping, Traffic, Wait};
pub use undelete::UndeleteReport;
pub use vault::Vault;
pub use version_id::VersionId;

pub mod error {
    //! Why an operation failed: an error of its own for each, and the [`Class`] that a program acts on.

    pub use crate::class::Class;
    pub use crate::evict::EvictError;
    pub use crate::faults::{change_member as change_member_class, house as house_class};
    pub use crate::get::GetError;
    pub use crate::home::HomeError;
    pub use crate::lookup::LookupError;
    pub use crate::node::RecoveryTextError;
    pub use crate::put::PutError;
    pub use crate::remove::RemoveError;
    pub use crate::resolve::ResolveError;
    pub use crate::retention::RetentionError;
    pub use crate::rewrite::RewriteError;
    pub use crate::source::NamingError;
    pub use crate::undelete::UndeleteError;
    pub use crate::version_id::VersionIdError;
    pub use stash_crypto::record::KeyError;
}

pub mod names {
    //! What names there are, which versions each has, what was set aside of it, and where its chunks
    //! lie.
    //!
    //! [`Vault::ls`](crate::Vault::ls), [`Vault::names`](crate::Vault::names),
    //! [`Vault::history`](crate::Vault::history) and [`Vault::locations`](crate::Vault::locations)
    //! give these.

    pub use crate::history::{History, NameEntry, NamePage, Names, VersionEntry};
    pub use crate::list::{Entry, Here};
    pub use crate::locations::{Location, LocationState, Locations};
    pub use crate::version::{Alarm, AlarmReason, Standing};
    pub use crate::version_id::VersionId;
}
