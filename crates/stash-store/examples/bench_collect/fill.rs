//! A store of which half is dead.

use stash_store::{Address, Batch, Ref, Store};

use crate::measure::Outcome;
use crate::measure::object::{Object, Random};

/// Bytes of a file, and of a small blob.
const FILE: usize = 256 * 1024;
const SMALL: usize = 4 * 1024;
/// Bytes of a record.
const RECORD: usize = 300;
/// Blobs that are committed together.
const BATCH: u64 = 64;

/// Records and blobs that were stored, and those that were dropped again.
pub(crate) struct Filled {
    /// Bytes of blobs that nothing names any more.
    pub(crate) dead_bytes: u64,
    live: Vec<(Address, usize)>,
}

impl Filled {
    pub(crate) fn new(store: &Store, seed: u64, files: u64, small: u64) -> Outcome<Filled> {
        let mut filled = Filled { dead_bytes: 0, live: Vec::new() };
        let mut records = Vec::new();
        let all = files + small;
        for begin in (0..all).step_by(usize::try_from(BATCH)?) {
            let mut batch = Batch::new();
            for n in begin..(begin + BATCH).min(all) {
                // Files and small blobs in turn, as they come.
                let is_file = n * files / all != (n + 1) * files / all;
                let size = if is_file { FILE } else { SMALL };
                let blob = Object::new(seed, 2 * n, size).blob();
                let address = blob.address();
                store.stage(blob)?;
                let mut record = Object::new(seed, 2 * n + 1, RECORD).record();
                record.refs = vec![Ref { address, sealed_len: u32::try_from(size)? }];
                records.push((record.hash, address, size));
                batch = batch.require(address).record(record);
            }
            store.commit(batch)?;
        }
        let mut random = Random::of(seed, u64::MAX);
        random.shuffle(&mut records);
        let (dropped, kept) = records.split_at(records.len() / 2);
        for some in dropped.chunks(usize::try_from(BATCH)?) {
            let drop =
                |batch: Batch, (hash, ..): &([u8; 32], Address, usize)| batch.drop_record(*hash);
            store.commit(some.iter().fold(Batch::new(), drop))?;
        }
        filled.dead_bytes = dropped.iter().map(|(_, _, size)| *size as u64).sum();
        filled.live.extend(kept.iter().map(|(_, address, size)| (*address, *size)));
        Ok(filled)
    }

    /// Reads everything that is still named.
    pub(crate) fn check(&self, store: &Store) -> Outcome<()> {
        let mut out = Vec::new();
        for (address, size) in &self.live {
            if !store.read_into(address, &mut out)? || out.len() != *size {
                return Err(format!("{address} is lost").into());
            }
        }
        Ok(())
    }
}
