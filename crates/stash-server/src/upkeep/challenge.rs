//! Finding members that lie about what they hold, or whose disks rot: now and then each connected
//! member is asked to show some of what it says that it has.
//!
//! The samples are drawn by chance, half of them among the newest records. A member that says
//! openly that it has not got a chunk does not lie; nor does one that has given up the bytes. A
//! member that fails is in doubt: what it says is not counted as a copy until it has shown again
//! what it failed to show, and more.
//!
//! Of a chunk that this node has itself, the member shows that it knows all bytes. Of one that it has not, such as what was
//! evicted here, the member shows a leaf of the tree whose root is the address.

mod hash_tree;
pub(crate) mod leaves;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt};
use serde_bytes::ByteBuf;
use stash_crypto::{Address, Manifest, NodeId, Record, RecordHash};
use stash_p2p::Peer;
use stash_store::{Batch, Store};
use tokio::time::sleep;

use crate::ledger::{LedgerError, rows};
use crate::message::{FindPuts, Holding, Refusal, Reply, Request, refused, unable};
use crate::rpc::{AskError, ask, unexpected};
use crate::transfer::proof::Question;
use crate::transfer::suspects::{ASKED, Sample};
use crate::transfer::{holders, local, under_replicated};
use crate::upkeep::Upkeep;
use crate::upkeep::challenge::leaves::Drawn;
use crate::{ledger, message};

/// Half of the samples are drawn among so many of the newest records.
const NEWEST: u64 = 1_024;

/// A member that has just come has better things to do.
const FIRST: Duration = Duration::from_secs(60);

/// Challenges a member until the connection ends.
pub(crate) async fn watch(upkeep: Arc<Upkeep>, node: NodeId, peer: Peer) {
    let interval = upkeep.house.options.challenge_interval;
    let mut pause = FIRST.min(interval);
    let task = upkeep.core.tasks.list_about("challenge", node);
    loop {
        task.ends(Some(pause));
        tokio::select! {
            biased;
            () = upkeep.core.tasks.stopped() => return,
            _ = peer.closed() => return,
            () = sleep(pause) => {}
        }
        pause = interval;
        task.begins();
        let stood = challenge(&upkeep, node, &peer).await;
        upkeep.membership.last_met.heard(node, &stood);
        if let Err(error) = stood {
            tracing::debug!(peer = %node.short(), %error, "a challenge was interrupted");
            interrupted(&upkeep, node, &error).await;
        }
    }
}

/// Challenges a member once.
async fn challenge(upkeep: &Arc<Upkeep>, node: NodeId, peer: &Peer) -> Result<(), AskError> {
    if !upkeep.core.keeps.keeps_all(&node) {
        // What a cache says that it has may be gone a moment later.
        return Ok(());
    }
    let again = to_show_again(upkeep, node).await?;
    let (mut shown, failed) = show(upkeep, node, peer, Choice::Chance(again)).await?;
    let (mut claimed, mut admitted) = claimed(upkeep, peer, failed).await?;
    if !claimed.is_empty() {
        // Proving finds damage, and it may be healed by the time the member says that all is whole.
        let (late, failed) = show(upkeep, node, peer, Choice::These(claimed)).await?;
        shown.extend(late);
        let said = self::claimed(upkeep, peer, failed).await?;
        claimed = said.0;
        admitted.extend(said.1);
    }
    let compared = upkeep.replication.beliefs.times(node).borrow().agreed;
    claimed.extend(upkeep.transfer.suspects.admits(node, &admitted, compared));
    conclude(upkeep, node, &shown, &claimed).await;
    Ok(())
}

/// What a member failed to show, or said openly that it has not, and is said to have since. Nobody has to show what was
/// forgotten, or what it is known to lack.
async fn to_show_again(upkeep: &Upkeep, node: NodeId) -> Result<Vec<Sample>, AskError> {
    let suspects = &upkeep.transfer.suspects;
    let (again, admitted) = (suspects.again(&node), suspects.admitted(&node));
    let look = move |store: &Store| {
        let is_held = |sample: &Sample| store.has_records(&[*sample.record.as_bytes()]);
        let mut due = Vec::new();
        for sample in again {
            due.push((sample, is_held(&sample)? == [true]));
        }
        for sample in admitted {
            let lacking = under_replicated::without(store, &sample.record)?;
            due.push((sample, is_held(&sample)? == [true] && !lacking.contains_key(&node)));
        }
        Ok::<_, LedgerError>(due)
    };
    let due = upkeep.core.disk.run(look).await?;
    let (due, over): (Vec<_>, Vec<_>) = due.into_iter().partition(|(_, is_due)| *is_due);
    suspects.excuse(&node, over.iter().map(|(sample, _)| sample));
    Ok(due.into_iter().map(|(sample, _)| sample).take(ASKED).collect())
}

/// Samples that a member is asked to show.
enum Choice {
    /// These, which it failed to show before, and others by chance.
    Chance(Vec<Sample>),
    /// These alone.
    These(Vec<Sample>),
}

/// Asks a member once. Returns the samples that it has shown, and those that it has not.
async fn show(
    upkeep: &Arc<Upkeep>,
    node: NodeId,
    peer: &Peer,
    choice: Choice,
) -> Result<(Vec<Sample>, Vec<Sample>), AskError> {
    let mut nonce = [0; 32];
    upkeep.core.environment.rng().fill_bytes(&mut nonce);
    let (session, shared) = (peer.handshake_hash(), Arc::clone(upkeep));
    let draw = move |store: &Store| {
        let ours = Asked { upkeep: &shared, prover: node, nonce, session };
        match choice {
            Choice::Chance(again) => ours.draw(store, again),
            Choice::These(samples) => ours.expect_all(store, samples),
        }
    };
    let drawn = upkeep.core.disk.run(draw).await?;
    let (mut shown, mut failed) = (Vec::new(), Vec::new());
    let (mut proven, mut leaves, mut records) = (Vec::new(), Vec::new(), Vec::new());
    for (sample, expected) in drawn {
        match (expected, sample.chunk) {
            (Expected::Proof(proof), Some(chunk)) => proven.push((sample, chunk, proof)),
            (Expected::Leaf, Some(chunk)) => {
                leaves.push((sample, Drawn { chunk, draw: sample.draw }));
            }
            (_, None) | (Expected::Record, _) => records.push(sample),
        }
    }
    if !proven.is_empty() {
        let chunks = message::pack(proven.iter().map(|(_, chunk, _)| chunk));
        let reply = ask(peer, &Request::Prove { nonce, chunks }).await?;
        let Reply::Proofs { proofs } = reply else {
            return Err(unexpected(&reply));
        };
        let (proofs, rest) = proofs.as_chunks::<32>();
        if proofs.len() != proven.len() || !rest.is_empty() {
            return Err(AskError::Protocol(format!("{} proofs", proofs.len())));
        }
        for ((sample, _, expected), proof) in proven.iter().zip(proofs) {
            let is_shown = blake3::Hash::from_bytes(*expected) == blake3::Hash::from_bytes(*proof);
            if is_shown { &mut shown } else { &mut failed }.push(*sample);
        }
    }
    if !leaves.is_empty() {
        let asked: Vec<Drawn> = leaves.iter().map(|(_, drawn)| *drawn).collect();
        let answers = leaves::shown(upkeep, peer, &asked).await?;
        for ((sample, _), is_shown) in leaves.into_iter().zip(answers) {
            if is_shown { &mut shown } else { &mut failed }.push(sample);
        }
    }
    if !records.is_empty() {
        let hashes: Vec<_> = records.iter().map(|sample| sample.record).collect();
        let found = found(peer, &hashes).await?;
        for sample in records {
            let is_shown = found.contains(&sample.record);
            if is_shown { &mut shown } else { &mut failed }.push(sample);
        }
    }
    Ok((shown, failed))
}

/// The records that a member can show.
async fn found(peer: &Peer, hashes: &[RecordHash]) -> Result<BTreeSet<RecordHash>, AskError> {
    let mut found = BTreeSet::new();
    // Each answer shows one at least, unless none of them is there.
    for _ in hashes {
        let rest: Vec<_> = hashes.iter().filter(|hash| !found.contains(*hash)).copied().collect();
        let request = Request::Find { hashes: message::pack_hashes(&rest), puts: FindPuts::All };
        let reply = ask(peer, &request).await?;
        let Reply::Records { records } = reply else {
            return Err(unexpected(&reply));
        };
        let before = found.len();
        let hashes = records.iter().filter_map(|bytes| Record::decode(bytes.as_ref()).ok());
        found.extend(hashes.map(|record| record.hash()));
        if found.len() == before || rest.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// The samples that were not shown: those that the member says it has all the same, and the others.
async fn claimed(
    upkeep: &Arc<Upkeep>,
    peer: &Peer,
    failed: Vec<Sample>,
) -> Result<(Vec<Sample>, Vec<Sample>), AskError> {
    if failed.is_empty() {
        return Ok(Default::default());
    }
    let hashes: Vec<_> = failed.iter().map(|sample| sample.record).collect();
    let states = holders::there(peer, &hashes).await?;
    let pairs = hashes.iter().zip(&states).filter(|(_, state)| state.is_lacking());
    let lacking: Vec<_> = pairs.map(|(hash, _)| *hash).collect();
    if !lacking.is_empty() {
        holders::tell(peer, &lacking).await;
    }
    let raw: Vec<[u8; 32]> = hashes.iter().map(|hash| *hash.as_bytes()).collect();
    let held = upkeep.core.disk.run(move |store| store.has_records(&raw)).await?;
    // One that was forgotten meanwhile, here and there, is not to be shown.
    let said = failed.into_iter().zip(states).zip(held);
    let said = said.filter_map(|(said, held)| held.then_some(said));
    let (claimed, admitted): (Vec<_>, Vec<_>) =
        said.partition(|(_, state)| *state == Holding::Whole);
    let samples = |said: Vec<(Sample, Holding)>| said.into_iter().map(|(sample, _)| sample);
    Ok((samples(claimed).collect(), samples(admitted).collect()))
}

/// A challenge came to nothing. A member that is connected and does not answer at all, again and again, has shown nothing;
/// one whose chunk files are away says so, and counts as one that is away.
async fn interrupted(upkeep: &Arc<Upkeep>, node: NodeId, error: &AskError) {
    let is_its_own = match error {
        AskError::Late | AskError::Protocol(_) => true,
        AskError::Refused { code, .. } => *code != Refusal::Unavailable,
        AskError::Gone(_) | AskError::NotKept(_) | AskError::Here(_) => false,
    };
    if is_its_own && upkeep.transfer.suspects.unanswered(node, upkeep.core.environment.seconds()) {
        tracing::error!(peer = %node.short(), %error, "a member does not show what it says that it has");
        write_down(upkeep, node).await;
        upkeep.repairs.look_again();
    }
}

async fn conclude(upkeep: &Arc<Upkeep>, node: NodeId, shown: &[Sample], failed: &[Sample]) {
    let changed =
        upkeep.transfer.suspects.note(node, upkeep.core.environment.seconds(), shown, failed);
    if !failed.is_empty() {
        tracing::error!(peer = %node.short(), failed = failed.len(), shown = shown.len(),
            "a member did not show what it says that it has");
    }
    if !changed && failed.is_empty() {
        return;
    }
    write_down(upkeep, node).await;
    if changed {
        // There are more copies or fewer than it seemed.
        upkeep.repairs.look_again();
    }
}

async fn write_down(upkeep: &Upkeep, node: NodeId) {
    let batch = upkeep.transfer.suspects.write(Batch::new().even_if_full(), &node);
    if let Err(error) = upkeep.core.disk.run(move |store| store.commit(batch)).await {
        tracing::warn!(%error, "that a member is in doubt could not be written down");
    }
}

/// What is compared with the answer about a sample.
#[derive(Debug)]
enum Expected {
    /// The hash of the record.
    Record,
    /// The proof of a chunk that is here.
    Proof([u8; 32]),
    /// The address alone, of a chunk that is not here.
    Leaf,
}

/// A question to one member.
struct Asked<'a> {
    upkeep: &'a Upkeep,
    prover: NodeId,
    nonce: [u8; 32],
    session: [u8; 32],
}

impl Asked<'_> {
    /// Draws the samples, with what is expected of each: those of earlier challenges that were not shown, and others
    /// by chance.
    fn draw(
        &self,
        store: &Store,
        again: Vec<Sample>,
    ) -> Result<Vec<(Sample, Expected)>, LedgerError> {
        let mut drawn = self.expect_all(store, again)?;
        let last = store.last_sequence();
        let mut rng = self.upkeep.core.environment.rng();
        for turn in 0..ASKED {
            if drawn.len() >= ASKED || last == 0 {
                break;
            }
            let from = if turn % 2 == 0 { last.saturating_sub(NEWEST) } else { 0 };
            let after = rng.random_range(from..last);
            let Some((_, hash)) = store.record_hashes_after(after, 1)?.pop() else { continue };
            let record = RecordHash::from_bytes(hash);
            if under_replicated::without(store, &record)?.contains_key(&self.prover) {
                // That is known.
                continue;
            }
            if let Some(chunk) = chunk_of(store, &record, &mut rng)? {
                let draw = rng.next_u32();
                // What is wanted here is about to be fetched, which shows more.
                let is_wanted = store.row(&rows::want(&record))?.is_some();
                // Of one chunk, several leaves may be shown; all of it is shown once.
                let is_new = |(sample, expected): &(Sample, Expected)| {
                    let same = (sample.record, sample.chunk);
                    let is_same = |(one, _): &(Sample, Expected)| (one.record, one.chunk) == same;
                    match expected {
                        Expected::Leaf => !is_wanted,
                        Expected::Proof(_) | Expected::Record => !drawn.iter().any(is_same),
                    }
                };
                let one = self.expect(store, Sample { record, chunk, draw })?.filter(is_new);
                drawn.extend(one);
            }
        }
        Ok(drawn)
    }

    /// The samples of records that are held here.
    fn expect_all(
        &self,
        store: &Store,
        samples: Vec<Sample>,
    ) -> Result<Vec<(Sample, Expected)>, LedgerError> {
        let expected = samples.into_iter().map(|sample| self.expect(store, sample));
        expected.filter_map(Result::transpose).collect()
    }

    /// The sample with what is expected; `None` if its record is not held here any more.
    fn expect(
        &self,
        store: &Store,
        sample: Sample,
    ) -> Result<Option<(Sample, Expected)>, LedgerError> {
        if store.has_records(&[*sample.record.as_bytes()])? != [true] {
            return Ok(None);
        }
        let Some(address) = sample.chunk else {
            return Ok(Some((sample, Expected::Record)));
        };
        let question = Question {
            nonce: &self.nonce,
            stash: &self.upkeep.core.stash,
            verifier: &self.upkeep.core.me,
            prover: &self.prover,
            session: &self.session,
        };
        let proof = read(self.upkeep, store, &address).map(|sealed| question.answer(&sealed));
        Ok(Some((sample, proof.map_or(Expected::Leaf, Expected::Proof))))
    }
}

/// A chunk of a record by chance; the inner `None` if it has none. The outer one: not to be asked.
fn chunk_of(
    store: &Store,
    hash: &RecordHash,
    rng: &mut impl Rng,
) -> Result<Option<Option<Address>>, LedgerError> {
    let Some(record) = ledger::whole(store, hash)? else {
        return Ok(None);
    };
    let manifest = &record.clear().manifest;
    let refs = manifest.refs();
    if refs.is_empty() {
        return Ok(Some(None));
    }
    let direct = refs[rng.random_range(0..refs.len())].address;
    let Manifest::Indirect { .. } = manifest else {
        return Ok(Some(Some(direct)));
    };
    let inner = ledger::read_manifest(store, &direct)?.filter(|refs| !refs.is_empty());
    // Without the manifest chunk, that is shown itself.
    Ok(Some(Some(inner.map_or(direct, |refs| refs[rng.random_range(0..refs.len())].address))))
}

/// The sealed bytes of a chunk that is here whole. Blocking.
fn read(upkeep: &Upkeep, store: &Store, address: &Address) -> Option<Vec<u8>> {
    let mut sealed = Vec::new();
    matches!(local::read(&upkeep.transfer, store, address, &mut sealed), Ok(true)).then_some(sealed)
}

/// Shows a member that chunks are here: 32 bytes each, zeros for those that are not.
pub(crate) async fn prove(
    upkeep: &Arc<Upkeep>,
    verifier: NodeId,
    session: [u8; 32],
    nonce: [u8; 32],
    chunks: &[u8],
) -> Reply {
    let chunks = match message::unpack(chunks) {
        Ok(chunks) if chunks.len() <= ASKED => chunks,
        Ok(_) => return refused(Refusal::Malformed, "more than 16 chunks"),
        Err(error) => return refused(Refusal::Malformed, &error.to_string()),
    };
    // Each may be 4 MiB to read: members come in turn.
    let _turn = upkeep.transfer.proving.of(verifier).await;
    let shared = Arc::clone(upkeep);
    let work = move |store: &Store| {
        let (stash, prover) = (&shared.core.stash, &shared.core.me);
        let question =
            Question { nonce: &nonce, stash, verifier: &verifier, prover, session: &session };
        let prove = |address: &Address| {
            read(&shared, store, address).map_or([0; 32], |sealed| question.answer(&sealed))
        };
        chunks.iter().map(prove).collect::<Vec<_>>()
    };
    let proofs = upkeep.core.disk.run(work).await;
    // Looked at after it was read: what was not read may only have been away.
    if let Err(away) = upkeep.core.disk.run(Store::look).await {
        return unable(&away.into());
    }
    Reply::Proofs { proofs: ByteBuf::from(proofs.concat()) }
}
