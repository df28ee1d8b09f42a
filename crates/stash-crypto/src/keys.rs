//! Secrets: the root, the keys of each epoch, a node's own keys, and the file that keeps them.
//!
//! Start with [`RootSecret`], from which the keys of a stash derive, and [`NodeKeys`]; [`wrap()`] seals
//! secrets to another node.

pub(crate) mod keyring;
pub(crate) mod node;
pub(crate) mod secret;
pub(crate) mod sign;
pub(crate) mod wrap;
pub(crate) mod x25519;

pub use keyring::{Keyring, KeyringError, Protection};
pub use node::{NodeKeys, NodeSigner, NoiseSecret, WrapSecret};
pub use secret::{LAN_TAG_LEN, NetworkKey, NotAPrevious, ReadRoot, RootSecret};
pub use sign::{RootSigner, SignatureError};
pub use wrap::{WRAP_OVERHEAD, WrapError, unwrap, wrap};
