#![doc = include_str!("../README.md")]

mod block;
mod cache;
mod changes;
mod codec;
mod cursor;
mod directory;
mod error;
mod fences;
mod filter;
mod head;
mod layout;
mod run;
mod sync;
#[cfg(test)]
mod tests;
mod tiers;
mod tree;
mod writer;

pub use changes::Changes;
pub use codec::PREFIX;
pub use directory::Directory;
pub use error::TreeError;
pub use stash_disk as disk;
pub use tree::scan::Visit;
pub use tree::verify::TreeCursor;
pub use tree::{Entry, LONGEST_HEAD, Tree, TreeLimits, TreeStats};
