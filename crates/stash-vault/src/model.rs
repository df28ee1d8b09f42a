//! Names, versions and files: all that is decided of them without a disk and a network.

pub(crate) mod attributes;
pub(crate) mod glob;
pub(crate) mod holes;
pub(crate) mod keys;
pub(crate) mod pattern;
pub(crate) mod plan;
pub(crate) mod retention;
pub(crate) mod scope;
pub(crate) mod source;
pub(crate) mod version;
pub(crate) mod version_id;
