//! The checks that a record of another node passes before it is stored.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use stash_crypto::{NodeId, Record};
use stash_store::Store;

use crate::ledger::{self, Chunks, rules};
use crate::message::RecordResult;
use crate::transfer::{Transfer, other_lives};

/// Checks records by the rules and makes the good ones durable. One result a record.
pub(crate) async fn accept(
    transfer: &Arc<Transfer>,
    from: NodeId,
    records: Vec<ByteBuf>,
    chunks: Chunks,
) -> Vec<RecordResult> {
    let lens: Vec<usize> = records.iter().map(|record| record.len()).collect();
    let shared = Arc::clone(transfer);
    let work = move |store: &Store| {
        // No cut takes effect between the check and the commit.
        let _uncut = shared.core.roster.uncut();
        let checked = records.iter().map(|bytes| check(&shared, bytes)).collect::<Vec<_>>();
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
        let result = |one: Result<Record, rules::Unacceptable>| match one {
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

fn check(transfer: &Transfer, bytes: &[u8]) -> Result<Record, rules::Unacceptable> {
    let record =
        Record::decode(bytes).map_err(|error| rules::Unacceptable::Malformed(error.to_string()))?;
    let epoch = transfer.core.roster.log(|log| log.epoch());
    let admits = |dot: &_, hash: &_| transfer.core.roster.log(|log| log.admits(dot, hash));
    let names = |seen: &_| transfer.core.roster.log(|log| log.names(seen));
    rules::accept(&record, &transfer.core.stash, epoch, admits, names)?;
    Ok(record)
}
