//! Asking again for records that found no room, once there is some.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use stash_crypto::RecordHash;
use stash_store::{Batch, Store};

use crate::ledger::{FEW, rows};
use crate::lock::lock;
use crate::replication::{Replication, reconcile, records};
use crate::rpc::AskError;

/// Asks connected members for everything that found no room, if there is some now. What none of
/// them has is struck out: it has ended, or is found when somebody who has it comes.
pub(crate) async fn ask_again(replication: &Arc<Replication>) -> Result<(), AskError> {
    let _alone = replication.refused.asking.lock().await;
    let all: Vec<RecordHash> = lock(&replication.refused.kept).iter().copied().collect();
    let connected = replication.core.connected();
    if connected.is_empty() {
        return Ok(());
    }
    for some in all.chunks(FEW) {
        if !replication.core.disk.run(records::has_room).await {
            return Ok(());
        }
        let (mut again, mut silent) = (BTreeSet::new(), false);
        for (node, peer) in &connected {
            let some = some.iter().filter(|hash| !again.contains(*hash)).copied().collect();
            match records::take_from(replication, *node, peer, some).await {
                Ok(taken) => again.extend(taken.no_room),
                Err(error) => {
                    tracing::debug!(peer = %node.short(), %error, "a member gave nothing again");
                    silent = true;
                }
            }
        }
        let asked: Vec<RecordHash> =
            some.iter().filter(|hash| !again.contains(*hash)).copied().collect();
        if silent {
            // It may be the one that has them.
            return Ok(());
        }
        let shared = Arc::clone(replication);
        let forget = move |store: &Store| shared.refused.forget(store, &asked);
        replication.core.disk.run(forget).await?;
        replication.core.applied();
        if !again.is_empty() {
            return Ok(());
        }
    }
    if replication.refused.more.swap(false, Ordering::Relaxed) {
        compare_again(replication)
            .await
            .inspect_err(|_| replication.refused.more.store(true, Ordering::Relaxed))?;
    }
    Ok(())
}

/// Finds what was refused and is not kept, unless that is too much once more.
async fn compare_again(replication: &Arc<Replication>) -> Result<(), AskError> {
    for (node, peer) in replication.core.connected() {
        reconcile::compare_all(replication, node, &peer).await?;
    }
    let shared = Arc::clone(replication);
    let done = move |store: &Store| {
        let _kept = lock(&shared.refused.kept);
        if shared.refused.more.load(Ordering::Relaxed) {
            return Ok(());
        }
        store.commit(Batch::new().row(rows::REFUSED_MORE, None).even_if_full()).map(drop)
    };
    replication.core.disk.run(done).await.map_err(AskError::from)
}
