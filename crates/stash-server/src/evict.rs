//! Dropping local chunks once another member has proven and holds them, and holding for others.
//!
//! The order is what keeps a copy alive when two members evict at once: the evicting flag is set
//! before the first question, no hold is given while it is set, and holds that were given are
//! checked again in the very commit that deletes. A restart forgets the flag and so abandons.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::Rng;
use serde_bytes::ByteBuf;
use stash_crypto::{Address, NodeId};
use stash_p2p::Peer;
use stash_store::{Batch, ChunkState, CommitError, ReadError, Store};

use crate::core::{AskError, Core, ask, lock, unexpected};
use crate::damage;
use crate::ledger::{LedgerError, at};
use crate::message::{self, Reply, Request};
use crate::proof::Question;
use crate::serve::unable;

/// Chunks in one question: their bytes are read and hashed before the answer, so this bounds the
/// time that it takes.
const PAGE: usize = 64;

/// What an eviction did.
#[derive(Clone, Debug, Default)]
pub struct Evicted {
    /// Chunks dropped.
    pub chunks: u64,
    /// Sealed bytes dropped.
    pub bytes: u64,
    /// Members that proved and hold them.
    pub proven_by: Vec<NodeId>,
}

/// Why nothing was evicted. Every local byte is still here.
#[derive(Debug, thiserror::Error)]
pub enum EvictError {
    /// No other member proved that it has every chunk.
    #[error("no other member has proven that it holds the bytes{}", answers(.asked))]
    NotProven {
        /// Who was asked, and what came of it.
        asked: Vec<(NodeId, String)>,
    },
    /// Another member relies on this copy.
    #[error("member {} relies on this copy", .by.short())]
    Held {
        /// The member.
        by: NodeId,
    },
    /// An eviction of the same bytes is under way.
    #[error("the same bytes are being evicted already")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

fn answers(asked: &[(NodeId, String)]) -> String {
    if asked.is_empty() {
        return ": none is connected".to_owned();
    }
    let one = |(node, answer): &(NodeId, String)| format!("{}: {answer}", node.short());
    format!(" ({})", asked.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// The evicting flag of some chunks; dropping it takes it down.
struct Flag {
    core: Arc<Core>,
    chunks: Vec<Address>,
}

impl Flag {
    fn raise(core: &Arc<Core>, chunks: &[Address]) -> Option<Flag> {
        let mut evicting = lock(&core.evicting);
        if chunks.iter().any(|chunk| evicting.contains(chunk)) {
            return None;
        }
        evicting.extend(chunks);
        Some(Flag { core: Arc::clone(core), chunks: chunks.to_vec() })
    }
}

impl Drop for Flag {
    fn drop(&mut self) {
        let mut evicting = lock(&self.core.evicting);
        self.chunks.iter().for_each(|chunk| {
            evicting.remove(chunk);
        });
    }
}

/// Evicts those of `chunks` that are here.
pub(crate) async fn evict(core: &Arc<Core>, chunks: Vec<Address>) -> Result<Evicted, EvictError> {
    let chunks: Vec<Address> = chunks.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    let flag = Flag::raise(core, &chunks).ok_or(EvictError::Busy)?;
    let mut evicted = Evicted::default();
    let mut proven_by = BTreeSet::new();
    for page in chunks.chunks(PAGE) {
        let here = local(core, page).await?;
        let round = Round::ask(core, here).await?;
        evicted.bytes += round.bytes();
        proven_by.extend(round.provers());
        evicted.chunks += round.delete(core).await?;
    }
    drop(flag);
    evicted.proven_by = proven_by.into_iter().collect();
    Ok(evicted)
}

/// What one page's eviction has to know of a chunk.
struct Local {
    address: Address,
    len: u32,
    /// Members that rely on the copy here.
    holders: BTreeSet<NodeId>,
}

async fn local(core: &Core, page: &[Address]) -> Result<Vec<Local>, LedgerError> {
    let page = page.to_vec();
    let look = move |store: &Store| {
        let mut here = Vec::new();
        for address in page {
            if let ChunkState::Here { len } = store.chunk_state(&at(&address))? {
                let holders = store.holders(&at(&address))?;
                let holders = holders.into_iter().map(NodeId::from_bytes).collect();
                here.push(Local { address, len, holders });
            }
        }
        Ok::<_, ReadError>(here)
    };
    Ok(core.disk.run(look).await?)
}

/// One page on its way: what is proven, what is released.
struct Round {
    here: Vec<Local>,
    proven: BTreeMap<Address, NodeId>,
    released: BTreeSet<(Address, NodeId)>,
    asked: Vec<(NodeId, String)>,
}

impl Round {
    /// Asks members until every chunk is proven and nobody relies on the copies here. Members that
    /// do rely on them come first: only they can release.
    async fn ask(core: &Arc<Core>, here: Vec<Local>) -> Result<Round, EvictError> {
        let mut round =
            Round { here, proven: BTreeMap::new(), released: BTreeSet::new(), asked: Vec::new() };
        let mut peers = core.connected();
        peers.sort_by_key(|(node, _)| !round.here.iter().any(|chunk| chunk.holders.contains(node)));
        for (node, peer) in peers {
            if round.done() {
                break;
            }
            let answer = match round.question(core, &node, &peer).await {
                Ok(reason) => reason,
                Err(error) => error.to_string(),
            };
            round.asked.push((node, answer));
        }
        match round.unproven() {
            None => Ok(round),
            Some(_) => {
                round.release(core);
                Err(EvictError::NotProven { asked: round.asked })
            }
        }
    }

    fn unproven(&self) -> Option<&Local> {
        self.here.iter().find(|chunk| !self.proven.contains_key(&chunk.address))
    }

    fn done(&self) -> bool {
        let released = |chunk: &Local| {
            chunk.holders.iter().all(|node| self.released.contains(&(chunk.address, *node)))
        };
        self.unproven().is_none() && self.here.iter().all(released)
    }

    /// Asks one member to hold and prove every chunk; notes what it proved. Returns its reason.
    async fn question(
        &mut self,
        core: &Arc<Core>,
        node: &NodeId,
        peer: &Peer,
    ) -> Result<String, AskError> {
        let mut nonce = [0; 32];
        core.environment.rng().fill_bytes(&mut nonce);
        let session = peer.handshake_hash();
        let chunks = message::pack(self.here.iter().map(|chunk| &chunk.address));
        let reply = ask(peer, &Request::Hold { nonce, chunks }).await?;
        let Reply::Held { proofs, released, reason } = reply else {
            return Err(unexpected(&reply));
        };
        let (proofs, rest) = proofs.as_chunks::<32>();
        if proofs.len() != self.here.len() || !rest.is_empty() {
            return Err(AskError::Protocol(format!("{} proofs", proofs.len())));
        }
        let released = message::flags(&released, self.here.len())
            .map_err(|error| AskError::Protocol(error.to_string()))?;
        let mut bad = 0;
        for ((chunk, proof), released) in self.here.iter().zip(proofs).zip(released) {
            let claimed = *proof != [0; 32];
            if claimed && holds(core, node, &nonce, &session, chunk.address, *proof).await {
                self.proven.insert(chunk.address, *node);
                if released {
                    self.released.insert((chunk.address, *node));
                }
            } else if claimed {
                bad += 1;
            }
        }
        if bad > 0 {
            tracing::error!(peer = %node.short(), bad, "a member gave proofs that do not hold");
            return Ok(format!("{bad} proofs do not hold"));
        }
        Ok(if reason.is_empty() { "proven".to_owned() } else { reason })
    }

    fn bytes(&self) -> u64 {
        self.here.iter().map(|chunk| u64::from(chunk.len)).sum()
    }

    fn provers(&self) -> impl Iterator<Item = NodeId> {
        self.proven.values().copied()
    }

    /// Deletes in one commit that checks the holds again.
    async fn delete(self, core: &Arc<Core>) -> Result<u64, EvictError> {
        let mut batch = Batch::new();
        for (address, node) in &self.released {
            batch = batch.release(at(address), *node.as_bytes());
        }
        let addresses: Vec<_> = self.here.iter().map(|chunk| at(&chunk.address)).collect();
        let batch = batch.evict(addresses, true);
        match core.disk.run(move |store| store.commit(batch)).await {
            Ok(receipt) => Ok(receipt.evicted),
            Err(error) => {
                self.release(core);
                match error {
                    CommitError::Held { holder, .. } => {
                        Err(EvictError::Held { by: NodeId::from_bytes(holder) })
                    }
                    error => Err(LedgerError::from(error).into()),
                }
            }
        }
    }

    /// Tells provers that their holds are not needed. Best effort: a hold that stays keeps a copy
    /// that could have been dropped.
    fn release(&self, core: &Arc<Core>) {
        let mut by_node: BTreeMap<NodeId, Vec<Address>> = BTreeMap::new();
        for (address, node) in &self.proven {
            by_node.entry(*node).or_default().push(*address);
        }
        for (node, chunks) in by_node {
            let Some(peer) = core.peer(&node) else {
                continue;
            };
            core.tasks.spawn(async move {
                let request = Request::Release { chunks: message::pack(&chunks) };
                if let Err(error) = ask(&peer, &request).await {
                    tracing::debug!(peer = %node.short(), %error, "a hold was not released");
                }
            });
        }
    }
}

async fn holds(
    core: &Arc<Core>,
    prover: &NodeId,
    nonce: &[u8; 32],
    session: &[u8; 32],
    address: Address,
    proof: [u8; 32],
) -> bool {
    let (stash, me, prover, nonce, session) = (core.stash, core.me, *prover, *nonce, *session);
    let shared = Arc::clone(core);
    let check = move |store: &Store| {
        let mut sealed = Vec::new();
        let question = Question {
            nonce: &nonce,
            stash: &stash,
            verifier: &me,
            prover: &prover,
            session: &session,
        };
        matches!(damage::read(&shared, store, &address, &mut sealed), Ok(true))
            && question.holds(&sealed, &proof)
    };
    core.disk.run(check).await
}

/// Answers a member that wants to evict: takes durable holds and proves possession.
pub(crate) async fn hold(
    core: &Arc<Core>,
    verifier: NodeId,
    session: [u8; 32],
    nonce: [u8; 32],
    chunks: Vec<Address>,
) -> Reply {
    if chunks.len() > PAGE {
        let reason = format!("a question has at most {PAGE} chunks");
        return Reply::Refused { code: message::Refusal::Malformed, reason };
    }
    if let Err(away) = core.disk.run(Store::look).await {
        return unable(&away.into());
    }
    let mut proofs = Vec::with_capacity(chunks.len() * 32);
    let mut released = Vec::with_capacity(chunks.len());
    let mut reason = String::new();
    for address in chunks {
        let shared = Arc::clone(core);
        let work = move |store: &Store| one(&shared, store, verifier, &session, &nonce, address);
        match core.disk.run(work).await {
            Ok(proof) => {
                proofs.extend_from_slice(&proof);
                released.push(true);
            }
            Err(why) => {
                proofs.extend_from_slice(&[0; 32]);
                released.push(false);
                reason = why;
            }
        }
    }
    Reply::Held { proofs: ByteBuf::from(proofs), released: message::bits(released), reason }
}

/// Holds one chunk for `verifier` and proves it. The hold is durable before the bytes are read; the
/// verifier's copy is no longer relied on, since the one here is whole.
fn one(
    core: &Core,
    store: &Store,
    verifier: NodeId,
    session: &[u8; 32],
    nonce: &[u8; 32],
    address: Address,
) -> Result<[u8; 32], String> {
    if lock(&core.evicting).contains(&address) {
        return Err("is evicting the same bytes".to_owned());
    }
    let chunk = at(&address);
    let batch = Batch::new().require(chunk).hold(chunk, *verifier.as_bytes());
    store.commit(batch).map_err(|error| match error {
        CommitError::MissingChunk { .. } => "does not have all of it".to_owned(),
        other => other.to_string(),
    })?;
    let mut sealed = Vec::new();
    let question =
        Question { nonce, stash: &core.stash, verifier: &verifier, prover: &core.me, session };
    match damage::read(core, store, &address, &mut sealed) {
        Ok(true) => Ok(question.answer(&sealed)),
        Ok(false) => Err("does not have all of it".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Drops the holds that were taken for `holder`.
pub(crate) async fn release(core: &Arc<Core>, holder: NodeId, chunks: Vec<Address>) -> Reply {
    let release = |batch: Batch, chunk: &Address| batch.release(at(chunk), *holder.as_bytes());
    let batch = chunks.iter().fold(Batch::new(), release);
    match core.disk.run(move |store| store.commit(batch)).await {
        Ok(_) => Reply::Done {},
        Err(error) => Reply::Refused { code: message::Refusal::Failed, reason: error.to_string() },
    }
}
