//! The checks that a record of another node passes before it is stored.

use std::sync::Arc;

use stash_crypto::record::{RecordError, Verifier};
use stash_crypto::{NodeId, Record};
use stash_store::Store;

use crate::disk::Disk;
use crate::ledger::rules::{self, Unacceptable};
use crate::ledger::{self, Chunks};
use crate::message::{RecordBytes, RecordResult};
use crate::transfer::{Transfer, other_lives};

/// A record as it came, decoded and hashed.
pub(crate) type Arrival = Result<Record, RecordError>;

/// Decodes records as they came, on all cores. Everything that is done with one of them begins
/// with what came out, so that none is hashed twice.
pub(crate) async fn decode(disk: &Disk, records: Vec<RecordBytes>) -> Vec<Arrival> {
    let decode = |one: RecordBytes| Record::decode_shared(one.0);
    disk.spread(records, move |part| part.into_iter().map(decode).collect()).await
}

/// Checks records by the rules and makes the good ones durable. One result a record. Signatures
/// are verified on all cores, each once, before anything waits for the store.
pub(crate) async fn accept(
    transfer: &Arc<Transfer>,
    from: NodeId,
    records: Vec<Arrival>,
    chunks: Chunks,
) -> Vec<RecordResult> {
    let len = |one: &Arrival| one.as_ref().map_or(0, |record| record.bytes().len());
    let lens: Vec<usize> = records.iter().map(len).collect();
    let shared = Arc::clone(transfer);
    let verify = move |part: Vec<Arrival>| {
        let mut verifier = Verifier::default();
        let one = |arrival: Arrival| {
            let record = arrival.map_err(|error| Unacceptable::Malformed(error.to_string()))?;
            check(&shared, &record, Some(&mut verifier)).map(|()| record)
        };
        part.into_iter().map(one).collect()
    };
    let checked: Vec<Result<Record, Unacceptable>> =
        transfer.core.disk.spread(records, verify).await;
    let shared = Arc::clone(transfer);
    let work = move |store: &Store| {
        // No cut takes effect between the check and the commit.
        let _uncut = shared.core.roster.uncut();
        // The member log may have grown since the signatures were verified.
        let still = |record: Record| check(&shared, &record, None).map(|()| record);
        let checked: Vec<_> = checked.into_iter().map(|one| one.and_then(still)).collect();
        let good: Vec<Record> =
            checked.iter().filter_map(|one| one.as_ref().ok()).cloned().collect();
        let admitted = other_lives::look(&shared, store, &good)
            .and_then(|()| ledger::admit(&shared.core.name_locks, store, &good, chunks));
        // Of several that could not all be stored, some were.
        other_lives::came(&shared, &good);
        let stored = match admitted {
            Ok(results) => results,
            Err(error) => {
                tracing::warn!(from = %from.short(), %error, "records were not stored");
                vec![RecordResult::Failed { reason: error.to_string() }; good.len()]
            }
        };
        let mut stored = stored.into_iter();
        let result = |one: Result<Record, Unacceptable>| match one {
            Ok(_) => stored.next().expect("one result a record"),
            Err(why) => {
                tracing::warn!(from = %from.short(), %why, "a record was refused");
                if why.is_passing() {
                    shared.core.roster.refused_for_now();
                }
                RecordResult::Refused { reason: why.to_string() }
            }
        };
        checked.into_iter().map(result).collect()
    };
    let results: Vec<RecordResult> = transfer.core.disk.run(work).await;
    for (len, result) in lens.into_iter().zip(&results) {
        match result {
            RecordResult::Stored {} => {
                transfer.background.came(len);
                transfer.background.kept(len);
            }
            RecordResult::Full { .. } => {
                transfer.background.came(len);
                transfer.rooms.changed();
            }
            // What is refused for good, or sent again with its chunks, has nothing to do with room.
            _ => {}
        }
    }
    transfer.core.applied();
    if chunks == Chunks::Later {
        transfer.wanted.notify_one();
    }
    results
}

/// Checks a record against the member log as it is now, and its signature unless that was done.
fn check(
    transfer: &Transfer,
    record: &Record,
    verifier: Option<&mut Verifier>,
) -> Result<(), Unacceptable> {
    let roster = &transfer.core.roster;
    let epoch = roster.log(|log| log.epoch());
    let admits = |dot: &_, hash: &_| roster.log(|log| log.admits(dot, hash));
    let names = |seen: &_| roster.log(|log| log.names(seen));
    rules::accept(record, &transfer.core.stash, epoch, admits, names, verifier)
}
