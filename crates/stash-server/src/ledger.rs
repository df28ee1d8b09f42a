//! The step in which records become part of a node's store.
//!
//! A record is acknowledged only with every chunk that it names durable here: the commit re-checks
//! them under the store's own lock, because a chunk may have been evicted since it was looked up.

mod cutting;
mod room;
mod settling;
mod turns;

use std::collections::BTreeSet;

use stash_crypto::{
    Address, ChunkRef, Dot, Manifest, NameId, Record, RecordHash, Writer, decode_manifest_chunk,
};
use stash_store::{
    Allowance, Batch, CommitError, DamagedRecord, ReadError, RecordEntry, Ref, Store,
};

use crate::message::{RecordResult, pack};
use crate::{repair, short, wants};

pub(crate) use cutting::{Aside, REGAINED, UNCUT, count as set_aside_count, set_aside, take_back};
pub(crate) use room::{FEW, is_read, is_roomy, readable};
pub(crate) use settling::{INCARNATION, last_of, resume};
use settling::{Judgement, judge};
pub(crate) use turns::{Turn, Turns};

/// How often a batch is tried again when a chunk vanishes between look-up and commit.
const ATTEMPTS: usize = 3;

/// Addresses that one `need` names, at most; the rest is asked for when these have come.
const NEED: usize = 1_024;

/// Store rows of the forgets held, by record hash, so that one that cannot be read is still known
/// to be one; the value is empty.
const FORGET: &[u8] = b"forget/";

/// Rows under this prefix are alarms that `status` shows until somebody looks into them.
pub(crate) const ALARM: &[u8] = b"alarm/";

/// Whether records may be kept without their chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunks {
    /// Every chunk must be here, durably: what *stored* means.
    Required,
    /// The record alone is taken; it is shown as incomplete. For a node that learns what others
    /// hold.
    Later,
}

/// Who wrote the records that are to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// This node, whose owner sees what they take.
    Own,
    /// Some member.
    Others,
}

/// Looking into the store failed. Our disk's fault; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A record in the store does not decode.
    #[error("record at sequence {sequence} does not decode: {reason}")]
    Damaged {
        /// Its sequence number in this store.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// Converts between the address types of the crates below.
pub(crate) fn at(address: &Address) -> stash_store::Address {
    stash_store::Address::from_bytes(*address.as_bytes())
}

impl LedgerError {
    /// Whether a record is damaged here, and nothing else is wrong.
    #[must_use]
    pub fn is_damaged_record(&self) -> bool {
        matches!(self, LedgerError::Read(ReadError::RecordDamaged { .. }))
    }

    /// Whether it is only that the directory of the chunk files is away.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(
            self,
            LedgerError::Read(ReadError::Away(_)) | LedgerError::Commit(CommitError::Away(_))
        )
    }

    /// Whether there was no room for it.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, LedgerError::Commit(error) if error.is_full())
    }
}

/// The records held of one name. One that is damaged, and that another one covers, says nothing any
/// more, and is left out.
pub(crate) fn records_of(store: &Store, name: &NameId) -> Result<Vec<Record>, LedgerError> {
    let Held { whole, damaged } = held(store, name)?;
    let covered = |dot: &Dot| whole.iter().any(|record| record.clear().seen.covers(dot));
    match damaged.into_iter().find(|(dot, _)| !covered(dot)) {
        None => Ok(whole),
        Some((_, DamagedRecord { hash, what, .. })) => {
            Err(ReadError::RecordDamaged { hash, what }.into())
        }
    }
}

/// What is held of one name.
pub(crate) struct Held {
    pub whole: Vec<Record>,
    /// Versions whose entries are damaged, with their dots. A damaged forget is not among them: what
    /// it forgets has gone, and it is kept until a good copy takes its place, or a larger forget.
    pub damaged: Vec<(Dot, DamagedRecord)>,
}

pub(crate) fn held(store: &Store, name: &NameId) -> Result<Held, LedgerError> {
    let (stored, broken) = match store.records_of(name.as_bytes()) {
        Err(ReadError::RecordDamaged { .. }) => store.records_of_and_damaged(name.as_bytes())?,
        stored => (stored?, Vec::new()),
    };
    let whole: Result<_, _> = stored.iter().map(|one| decode(one.sequence, &one.bytes)).collect();
    let mut damaged = Vec::with_capacity(broken.len());
    for one in broken {
        if store.row(&forget_row(&one.hash))?.is_none() {
            let dot = Dot { writer: Writer::from_bytes(&one.writer), n: one.n };
            damaged.push((dot, one));
        }
    }
    Ok(Held { whole: whole?, damaged })
}

/// The row that says that a held record is a forget.
fn forget_row(hash: &[u8; 32]) -> Vec<u8> {
    [FORGET, hash].concat()
}

pub(crate) fn decode(sequence: u64, bytes: &[u8]) -> Result<Record, LedgerError> {
    let damaged = |reason: String| LedgerError::Damaged { sequence, reason };
    Record::decode(bytes).map_err(|error| damaged(error.to_string()))
}

/// A record that is held and can be read: a damaged one is as good as none until its good copy comes.
pub(crate) fn whole(store: &Store, hash: &RecordHash) -> Result<Option<Record>, LedgerError> {
    match store.record(hash.as_bytes()) {
        Ok(Some(stored)) => Ok(Some(decode(stored.sequence, &stored.bytes)?)),
        Ok(None) | Err(ReadError::RecordDamaged { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes accepted records durable, all that can be in one commit, and carries out what they forget.
/// Without room for all of them, those that say that something has ended go first, and each is taken
/// that there is room for. One result a record.
///
/// # Errors
///
/// [`LedgerError`]; records that are not stored before may be kept.
pub(crate) fn admit(
    turns: &Turns,
    store: &Store,
    records: &[Record],
    chunks: Chunks,
) -> Result<Vec<RecordResult>, LedgerError> {
    match admit_together(turns, store, records, chunks) {
        Err(error) if error.is_full() => room::admit_apart(turns, store, records, chunks),
        result => result,
    }
}

fn admit_together(
    turns: &Turns,
    store: &Store,
    records: &[Record],
    chunks: Chunks,
) -> Result<Vec<RecordResult>, LedgerError> {
    let mut turn = turns.take(names_of(records));
    for _ in 0..ATTEMPTS {
        let named = named(store, records, chunks)?;
        let lacking = |named: &Named| chunks == Chunks::Required && !named.missing.is_empty();
        let (without, whole): (Vec<_>, Vec<_>) =
            records.iter().zip(&named).partition(|(_, named)| lacking(named));
        let arrivals = || whole.iter().map(|(record, _)| *record);
        let judgement = judge(store, arrivals(), without.iter().map(|(record, _)| *record))?;
        match commit(store, &mut turn, &whole, &judgement, (chunks, Whose::Others)) {
            Ok(()) => {
                let result = |(record, named): (&Record, &Named)| match judgement
                    .refused
                    .get(&record.hash())
                {
                    Some(why) => RecordResult::Refused { reason: why.to_string() },
                    None if lacking(named) => RecordResult::Need { chunks: pack(&named.missing) },
                    None => RecordResult::Stored {},
                };
                return Ok(records.iter().zip(&named).map(result).collect());
            }
            // Evicted since the look: look again.
            Err(LedgerError::Commit(CommitError::MissingChunk { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    let reason = "chunks keep vanishing while the record is stored".to_owned();
    Ok(vec![RecordResult::Failed { reason }; records.len()])
}

/// Those of these records that are not here, and that no forget which is held or among them takes.
pub(crate) fn unknown(store: &Store, records: Vec<Record>) -> Result<Vec<Record>, LedgerError> {
    let hashes: Vec<[u8; 32]> = records.iter().map(|record| *record.hash().as_bytes()).collect();
    let held = store.has_records(&hashes)?;
    let refused = judge(store, records.iter(), std::iter::empty())?.refused;
    let new = records.into_iter().zip(held).filter(|(_, held)| !held).map(|(record, _)| record);
    Ok(new.filter(|record| !refused.contains_key(&record.hash())).collect())
}

/// Makes this node's own records durable, all or none: their numbers are used up together. The
/// caller took the turn before it looked at what is held of their names. Drops held ones that are
/// `damaged`, which they cover. Returns those that are held now: one that another of the same batch
/// forgets is not.
///
/// # Errors
///
/// [`CommitError::MissingChunk`] when a chunk that a record names is not here.
pub(crate) fn admit_all(
    store: &Store,
    turn: &mut Turn<'_>,
    mut records: Vec<Record>,
    damaged: &[DamagedRecord],
) -> Result<Vec<Record>, LedgerError> {
    let named = named(store, &records, Chunks::Required)?;
    let judgement = judge(store, records.iter(), std::iter::empty())?;
    let whole: Vec<_> = records.iter().zip(&named).collect();
    commit(store, turn, &whole, &judgement, (Chunks::Required, Whose::Own))?;
    records.retain(|record| !judgement.refused.contains_key(&record.hash()));
    if let Err(error) = drop_damaged(store, damaged) {
        // They are covered already: left where they are, they do no more than to be found again.
        tracing::warn!(%error, "damaged records that others cover are not dropped");
    }
    Ok(records)
}

fn drop_damaged(store: &Store, damaged: &[DamagedRecord]) -> Result<(), LedgerError> {
    let mut batch = Batch::new();
    for one in damaged {
        batch = unlist(store, batch, &one.hash)?.drop_record(one.hash);
    }
    if !batch.is_empty() {
        store.commit(batch)?;
    }
    Ok(())
}

/// Strikes out what rows say of a record that goes.
fn unlist(store: &Store, mut batch: Batch, hash: &[u8; 32]) -> Result<Batch, ReadError> {
    let hash = RecordHash::from_bytes(*hash);
    let rows =
        [short::row(&hash), wants::row(&hash), repair::row(&hash), forget_row(hash.as_bytes())];
    for row in rows {
        if store.row(&row)?.is_some() {
            batch = batch.row(&row, None);
        }
    }
    Ok(batch)
}

pub(crate) fn names_of(records: &[Record]) -> BTreeSet<NameId> {
    records.iter().map(|record| record.clear().name).collect()
}

fn named(store: &Store, records: &[Record], chunks: Chunks) -> Result<Vec<Named>, LedgerError> {
    let one = |record: &Record| match Named::of(store, &record.clear().manifest) {
        // Whether they are here is not known: they are wanted until somebody has looked.
        Err(error) if chunks == Chunks::Later && error.is_away() => {
            Ok(Named::unknown(&record.clear().manifest))
        }
        named => named,
    };
    let look = || records.iter().map(one).collect::<Result<Vec<Named>, LedgerError>>();
    let named = look()?;
    if chunks == Chunks::Later || named.iter().all(|named| named.missing.is_empty()) {
        return Ok(named);
    }
    // What was handed over just now counts once it is durable.
    store.flush()?;
    look()
}

/// Commits records in one batch, and drops what they forget in the same one. What their manifest
/// chunks name is required in batches before, one manifest chunk at a time; the last batch only asks
/// that nothing has left the store since, or else a file of 1 TiB would hold up every other commit
/// while its 262,144 chunks are looked up.
fn commit(
    store: &Store,
    turn: &mut Turn<'_>,
    records: &[(&Record, &Named)],
    judgement: &Judgement,
    (chunks, whose): (Chunks, Whose),
) -> Result<(), LedgerError> {
    let losses = store.losses();
    let mut batch = Batch::new();
    let mut fresh_ones = Vec::new();
    let mut manifests = Vec::new();
    let stays = |record: &Record| !judgement.refused.contains_key(&record.hash());
    for (record, named) in records.iter().filter(|(record, _)| stays(record)) {
        let fresh = !is_stored(store, &record.hash())?;
        for manifest in &named.manifests {
            announce(store, manifest, chunks)?;
        }
        if chunks == Chunks::Required {
            batch = require(batch, &named.direct);
            manifests.extend_from_slice(&named.manifests);
        }
        if fresh {
            let dot = record.clear().dot;
            let arriving = turn.enter(record);
            let stored = store.dot(&dot.writer.to_bytes(), dot.n)?.map(RecordHash::from_bytes);
            if arriving || stored.is_some_and(|twin| twin != record.hash()) {
                batch = equivocation(store, batch, &dot)?;
            }
            fresh_ones.push(*record);
            batch = batch.record(entry(record));
            if !record.clear().kind.is_version() {
                batch = batch.row(&forget_row(record.hash().as_bytes()), Some(&[]));
            }
            if chunks == Chunks::Later && !named.missing.is_empty() {
                batch = batch.row(&wants::row(&record.hash()), Some(&[]));
            }
        }
    }
    batch = judgement.apply(store, batch)?;
    batch = room::with_room(batch, &fresh_ones, judgement.drops(), whose);
    if manifests.is_empty() {
        if !batch.is_empty() {
            store.commit(batch)?;
        }
        return judgement.finish(store);
    }
    match store.commit(batch.clone().none_lost_since(losses)) {
        // Something has left, most likely something else.
        Err(CommitError::Lost) => {
            for manifest in &manifests {
                batch = require(batch, &children(store, manifest)?);
            }
            store.commit(batch)?;
        }
        result => drop(result?),
    }
    judgement.finish(store)
}

fn require(batch: Batch, chunks: &[ChunkRef]) -> Batch {
    chunks.iter().fold(batch, |batch, chunk| batch.require(at(&chunk.address)))
}

/// Whether a record is here whole: one whose stored bytes are damaged is replaced by a good copy.
fn is_stored(store: &Store, hash: &RecordHash) -> Result<bool, ReadError> {
    match store.record(hash.as_bytes()) {
        Ok(stored) => Ok(stored.is_some()),
        Err(ReadError::RecordDamaged { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Tells the store which chunks a manifest chunk names, or else a collection would take them for
/// garbage. In a commit of its own: several together may be larger than a batch, and saying it twice
/// or too early does no harm.
pub(crate) fn announce(
    store: &Store,
    manifest: &Address,
    chunks: Chunks,
) -> Result<(), LedgerError> {
    let refs = children(store, manifest)?;
    let batch = Batch::new().manifest(at(manifest), refs.iter().map(reference).collect());
    let batch = batch.with_allowance(Allowance::Records);
    store.commit(match chunks {
        Chunks::Required => require(batch, &refs),
        Chunks::Later => batch,
    })?;
    Ok(())
}

/// What a manifest chunk names that was here a moment ago.
fn children(store: &Store, manifest: &Address) -> Result<Vec<ChunkRef>, LedgerError> {
    let gone = || CommitError::MissingChunk { address: at(manifest) };
    Ok(read_manifest(store, manifest)?.ok_or_else(gone)?)
}

/// Raises an alarm: one writer has signed two records with one number. Both are kept.
fn equivocation(store: &Store, batch: Batch, dot: &Dot) -> Result<Batch, ReadError> {
    let (node, n) = (dot.writer.node, dot.n);
    tracing::error!(writer = %node.short(), n, "two records under one number");
    let about = [&dot.writer.to_bytes()[..], &n.to_be_bytes()].concat();
    let text = format!("two different records of node {node} carry number {n}");
    one_more(store, batch, b"equivocation/", &about, &text)
}

/// Alarms of one kind that are kept, at most: whoever can cause one can cause any number.
pub(crate) const MAX_ALARMS: usize = 64;

/// Adds an alarm of a kind about something. Beyond [`MAX_ALARMS`] of that kind, one says that there are
/// more.
pub(crate) fn one_more(
    store: &Store,
    batch: Batch,
    kind: &[u8],
    about: &[u8],
    text: &str,
) -> Result<Batch, ReadError> {
    let key = [kind, about].concat();
    let noted = store.rows(&[ALARM, kind].concat())?;
    let known = noted.iter().any(|(row, _)| row[ALARM.len()..] == key);
    if known || noted.len() < MAX_ALARMS {
        return Ok(alarm(batch, &key, text));
    }
    let more = format!("there are more alarms like the {MAX_ALARMS} that are shown: {text}");
    Ok(alarm(batch, &[kind, b"more"].concat(), &more))
}

/// Adds an alarm that `status` shows.
pub(crate) fn alarm(batch: Batch, key: &[u8], text: &str) -> Batch {
    batch.row(&[ALARM, key].concat(), Some(text.as_bytes()))
}

fn entry(record: &Record) -> RecordEntry {
    let clear = record.clear();
    RecordEntry {
        hash: *record.hash().as_bytes(),
        name: *clear.name.as_bytes(),
        writer: clear.dot.writer.to_bytes(),
        n: clear.dot.n,
        refs: clear.manifest.refs().iter().map(reference).collect(),
        bytes: record.shared_bytes(),
    }
}

fn reference(chunk: &ChunkRef) -> Ref {
    Ref { address: at(&chunk.address), sealed_len: chunk.sealed_len }
}

/// What a manifest names, as far as this store can tell.
#[derive(Default)]
pub(crate) struct Named {
    /// Chunks that stand in the record: file chunks, or manifest chunks.
    direct: Vec<ChunkRef>,
    /// Manifest chunks that are here. What they name, 1 MiB each, is read again when it is needed.
    manifests: Vec<Address>,
    /// Chunks of either kind that are not here: the first [`NEED`].
    pub(crate) missing: Vec<Address>,
}

impl Named {
    /// Nothing that the manifest names is known to be here.
    fn unknown(manifest: &Manifest) -> Named {
        let missing = manifest.refs().iter().map(|chunk| chunk.address).take(NEED).collect();
        Named { direct: manifest.refs().to_vec(), missing, ..Named::default() }
    }

    pub(crate) fn of(store: &Store, manifest: &Manifest) -> Result<Named, LedgerError> {
        let mut named = Named { direct: manifest.refs().to_vec(), ..Named::default() };
        named.look(store, manifest.refs())?;
        if let Manifest::Indirect { chunks, .. } = manifest {
            for chunk in chunks {
                if let Some(refs) = read_manifest(store, &chunk.address)? {
                    named.look(store, &refs)?;
                    named.manifests.push(chunk.address);
                }
            }
        }
        Ok(named)
    }

    /// Tells the store what the manifest chunks name that are here.
    pub(crate) fn announce(&self, store: &Store) -> Result<(), LedgerError> {
        self.manifests.iter().try_for_each(|manifest| announce(store, manifest, Chunks::Later))
    }

    fn look(&mut self, store: &Store, refs: &[ChunkRef]) -> Result<(), LedgerError> {
        if self.missing.len() < NEED {
            let addresses: Vec<_> = refs.iter().map(|chunk| at(&chunk.address)).collect();
            let here = store.has(&addresses)?;
            let gone = refs.iter().zip(here).filter(|(_, here)| !here);
            self.missing.extend(gone.map(|(chunk, _)| chunk.address));
            self.missing.truncate(NEED);
        }
        Ok(())
    }
}

/// A manifest chunk's references; `None` when it is not here or is none (its author's fault: the
/// record then stays incomplete).
pub(crate) fn read_manifest(
    store: &Store,
    address: &Address,
) -> Result<Option<Vec<ChunkRef>>, LedgerError> {
    let mut bytes = Vec::new();
    match store.read_into(&at(address), &mut bytes) {
        Ok(true) => Ok(decode_manifest_chunk(&bytes).ok()),
        Ok(false) | Err(ReadError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Store rows of versions whose local bytes were given up, by name id; the value is the record hash.
const EVICTED: &[u8] = b"evicted/";

/// Notes that the local bytes of a name's version are given up, or (`None`) wanted again.
pub(crate) fn give_up(
    store: &Store,
    name: &NameId,
    version: Option<RecordHash>,
) -> Result<(), LedgerError> {
    let key = [EVICTED, name.as_bytes()].concat();
    let value = version.map(|hash| *hash.as_bytes());
    if store.row(&key)?.as_deref() != value.as_ref().map(<[u8; 32]>::as_slice) {
        // An eviction begins with it, and gives room back.
        let batch = Batch::new().row(&key, value.as_ref().map(<[u8; 32]>::as_slice));
        store.commit(batch.even_if_full())?;
    }
    Ok(())
}

/// The row that says that the local bytes of this record are given up, if they are.
pub(crate) fn given_up_row(
    store: &Store,
    hash: &RecordHash,
) -> Result<Option<Vec<u8>>, LedgerError> {
    let Some(record) = whole(store, hash)? else {
        return Ok(None);
    };
    let row = [EVICTED, record.clear().name.as_bytes()].concat();
    Ok(is_given_up(store, &record)?.then_some(row))
}

/// Whether the local bytes of this version are given up.
pub(crate) fn is_given_up(store: &Store, record: &Record) -> Result<bool, ReadError> {
    let given_up = store.row(&[EVICTED, record.clear().name.as_bytes()].concat())?;
    Ok(given_up.as_deref() == Some(record.hash().as_bytes().as_slice()))
}

/// Whether a current version whose local bytes are not given up uses this chunk.
pub(crate) fn in_use(store: &Store, address: &Address) -> Result<bool, LedgerError> {
    for hash in store.referrers(&at(address))? {
        let Some(stored) = store.record(&hash)? else {
            continue;
        };
        let record = decode(stored.sequence, &stored.bytes)?;
        if is_given_up(store, &record)? {
            continue;
        }
        let held = records_of(store, &record.clear().name)?;
        if stash_crypto::leaves(&held).iter().any(|leaf| leaf.hash() == record.hash()) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod cutting_tests;
#[cfg(test)]
mod forget_tests;
#[cfg(test)]
mod tests;
