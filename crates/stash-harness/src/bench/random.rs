//! Files of random bytes: other ones each time, since what a node holds already costs nothing to put.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use rand::Rng;

use crate::tree;

/// Bytes that are made at a time.
const BLOCK: u64 = 1 << 20;

/// Writes a file of random bytes, durably.
pub(super) fn file(path: &Path, size: u64) -> Result<()> {
    let mut rng = tree::rng(rand::rng().next_u64());
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut buffer = vec![0; usize::try_from(BLOCK)?];
    let mut left = size;
    while left > 0 {
        let count = usize::try_from(left.min(BLOCK))?;
        rng.fill_bytes(&mut buffer[..count]);
        file.write_all(&buffer[..count])?;
        left -= count as u64;
    }
    file.into_inner().context("cannot write the file")?.sync_all()?;
    Ok(())
}
