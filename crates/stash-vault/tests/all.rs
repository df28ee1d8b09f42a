//! The tests of the crate from outside, in one program: it is built once, and not once for each of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod common;
mod damage;
mod forget;
mod founders;
mod full_names;
mod home;
mod index;
mod listing;
mod members;
mod put;
mod recovery;
mod removal;
mod restore;
mod restored;
mod round_trip;
mod trees;
mod versions;
