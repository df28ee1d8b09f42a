//! Remembers which records have fewer copies than members, so that `status` can say so.

use std::sync::Arc;

use stash_crypto::RecordHash;
use stash_store::{Batch, ReadError, Store};

use crate::core::{Core, lock};
use crate::shipment::Shipment;

/// Store rows of records with missing copies, by record hash; the value names the members.
const SHORT: &[u8] = b"short/";

/// The records that the store remembers as short.
pub(crate) fn all(store: &Store) -> Result<Vec<RecordHash>, ReadError> {
    let hash = |key: &[u8]| Some(RecordHash::from_bytes(key.strip_prefix(SHORT)?.try_into().ok()?));
    Ok(store.rows(SHORT)?.iter().filter_map(|(key, _)| hash(key)).collect())
}

/// Waits until no target of a shipment can still report, then writes down what is missing, or
/// strikes out what no longer is.
pub(crate) async fn watch(core: Arc<Core>, shipment: Arc<Shipment>) {
    let tally = shipment.until(|tally| tally.closed()).await;
    let without = tally.without();
    let hashes = shipment.records().iter().map(stash_crypto::Record::hash);
    let changed: Vec<RecordHash> = {
        let mut short = lock(&core.short);
        let update = |hash: &RecordHash| match without.is_empty() {
            true => short.remove(hash),
            false => short.insert(*hash),
        };
        hashes.filter(update).collect()
    };
    if changed.is_empty() {
        return;
    }
    let names: Vec<u8> = without.iter().flat_map(|(node, _)| *node.as_bytes()).collect();
    let value = (!names.is_empty()).then_some(names);
    let write = move |store: &Store| {
        let row = |batch: Batch, hash: &RecordHash| {
            batch.row(&[SHORT, hash.as_bytes()].concat(), value.as_deref())
        };
        store.commit(changed.iter().fold(Batch::new(), row))
    };
    if let Err(error) = core.disk.run(write).await {
        tracing::warn!(%error, "missing copies could not be written down");
    }
}
