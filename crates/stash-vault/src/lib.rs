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
//! files go in and come out.
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
mod home;
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
mod retention;
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
pub use evict::{EvictError, EvictReport};
pub use faults::{change_member as change_member_class, house as house_class};
pub use get::{GetError, GetOptions, GetReport, Reading};
pub use history::{History, NameEntry, NamePage, Names, VersionEntry};
pub use home::{
    Examined, Home, HomeError, InitOptions, JoinOptions, Rebuilt, RecoverOptions, RunOptions,
    is_exposed,
};
pub use list::{Entry, Here};
pub use locations::{Location, LocationState, Locations};
pub use lookup::LookupError;
pub use node::{Node, RecoveryTextError};
pub use per_process::is_per_process;
pub use progress::{Progress, Snapshot};
pub use put::{PutError, PutOptions, PutReport};
pub use remove::{RemoveError, RemoveReport};
pub use resolve::{ResolveError, ResolveReport};
pub use retention::{Moment, Retention, RetentionError, RetentionReport};
pub use rewrite::RewriteError;
pub use source::NamingError;
pub use stash_crypto::record::KeyError;
pub use stash_crypto::{self as crypto, Key, Meta, NodeId, Role, StashId, Ticket};
pub use stash_server::{self as server, Engine, Housekeeping, Traffic, Wait};
pub use undelete::{UndeleteError, UndeleteReport};
pub use vault::Vault;
pub use version::{Alarm, AlarmReason, Standing};
pub use version_id::{VersionId, VersionIdError};
