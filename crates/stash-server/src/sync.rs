//! What nodes tell each other when they meet: the member log, addresses, and, to a node that has
//! never had them, all records.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use stash_crypto::NodeId;
use stash_p2p::Peer;
use stash_store::{Batch, Store};

use crate::core::{AskError, Core, ask, unexpected};
use crate::door::{Hello, public};
use crate::ledger::Chunks;
use crate::message::{self, Reply, Request};
use crate::serve::{MAX_CLAIM_BYTES, page};
use crate::{intake, join};

/// Store row that says that one full exchange of records has ended.
pub(crate) const COMPLETE: &[u8] = b"sync/complete";

/// Keeps a connection to every member whose address is known.
pub(crate) fn dial_members(core: &Core) {
    for member in core.roster.members() {
        if member.node != core.me && !member.addresses.is_empty() {
            let remote = public(&member.noise);
            core.endpoint.keep(remote, member.addresses, core.door.member_realm());
        }
    }
}

/// Tells every connected member what this node knows about members.
pub(crate) fn spread(core: &Arc<Core>) {
    for (node, peer) in core.connected() {
        let request = Request::Announce {
            entries: page(core.roster.entries(0), message::MAX_RECORD_BYTES),
            addresses: page(core.roster.claims(), MAX_CLAIM_BYTES),
        };
        core.tasks.spawn(async move {
            if let Err(error) = ask(&peer, &request).await {
                tracing::debug!(peer = %node.short(), %error, "members were not announced");
            }
        });
    }
}

/// Brings this node up to date with a member that has just come up.
pub(crate) async fn meet(core: Arc<Core>, node: NodeId, peer: Peer) {
    if let Ok(hello) = message::decode::<Hello>(&peer.hello()) {
        let claims = vec![hello.addresses.into_vec()];
        // What does not verify is left out, and the reason is in the log.
        let _ = join::learn(&core, Vec::new(), claims).await;
        let mut known = core.roster.log(|log| log.len());
        while hello.members > known {
            match members(&core, &peer, known).await {
                Ok(now) if now > known => known = now,
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(peer = %node.short(), %error, "the member log was not read");
                    break;
                }
            }
        }
    }
    if !synchronised(&core) {
        match records(&core, node, &peer).await {
            Ok(count) => tracing::info!(peer = %node.short(), count, "took over all records"),
            Err(error) => tracing::warn!(peer = %node.short(), %error, "records were not read"),
        }
    }
}

/// Whether one full exchange of records has ended in this store.
pub(crate) fn synchronised(core: &Core) -> bool {
    matches!(core.disk.store().row(COMPLETE), Ok(Some(_)))
}

async fn members(core: &Arc<Core>, peer: &Peer, from: u64) -> Result<u64, AskError> {
    let reply = ask(peer, &Request::Members { from }).await?;
    let Reply::Members { entries, addresses } = reply else {
        return Err(unexpected(&reply));
    };
    let raw = |list: Vec<ByteBuf>| list.into_iter().map(ByteBuf::into_vec).collect();
    let learned = join::learn(core, raw(entries), raw(addresses)).await;
    learned.map_err(|error| AskError::Protocol(error.to_string()))?;
    Ok(core.roster.log(|log| log.len()))
}

/// Pulls every record of a peer, page by page. Chunks stay where they are until somebody reads.
async fn records(core: &Arc<Core>, node: NodeId, peer: &Peer) -> Result<u64, AskError> {
    let mut after = 0;
    let mut count = 0;
    loop {
        let reply = ask(peer, &Request::Records { after }).await?;
        let Reply::Records { records, last } = reply else {
            return Err(unexpected(&reply));
        };
        if records.is_empty() {
            break;
        }
        if last <= after {
            return Err(AskError::Protocol("the sequence does not grow".to_owned()));
        }
        count += records.len() as u64;
        let results = intake::accept(core, node, records, Chunks::Later).await;
        let failed = results.iter().find(|r| matches!(r, message::RecordResult::Failed { .. }));
        if let Some(result) = failed {
            return Err(AskError::Gone(format!("{result:?}")));
        }
        after = last;
    }
    let done = |store: &Store| store.commit(Batch::new().row(COMPLETE, Some(b"1")));
    match core.disk.run(done).await {
        Ok(_) => Ok(count),
        Err(error) => Err(AskError::Gone(error.to_string())),
    }
}
