//! The crate as its users see it. Frozen bytes lie in `vectors/`; see `frozen`.

#![expect(clippy::unwrap_used, reason = "a fixture that fails should fail its test")]

mod chunk;
mod epochs;
mod fixtures;
mod frozen;
mod hostile;
mod keyring;
mod keys;
mod members;
mod record;
mod settling;
mod text;
mod versions;
