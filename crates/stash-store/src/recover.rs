//! Opening: what is on disk becomes a log writer and an index that agree.

mod directory;
mod load;
mod open;
mod rebuild;
mod replay;
mod segments;

pub(crate) use directory::write_format;
pub(crate) use load::reload;
pub(crate) use open::{Opened, create, open};
pub(crate) use rebuild::{Salvaged, rebuild};
