//! The operations of a vault, each in a file or folder of its own, and what several of them share.

pub(crate) mod absence;
mod commits;
mod damage;
mod draft;
pub(crate) mod evict;
pub(crate) mod find;
pub(crate) mod get;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod locations;
mod pages;
pub(crate) mod put;
pub(crate) mod reissue;
pub(crate) mod remove;
pub(crate) mod resolve;
pub(crate) mod retain;
pub(crate) mod rewrite;
mod tally;
pub(crate) mod undelete;
