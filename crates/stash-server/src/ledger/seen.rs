//! The `seen` of a new record, and what may be left out of it when a record cannot name it all.

use std::collections::{BTreeMap, BTreeSet};

use stash_crypto::record::{HEIGHT_MAX, Reached};
use stash_crypto::{Dot, NameId, NodeId, Record, Vector, Writer};
use stash_store::Store;

use crate::ledger::error::{LedgerError, NameFull, WriteError};
use crate::ledger::forgets::last_of;
use crate::ledger::progress;
use crate::ledger::read::held;
use crate::ledger::roster::Roster;

/// The records held of a name, and those that this batch adds.
pub(crate) struct Known {
    pub(crate) records: Vec<Record>,
    /// Dots of records that are damaged here, and that no member had whole when the name was looked
    /// at: a new record covers them all the same, since their places stand in the index.
    pub(crate) lost: Vec<Dot>,
}

/// The `seen` and the height of a new record.
pub(crate) struct Seen {
    pub(crate) vector: Vector,
    /// The greatest height that is held, plus one, within its limit.
    pub(crate) height: u64,
    /// Present if the vector names removed nodes as a whole, for want of room: what they wrote and
    /// nobody here has seen is among it. Fit for a forget, and not for a version.
    pub(crate) full: Option<NameFull>,
}

/// The `seen` of a new record of a name. Of more writers than a record can name, these are left
/// out:
///
/// 1. those of which no record counts by the member log, now or later;
/// 2. those of which nothing is held here, under whatever name, though all records were exchanged
///    with a member: an owner can make up as many as it likes, and says to have seen them. If one
///    is real, what it wrote is shown beside the new record when it comes;
/// 3. for a forget, all writers of a removed node: it names the node instead.
pub(crate) fn seen(
    roster: &Roster,
    store: &Store,
    name: &NameId,
    known: &Known,
) -> Result<Seen, WriteError> {
    let versions = known.records.iter().map(Record::clear).filter(|clear| clear.kind.is_version());
    let height = versions.map(|clear| clear.height).max().unwrap_or(0);
    let height = (height + 1).min(HEIGHT_MAX);
    let mut all = reached(known);
    let fit = |vector| Ok(Seen { vector, height, full: None });
    if let Ok(vector) = all.vector() {
        return fit(vector);
    }
    roster.log(|log| all.retain(|writer| log.may_count(writer)));
    if let Ok(vector) = all.vector() {
        return fit(vector);
    }
    let made_up = made_up(store, known, &all)?;
    all.retain(|writer| !made_up.contains(writer));
    if let Ok(vector) = all.vector() {
        return fit(vector);
    }
    let full = full(roster, name, &all);
    for node in nodes(&all).into_keys() {
        if let Some(removed_at) = roster.log(|log| log.removal(&node).map(|gone| gone.removed_at)) {
            all.insert_node(node, removed_at);
        }
    }
    let vector = all.vector().map_err(|_| full)?;
    Ok(Seen { vector, height, full: Some(full) })
}

/// True if a name takes another version.
pub(crate) fn has_room(roster: &Roster, store: &Store, name: &NameId) -> Result<bool, LedgerError> {
    let held = held(store, name)?;
    let lost = held.damaged.iter().map(|(dot, _)| *dot).collect();
    match seen(roster, store, name, &Known { records: held.whole, lost }) {
        Ok(seen) => Ok(seen.full.is_none()),
        Err(WriteError::Ledger(error)) => Err(error),
        Err(_) => Ok(false),
    }
}

/// All that is known of a name. The dot of a forget is left out: the forget says that its vector is
/// known here, and its author may have written, before it and under the same writer, versions that
/// it does not name and that nobody here has seen.
fn reached(known: &Known) -> Reached {
    let mut all = Reached::default();
    known.lost.iter().for_each(|dot| all.insert(*dot));
    for clear in known.records.iter().map(Record::clear) {
        all.join(&clear.seen);
        if clear.kind.is_version() {
            all.insert(clear.dot);
        }
    }
    all
}

/// Writers of which nothing is held here, as far as that says something.
fn made_up(store: &Store, known: &Known, all: &Reached) -> Result<BTreeSet<Writer>, LedgerError> {
    let mut none = BTreeSet::new();
    if !progress::is_complete(store) {
        return Ok(none);
    }
    let wrote: BTreeSet<Writer> =
        known.records.iter().map(|record| record.clear().dot.writer).collect();
    for writer in all.writers().filter(|writer| !wrote.contains(writer)) {
        if last_of(store, writer)?.is_none() {
            none.insert(*writer);
        }
    }
    Ok(none)
}

/// Number of writers that are incarnations of each node.
fn nodes(all: &Reached) -> BTreeMap<NodeId, usize> {
    let mut nodes = BTreeMap::new();
    for writer in all.writers() {
        *nodes.entry(writer.node).or_default() += 1;
    }
    nodes
}

fn full(roster: &Roster, name: &NameId, all: &Reached) -> NameFull {
    let most = nodes(all).into_iter().max_by_key(|(_, count)| *count);
    let (node, count) = most.expect("more writers than fit are more than none");
    let removed = roster.log(|log| log.removal(&node).is_some());
    NameFull { name: *name, node, count, removed }
}
