//! The local API of a stash node: the bodies of its routes as types, and a client over the Unix socket.
//!
//! A node answers HTTP/1.1 with JSON on a Unix socket that only its user can open. `docs/api.md` is
//! the reference. The program `stash`, like every other client in Rust, speaks it with this crate.
//! With `--json` the command line prints the same bodies.
//!
//! It knows no other crate of stash, so it parses no key, id or ticket: these are text here. It
//! gives no advice and no exit status, and it starts no node.
//!
//! Start with [`Client`]. Every answer knows its route, as in [`node::Status::route`], and every
//! request body knows the type of its answer ([`route::Call`], [`operation::Operation`]).
//!
//! ```no_run
//! use stash_api::Client;
//! use stash_api::files::{Listing, PutRequest};
//! use stash_api::node::Status;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), stash_api::ClientError> {
//! let client = Client::new("/run/user/1000/stash/stash.sock");
//! let status = client.get(&Status::route()).await?;
//! println!("{} of {} members are connected", status.connected, status.members);
//!
//! let put = PutRequest { paths: vec!["/home/me/Photos".into()], key: None, wait: None };
//! let done = client.operate(&put, |far| println!("{} bytes so far", far.bytes)).await?;
//! println!("on {} of {} members", done.roots[0].copies, done.roots[0].wanted);
//!
//! let page = client.get(&Listing::route("Photos", None, 100)).await?;
//! println!("{} files", page.entries.len());
//! # Ok(())
//! # }
//! ```
//!
//! # Shapes
//!
//! - Sizes are bytes, unless the name of a field says otherwise. Times are RFC 3339 in UTC, to the second.
//! - Node ids, stash ids, versions and name ids are 64 lower-case hexadecimal digits.
//! - A role is `owner`, `reader` or `keeper`. `wait` is `local`, `one`, `quorum` (what `None` means) or `all`.
//! - Paths on disk are absolute: the node reads and writes them itself.
//! - `None` is written as `null`. A request with a field that its type does not have is refused; an
//!   answer may have more fields than its type, and may lack those that can be null or have a default.

pub mod client;
pub mod error;
pub mod files;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod members;
pub mod node;
pub mod operation;
pub mod repair;
pub mod route;
pub mod settings;
pub mod tickets;
pub mod upkeep;
pub mod versions;

pub use client::{Client, ClientError};
