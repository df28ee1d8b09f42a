//! What members say of themselves, signed: the records that they hold, those that are whole there, their room. It is
//! passed on to those who are not connected to them, so that members know of each other what they cannot ask.
//!
//! A member that has every record whole says the number and sum of the records that this node holds: then each of them has a
//! copy there, and nothing has to be asked about any.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use stash_crypto::NodeId;
use stash_crypto::member::{Figures, Statement};
use stash_store::{ReadError, Store};
use tokio::time::Instant;

use crate::ledger::rows;
use crate::lock::lock;

/// A node whose figures stay as they are says them again after so many seconds.
const AGAIN: u64 = 6 * 60 * 60;

/// The bytes that a store takes are said again when they have changed by one part in so many of all that it may take.
const PART: u64 = 16;

/// What members said of themselves.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    said: BTreeMap<NodeId, Said>,
    /// The greatest sequence of a statement of this node that others had and this one had not: of another life of it.
    beyond: u64,
    /// What connected members are known to know.
    peers: BTreeMap<NodeId, Knows>,
}

/// What a connected member knows.
#[derive(Debug, Default)]
struct Knows {
    /// The members that it is connected to itself.
    met: BTreeSet<Mark>,
    /// Sequences of the statements that it told or was told.
    told: BTreeMap<NodeId, u64>,
}

/// The beginning of a member's id.
pub(crate) type Mark = [u8; 8];

pub(crate) fn mark(node: &NodeId) -> Mark {
    *node.as_bytes().first_chunk().expect("32 bytes have a first 8")
}

#[derive(Clone, Copy, Debug)]
struct Said {
    statement: Statement,
    /// When it came here, in seconds since 1970 by this node's clock.
    heard: u64,
    /// It was not written down since.
    is_news: bool,
    /// Growth of what is whole there, since this node started.
    growth: Option<Growth>,
}

/// A time in which a member says again and again that more is whole there.
#[derive(Clone, Copy, Debug)]
struct Growth {
    /// When it said so first, and how many records were whole there then.
    from: (Instant, u64),
    /// When it said so last.
    last: Instant,
}

/// Growth has ended if nothing more came for this time.
const GROWING: Duration = Duration::from_secs(10 * 60);

impl Growth {
    fn go_on(before: Option<Growth>, whole: u64) -> Growth {
        let last = Instant::now();
        let from = before.filter(|before| before.last.elapsed() < GROWING);
        Growth { from: from.map_or((last, whole), |before| before.from), last }
    }

    /// Records an hour, once there is something to reckon with.
    fn per_hour(&self, whole: u64) -> Option<u64> {
        let (from, had) = self.from;
        let millis = u64::try_from(self.last.duration_since(from).as_millis()).ok()?;
        let grown = whole.saturating_sub(had);
        let is_going = self.last.elapsed() < GROWING && grown > 0;
        is_going.then(|| grown.saturating_mul(3_600_000).checked_div(millis)).flatten()
    }
}

/// The newest statement of a member, as this node has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stated {
    /// What it says.
    pub figures: Figures,
    /// Seconds since it said so, by its clock; a clock that is ahead counts from when the statement came here.
    pub age: u64,
    /// Seconds since it said that more was whole there than before, if that was since this node started.
    pub grew: Option<u64>,
    /// Records that become whole there in an hour, by what it said since this node started; `None` if none do, or
    /// nobody knows how fast.
    pub per_hour: Option<u64>,
}

impl Statements {
    pub(crate) fn load(store: &Store) -> Result<Statements, ReadError> {
        let mut table = Table::default();
        for (_, value) in store.rows(rows::STATED)? {
            let Some((heard, bytes)) = value.split_first_chunk::<8>() else {
                continue;
            };
            if let Ok(statement) = Statement::decode(bytes) {
                let heard = u64::from_le_bytes(*heard);
                let said = Said { statement, heard, is_news: false, growth: None };
                table.said.insert(statement.node, said);
            }
        }
        Ok(Statements { table: Mutex::new(table) })
    }

    /// How much each member keeps.
    pub(crate) fn keeps(&self) -> BTreeMap<NodeId, u64> {
        let table = lock(&self.table);
        table.said.iter().map(|(node, said)| (*node, said.statement.figures.keep)).collect()
    }

    /// The newest statement of a member.
    pub(crate) fn of(&self, node: &NodeId, now: u64) -> Option<Stated> {
        let Said { statement, heard, growth, .. } = lock(&self.table).said.get(node).copied()?;
        let age = now.saturating_sub(statement.time.min(heard));
        let grew = growth.map(|growth| growth.last.elapsed().as_secs());
        let per_hour = growth.and_then(|growth| growth.per_hour(statement.figures.whole.count));
        Some(Stated { figures: statement.figures, age, grew, per_hour })
    }

    pub(crate) fn is_newer(&self, statement: &Statement) -> bool {
        let table = lock(&self.table);
        table
            .said
            .get(&statement.node)
            .is_none_or(|said| said.statement.sequence < statement.sequence)
    }

    /// Takes a statement that was verified, unless a newer one is known.
    pub(crate) fn take(&self, statement: Statement, heard: u64) {
        if !self.is_newer(&statement) {
            return;
        }
        let mut table = lock(&self.table);
        let before = table.said.get(&statement.node).copied();
        let growth = before.and_then(|before| {
            let (old, new) = (before.statement.figures.whole.count, statement.figures.whole.count);
            if old < new { Some(Growth::go_on(before.growth, new)) } else { before.growth }
        });
        let said = Said { statement, heard, is_news: true, growth };
        table.said.insert(statement.node, said);
    }

    /// This node said this in another life.
    pub(crate) fn was_said_elsewhere(&self, sequence: u64) {
        let mut table = lock(&self.table);
        table.beyond = table.beyond.max(sequence);
    }

    /// The sequence of a new statement of this node; `None` if what it said last still holds.
    pub(crate) fn due(
        &self,
        me: &NodeId,
        figures: &Figures,
        seconds: u64,
        micros: u64,
    ) -> Option<u64> {
        let table = lock(&self.table);
        let last = table.said.get(me).map(|said| said.statement);
        let sequence = last.map_or(0, |last| last.sequence).max(table.beyond);
        let holds = last.is_some_and(|last| {
            last.sequence > table.beyond && is_as_before(&last.figures, figures) && {
                (last.time..last.time.saturating_add(AGAIN)).contains(&seconds)
            }
        });
        (!holds).then_some(micros.max(sequence.saturating_add(1)))
    }

    /// What is to be written down, and counts as written from now on, with when it came.
    pub(crate) fn news(&self) -> Vec<(Statement, u64)> {
        let mut table = lock(&self.table);
        let news = table.said.values_mut().filter(|said| said.is_news);
        let write = |said: &mut Said| {
            said.is_news = false;
            (said.statement, said.heard)
        };
        news.map(write).collect()
    }

    /// A member has just come.
    pub(crate) fn came(&self, peer: NodeId) {
        lock(&self.table).peers.insert(peer, Knows::default());
    }

    /// A member tells which others it has met, and these statements.
    pub(crate) fn was_told(&self, peer: NodeId, met: BTreeSet<Mark>, told: &[Statement]) {
        let mut table = lock(&self.table);
        let knows = table.peers.entry(peer).or_default();
        knows.met = met;
        told.iter().for_each(|said| knows.heard(said));
    }

    /// What is passed on to a member, and counts as known to it from now on: what others said that it has not met.
    pub(crate) fn to_pass_on(&self, me: &NodeId, peer: &NodeId) -> Vec<Statement> {
        let Table { said, peers, .. } = &mut *lock(&self.table);
        let knows = peers.entry(*peer).or_default();
        let unknown = |said: &Statement| {
            let node = &said.node;
            let told = knows.told.get(node).copied();
            ![me, peer].contains(&node)
                && !knows.met.contains(&mark(node))
                && told.is_none_or(|told| told < said.sequence)
        };
        let pass: Vec<Statement> =
            said.values().map(|said| said.statement).filter(unknown).collect();
        pass.iter().for_each(|said| knows.heard(said));
        pass
    }

    /// Forgets what nodes said that are no members.
    pub(crate) fn retain(&self, is_member: impl Fn(&NodeId) -> bool) {
        let mut table = lock(&self.table);
        table.said.retain(|node, _| is_member(node));
        table.peers.retain(|node, _| is_member(node));
    }

    /// What this node said last.
    pub(crate) fn own(&self, me: &NodeId) -> Option<Statement> {
        lock(&self.table).said.get(me).map(|said| said.statement)
    }
}

impl Knows {
    fn heard(&mut self, said: &Statement) {
        let told = self.told.entry(said.node).or_default();
        *told = said.sequence.max(*told);
    }
}

/// True if there is nothing new to be said.
fn is_as_before(before: &Figures, now: &Figures) -> bool {
    let far = |one: u64, other: u64| one.abs_diff(other) > now.limit / PART;
    let Figures { used, limit, .. } = *before;
    Figures { used, limit, ..*now } == *before && !far(used, now.used) && !far(limit, now.limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    use stash_crypto::RootSecret;
    use stash_crypto::keys::NodeKeys;
    use stash_crypto::member::RecordSum;

    fn figures(whole: u64) -> Figures {
        let held = RecordSum { count: 9, sum: [9; 32] };
        let whole = RecordSum { count: whole, sum: [1; 32] };
        Figures { held, whole, settled: true, used: 10, limit: 1_600, full: false, keep: u64::MAX }
    }

    #[test]
    fn a_node_speaks_when_something_has_changed_and_from_time_to_time() {
        let before = figures(3);
        assert!(is_as_before(&before, &before));
        assert!(!is_as_before(&before, &figures(4)));
        assert!(!is_as_before(&before, &Figures { settled: false, ..before }));
        assert!(is_as_before(&before, &Figures { used: 110, ..before }));
        assert!(!is_as_before(&before, &Figures { used: 111, ..before }));
    }

    fn sign(keys: &NodeKeys, sequence: u64, time: u64, figures: Figures) -> Statement {
        let stash = RootSecret::from_bytes([1; 32]).stash_id();
        Statement::sign(keys.signer(), &stash, sequence, time, figures)
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_counts_and_is_as_old_as_it_says_or_as_when_it_came() {
        let keys = NodeKeys::from_seed([2; 32]);
        let (statements, node) = (Statements::default(), keys.node_id());
        statements.take(sign(&keys, 5, 1_000, figures(3)), 1_010);
        statements.take(sign(&keys, 4, 2_000, figures(9)), 1_020);
        let stated = statements.of(&node, 1_100).unwrap();
        assert_eq!((stated.figures.whole.count, stated.age, stated.grew), (3, 100, None));
        statements.take(sign(&keys, 6, 9_000, figures(4)), 1_200);
        let stated = statements.of(&node, 1_300).unwrap();
        assert_eq!((stated.age, stated.grew), (100, Some(0)), "its clock is ahead");
    }

    #[tokio::test(start_paused = true)]
    async fn how_fast_more_becomes_whole_is_reckoned_from_the_second_time_on() {
        let keys = NodeKeys::from_seed([2; 32]);
        let (statements, node) = (Statements::default(), keys.node_id());
        let per_hour = || statements.of(&node, 100).unwrap().per_hour;
        let mut sequence = 0;
        let mut say = |whole| {
            sequence += 1;
            statements.take(sign(&keys, sequence, 100, figures(whole)), 100);
        };
        say(1_000);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        say(2_000);
        assert_eq!(per_hour(), None, "it may all have come just now");
        tokio::time::advance(Duration::from_secs(30)).await;
        say(2_060);
        assert_eq!(per_hour(), Some(7_200));
        tokio::time::advance(GROWING).await;
        assert_eq!(per_hour(), None, "it stopped");
        say(9_000);
        assert_eq!(per_hour(), None, "it begins anew");
    }

    #[test]
    fn this_node_outbids_what_it_said_in_another_life() {
        let keys = NodeKeys::from_seed([2; 32]);
        let (statements, me) = (Statements::default(), keys.node_id());
        let due = |statements: &Statements, now: u64| statements.due(&me, &figures(3), now, 7);
        assert_eq!(due(&statements, 100), Some(7));
        statements.take(sign(&keys, 7, 100, figures(3)), 100);
        assert_eq!(due(&statements, 100), None);
        assert_eq!(due(&statements, 100 + AGAIN), Some(8));
        assert_eq!(due(&statements, 99), Some(8), "the clock was turned back");
        statements.was_said_elsewhere(20);
        assert_eq!(due(&statements, 100), Some(21));
        assert_eq!(statements.news().len(), 1);
        assert!(statements.news().is_empty());
    }

    #[test]
    fn what_others_said_is_passed_on_to_those_who_have_not_met_them_and_once() {
        let keys = [2, 3, 4, 5].map(|seed| NodeKeys::from_seed([seed; 32]));
        let [me, near, far, peer] = [0, 1, 2, 3].map(|at: usize| keys[at].node_id());
        let statements = Statements::default();
        keys.iter().for_each(|keys| statements.take(sign(keys, 5, 100, figures(3)), 100));
        statements.came(peer);
        statements.was_told(peer, BTreeSet::from([mark(&near)]), &[]);
        let passed = |statements: &Statements| {
            let pass = statements.to_pass_on(&me, &peer);
            pass.iter().map(|said| (said.node, said.sequence)).collect::<Vec<_>>()
        };
        assert_eq!(passed(&statements), [(far, 5)]);
        assert_eq!(passed(&statements), []);
        statements.take(sign(&keys[2], 6, 100, figures(4)), 100);
        assert_eq!(passed(&statements), [(far, 6)]);
        statements.take(sign(&keys[2], 7, 100, figures(5)), 100);
        statements.was_told(peer, BTreeSet::new(), &[sign(&keys[2], 7, 100, figures(5))]);
        assert_eq!(passed(&statements), [(near, 5)], "it has not met that one any more");
    }
}
