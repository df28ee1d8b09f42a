//! Small files inside their records, or in a blob beside them.

use std::path::Path;
use std::time::Instant;

use stash_store::{Batch, Blob, Options, RecordEntry, Ref, Store};

use crate::measure::footprint::Footprint;
use crate::measure::object::Object;
use crate::measure::{Outcome, process};
use crate::tiers::{deal, on_threads};
use crate::{Arguments, Trial};

/// Bytes of a record without references around its meta: the clear part of A.7 up to the counts,
/// the length of the meta, its tag, and the signature.
const RECORD_FIXED: usize = 161 + 2 + 4 + 32 + 64;
/// Bytes of a meta beside its inline bytes, for a key of 24 bytes, modified and mode.
const META_FIXED: usize = 2 + 2 + 24 + 8 + 4 + 12 + 4 + 1 + 2;
/// A meta is padded to a multiple of this.
const META_PAD: usize = 256;
/// Bytes of a reference in a record.
const REFERENCE: usize = 36;
/// Header and tag of a sealed chunk, A.6.
const CHUNK_FIXED: usize = 48;

fn record_len(inline: usize, references: usize) -> usize {
    let meta = (META_FIXED + inline).next_multiple_of(META_PAD);
    RECORD_FIXED + meta + references * REFERENCE
}

/// The padded length of the last chunk of a file, A.6.
fn padme(len: usize) -> usize {
    if len < 2 {
        return len;
    }
    let exponent = len.ilog2();
    let significant = exponent.ilog2() + 1;
    let mask = (1 << (exponent - significant)) - 1;
    (len + mask) & !mask
}

/// A record, and the blob that it names, if its bytes are not inline.
type File = (RecordEntry, Option<Blob>);

/// Files of `bytes` each, one record for each, `batch` records a commit. They are made and hashed
/// before the clock starts, so the peak of memory has all of them.
pub(crate) fn run(inline: bool, dir: &Path, arguments: &Arguments) -> Outcome<Trial> {
    let store = Store::create(dir, &Options::default())?;
    let before = Footprint::of(dir)?;
    let (records, bytes) = (arguments.records, arguments.bytes);
    let record = if inline { record_len(bytes, 0) } else { record_len(0, 1) };
    let chunk = if inline { 0 } else { CHUNK_FIXED + padme(bytes) };
    let file = |number| {
        let entry = Object::new(arguments.seed, number, record).record();
        let blob = Object::new(!arguments.seed, number, chunk).blob();
        (entry, (!inline).then_some(blob))
    };
    let shares = deal((0..records).map(file), arguments.threads);
    let start = Instant::now();
    on_threads(shares, |share| put_share(&store, share, arguments.batch))?;
    let seconds = start.elapsed().as_secs_f64();
    drop(store);
    let trial = Trial {
        seconds,
        objects: records,
        bytes: records * bytes as u64,
        grown: Footprint::of(dir)?.since(before),
        written: process::written()?,
        peak_rss: process::peak_rss()?,
    };
    Ok(trial)
}

fn put_share(store: &Store, files: Vec<File>, batch: usize) -> Outcome<()> {
    let mut files = files.into_iter().peekable();
    while files.peek().is_some() {
        let mut commit = Batch::new();
        for (mut record, blob) in files.by_ref().take(batch) {
            if let Some(blob) = blob {
                let (address, sealed_len) = (blob.address(), u32::try_from(blob.bytes().len())?);
                record.refs = vec![Ref { address, sealed_len }];
                commit = commit.require(address);
                store.stage(blob)?;
            }
            commit = commit.record(record);
        }
        store.commit(commit)?;
    }
    Ok(())
}
