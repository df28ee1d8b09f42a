//! A data directory: made, joined, recovered, opened.
//!
//! ```text
//! keyring      the node's keys (mode 0600); its presence says that a stash is here
//! store/       the store; bound to the keyring by a row of its own
//! members      a copy of the member log: with the keyring, enough to take everything back
//! opens        how often the store was opened, as this node noted it
//! names/       index of names (owners and readers; rebuildable)
//! tags/        T to address (owners; a cache)
//! lock         held while a process uses the directory
//! ```

pub(crate) mod admission;
mod directory;
mod disk;
mod error;
mod examine;
mod make;
mod members;
pub(crate) mod node;
mod opens;
mod options;
mod private;
mod recover;
mod start;
mod swap;

pub use directory::Home;
pub use error::HomeError;
pub use examine::{Examined, Rebuilt};
#[cfg(any(test, fuzzing))]
pub(crate) use opens::Opens;
pub use options::{InitOptions, JoinOptions, RunOptions};
pub use private::is_exposed;
pub use recover::RecoverOptions;
