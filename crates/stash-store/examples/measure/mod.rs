//! Tools that the benches of this crate share: memory made equal, figures of process and directory.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "parts of programs; each program uses some of them"
)]

pub mod ballast;
pub mod footprint;
pub mod histogram;
pub mod object;
pub mod place;
pub mod process;
pub mod report;

use std::error::Error;

/// A bench has nobody to handle an error but the person who started it.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

pub const MIB: u64 = 1 << 20;

/// The middle one; not a number if there is none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}

/// Two digits behind the point: what is noise anyway does not get into JSON.
pub fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
