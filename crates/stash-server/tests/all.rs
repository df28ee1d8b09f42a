//! The tests of the crate from outside, in one program: it is built once, and not once for each of
//! them.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod beliefs;
mod caches;
mod catchup;
#[path = "support/client/mod.rs"]
mod client;
mod cuts;
mod departed;
mod discovery;
mod doubt;
mod engine;
mod evicting;
mod fair;
mod founder;
mod full;
mod full_names;
mod hostile;
mod housekeeping;
mod large;
mod members;
mod records;
mod repair;
#[path = "support/scene.rs"]
mod scene;
mod support;
