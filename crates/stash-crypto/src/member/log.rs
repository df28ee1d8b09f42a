//! The member log, folded: who belongs now, and who was removed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use thiserror::Error;

use crate::ids::{
    CutsHash, EntryHash, NodeId, NoisePublic, RecordHash, StashId, TicketId, WrapPublic,
};
use crate::keys::sign::SignatureError;
use crate::member::change::{Cut, MemberChange};
use crate::member::cuts::{self, CutList};
use crate::member::entry::MemberEntry;
use crate::member::identity::{Identity, Role};
use crate::record::vector::{Dot, Vector, Writer};

/// A current member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its keys.
    pub identity: Identity,
    /// Its role.
    pub role: Role,
    /// Its sealed display name; empty for none.
    pub label: Vec<u8>,
    /// Index of the entry that admitted it.
    pub admitted_at: u64,
    /// True if it has lapsed: it has been away for so long that it does not count as a copy.
    pub lapsed: bool,
}

/// A removed node, as the log tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The member it was.
    pub member: Member,
    /// Index of the entry that removed it.
    pub removed_at: u64,
    /// The ends of its records, for incarnations that no earlier entry cut.
    pub cuts: Vec<Cut>,
}

/// Why an entry does not extend the log. The log is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MemberError {
    /// Two different histories, both signed by the root: an alarm. The root's holder, or a thief of
    /// S, is at fault.
    #[error("the member log forks at {index}: held {}, offered {}", held.short(), offered.short())]
    Fork {
        /// First index where the histories differ for certain.
        index: u64,
        /// Hash of the entry held there.
        held: EntryHash,
        /// Hash of the entry offered there.
        offered: EntryHash,
    },
    /// Entries between are missing: get them first and retry.
    #[error("member entry {got} comes before entry {expected} is known")]
    Gap {
        /// The index that would extend the log.
        expected: u64,
        /// The index offered.
        got: u64,
    },
    /// An entry of another stash. The node that relayed it is at fault.
    #[error("a member entry of stash {}", got.short())]
    OtherStash {
        /// The stash it names.
        got: StashId,
    },
    /// A signature does not hold. The maker of the entry, or a relay, is at fault.
    #[error("bad signature in a member entry: {0}")]
    BadSignature(#[from] SignatureError),
    /// Entry 0 neither admits an owner nor tells the root's keys, or names a previous entry. The
    /// root's holder is at fault, as in all cases below.
    #[error("the first member entry must admit an owner or tell the root's keys, after no other")]
    First,
    /// The root's keys are told a second time.
    #[error("the root's keys are told twice")]
    RootTwice,
    /// The node is, or was, a member already.
    #[error("{} is or was a member already", .0.short())]
    Known(NodeId),
    /// A key of the node is, or was, another member's.
    #[error("a key of {} belongs to another member", .0.short())]
    SharedKey(NodeId),
    /// The ticket has admitted another node.
    #[error("ticket {} has been used", .0.short())]
    TicketUsed(TicketId),
    /// The node is no current member.
    #[error("{} is no member", .0.short())]
    NotAMember(NodeId),
    /// A member that has lapsed is said to lapse, or one that has not lapsed is said to be back.
    #[error("{} {}", .node.short(), if *.lapsed { "has lapsed already" } else { "has not lapsed" })]
    SameLapse {
        /// The member.
        node: NodeId,
        /// The claim: true for lapsed.
        lapsed: bool,
    },
    /// The list that the entry names is not known here: get it first ([`MemberLog::know`]) and retry.
    #[error("{count} cuts of the member log are not here, by the hash {}", list.short())]
    ListMissing {
        /// Its name.
        list: CutsHash,
        /// The number of its cuts.
        count: u32,
    },
    /// The epoch is not one more than the last.
    #[error("epoch {got} does not follow {current}")]
    Epoch {
        /// The current epoch.
        current: u32,
        /// The epoch offered.
        got: u32,
    },
}

/// Why a record does not count. Its writer, or the node that passed it on, is at fault; or this log
/// is not up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Barred {
    /// The writer never was a member, or it was removed and this incarnation was not known then.
    #[error("the writer {} is no member", .0.short())]
    NotMember(NodeId),
    /// The writer may not write.
    #[error("the writer {} is a {role}, and only owners write", .node.short())]
    NotOwner {
        /// The writer.
        node: NodeId,
        /// Its role.
        role: Role,
    },
    /// The writer was removed, or is an owner no more, and its records end before this one.
    #[error("the records of {writer} end at number {n}, and this one lies past that cut")]
    PastCut {
        /// The writer.
        writer: Writer,
        /// The last number that counts; it does so with one hash only.
        n: u64,
    },
}

/// Why a vector does not stand. The record's writer is at fault; or this log is not up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Misnamed {
    /// An entry names a node that never was a member, as far as this log goes.
    #[error("it says to have seen records of {}, which this node does not know as a member", .0.short())]
    Unknown(NodeId),
    /// An entry names a removal that this log has not come to.
    #[error("it names entry {index} of the member log, and {len} are known here")]
    Early {
        /// The entry that is said to remove the node.
        index: u64,
        /// Entries of this log.
        len: u64,
    },
    /// The entry of the log that is named did not remove the node that is named.
    #[error("entry {index} of the member log does not remove {}", .node.short())]
    NotRemoved {
        /// The node.
        node: NodeId,
        /// The entry.
        index: u64,
    },
}

impl Misnamed {
    /// True if a longer log may let it stand.
    pub fn is_passing(&self) -> bool {
        !matches!(self, Misnamed::NotRemoved { .. })
    }
}

/// The verified log of one stash, and the members that follow from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberLog {
    stash: StashId,
    entries: Vec<MemberEntry>,
    members: BTreeMap<NodeId, Member>,
    removed: BTreeMap<NodeId, Removal>,
    /// The cuts of each node, one list for each entry that made some, in the order of the log.
    cuts: BTreeMap<NodeId, Vec<Arc<[Cut]>>>,
    /// Lists that are known, named by an entry or not.
    lists: BTreeMap<CutsHash, CutList>,
    epoch: u32,
    root: Option<(NoisePublic, WrapPublic)>,
}

impl MemberLog {
    /// The empty log of this stash.
    pub fn new(stash: StashId) -> Self {
        Self {
            stash,
            entries: Vec::new(),
            members: BTreeMap::new(),
            removed: BTreeMap::new(),
            cuts: BTreeMap::new(),
            lists: BTreeMap::new(),
            epoch: 0,
            root: None,
        }
    }

    /// Verifies and appends an entry. One that is held already is fine and changes nothing.
    pub fn push(&mut self, entry: MemberEntry) -> Result<(), MemberError> {
        if entry.stash() != self.stash {
            return Err(MemberError::OtherStash { got: entry.stash() });
        }
        let held = self.held(entry.index());
        // News comes with what is known: that was verified when it came first.
        if held.is_some_and(|held| held.bytes() == entry.bytes()) {
            return Ok(());
        }
        entry.verify(&self.stash)?;
        if let Some(held) = held {
            return self.compare(held, &entry);
        }
        if entry.index() > self.len() {
            return Err(MemberError::Gap { expected: self.len(), got: entry.index() });
        }
        if entry.previous() != self.head() {
            return Err(match self.entries.last() {
                None => MemberError::First,
                Some(last) => MemberError::Fork {
                    index: last.index(),
                    held: last.hash(),
                    offered: entry.previous(),
                },
            });
        }
        self.apply(&entry)?;
        self.entries.push(entry);
        Ok(())
    }

    fn held(&self, index: u64) -> Option<&MemberEntry> {
        self.entries.get(usize::try_from(index).ok()?)
    }

    fn compare(&self, held: &MemberEntry, offered: &MemberEntry) -> Result<(), MemberError> {
        let (index, held, offered) = (held.index(), held.hash(), offered.hash());
        if held == offered { Ok(()) } else { Err(MemberError::Fork { index, held, offered }) }
    }

    fn apply(&mut self, entry: &MemberEntry) -> Result<(), MemberError> {
        let index = entry.index();
        let founds = matches!(
            entry.change(),
            MemberChange::Admit { role: Role::Owner, .. } | MemberChange::Root { .. }
        );
        if index == 0 && !founds {
            return Err(MemberError::First);
        }
        match entry.change() {
            MemberChange::Admit { identity, role, ticket, label, .. } => {
                self.check_new(identity, ticket)?;
                let (identity, role, label) = (*identity, *role, label.clone());
                let member = Member { identity, role, label, admitted_at: index, lapsed: false };
                self.members.insert(identity.node, member);
            }
            MemberChange::SetRole { node, role, cuts } => {
                self.members.get_mut(node).ok_or(MemberError::NotAMember(*node))?.role = *role;
                self.cut(node, cuts.as_slice().into());
            }
            MemberChange::Remove { node, cuts } => {
                let member = self.members.remove(node).ok_or(MemberError::NotAMember(*node))?;
                self.cut(node, cuts.as_slice().into());
                let removal = Removal { member, removed_at: index, cuts: cuts.clone() };
                self.removed.insert(*node, removal);
            }
            MemberChange::Epoch { epoch, .. } => {
                if self.epoch.checked_add(1) != Some(*epoch) {
                    return Err(MemberError::Epoch { current: self.epoch, got: *epoch });
                }
                self.epoch = *epoch;
            }
            MemberChange::Root { noise, wrap } => {
                if self.root.is_some() {
                    return Err(MemberError::RootTwice);
                }
                self.root = Some((*noise, *wrap));
            }
            MemberChange::Lapse { node, lapsed } => {
                let member = self.members.get_mut(node).ok_or(MemberError::NotAMember(*node))?;
                if member.lapsed == *lapsed {
                    return Err(MemberError::SameLapse { node: *node, lapsed: *lapsed });
                }
                member.lapsed = *lapsed;
            }
            MemberChange::Cuts { node, count, list } => {
                if !self.members.contains_key(node) {
                    return Err(MemberError::NotAMember(*node));
                }
                let known = self.lists.get(list).filter(|known| known.count() == *count);
                let missing = MemberError::ListMissing { list: *list, count: *count };
                let cuts = known.ok_or(missing)?.shared();
                self.cut(node, cuts);
            }
        }
        Ok(())
    }

    fn cut(&mut self, node: &NodeId, cuts: Arc<[Cut]>) {
        if !cuts.is_empty() {
            self.cuts.entry(*node).or_default().push(cuts);
        }
    }

    /// Takes note of a list, for an entry that names it.
    pub fn know(&mut self, list: CutList) {
        self.lists.insert(list.hash(), list);
    }

    /// A list that is known.
    pub fn list(&self, hash: &CutsHash) -> Option<&CutList> {
        self.lists.get(hash)
    }

    /// The lists that entries name, in the order of their hashes.
    pub fn lists(&self) -> impl Iterator<Item = &CutList> + '_ {
        let named = |entry: &MemberEntry| match entry.change() {
            MemberChange::Cuts { list, .. } => Some(*list),
            _ => None,
        };
        let named: BTreeSet<CutsHash> = self.entries.iter().filter_map(named).collect();
        self.lists.values().filter(move |list| named.contains(&list.hash()))
    }

    fn check_new(&self, identity: &Identity, ticket: &TicketId) -> Result<(), MemberError> {
        let past = self.removed.values().map(|removal| &removal.member);
        for other in self.members.values().chain(past).map(|member| &member.identity) {
            if other.node == identity.node {
                return Err(MemberError::Known(identity.node));
            }
            if other.noise == identity.noise || other.wrap == identity.wrap {
                return Err(MemberError::SharedKey(identity.node));
            }
        }
        let used = |entry: &MemberEntry| matches!(entry.change(), MemberChange::Admit { ticket: t, .. } if t == ticket);
        if *ticket != TicketId::from_bytes([0; 16]) && self.entries.iter().any(used) {
            return Err(MemberError::TicketUsed(*ticket));
        }
        Ok(())
    }

    /// The stash whose log this is.
    pub fn stash(&self) -> StashId {
        self.stash
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> &[MemberEntry] {
        &self.entries
    }

    /// The number of entries, which is the index of the next one.
    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// True if there is no entry yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Hash of the last entry; zeros for none.
    pub fn head(&self) -> EntryHash {
        self.entries.last().map_or(EntryHash::ZERO, MemberEntry::hash)
    }

    /// The current epoch of keys.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The root's Noise static, once told.
    pub fn root_noise(&self) -> Option<&NoisePublic> {
        self.root.as_ref().map(|(noise, _)| noise)
    }

    /// The key to which epochs are wrapped for the root, once told.
    pub fn root_wrap(&self) -> Option<&WrapPublic> {
        self.root.as_ref().map(|(_, wrap)| wrap)
    }

    /// A current member.
    pub fn member(&self, node: &NodeId) -> Option<&Member> {
        self.members.get(node)
    }

    /// The current member with this Noise static.
    pub fn by_noise(&self, noise: &NoisePublic) -> Option<&Member> {
        self.members.values().find(|member| member.identity.noise == *noise)
    }

    /// The current members, in the order of their admission.
    pub fn members(&self) -> impl Iterator<Item = &Member> + '_ {
        let mut members: Vec<_> = self.members.values().collect();
        members.sort_by_key(|member| member.admitted_at);
        members.into_iter()
    }

    /// Checks that a record with this dot and hash counts. If the writer's incarnation has been
    /// cut, the cut alone decides; otherwise the writer's role does. The record's own signature is
    /// not checked.
    pub fn admits(&self, dot: &Dot, hash: &RecordHash) -> Result<(), Barred> {
        let writer = dot.writer;
        if let Some(cut) = self.cut_of(&writer) {
            let counts = dot.n < cut.n || dot.n == cut.n && *hash == cut.hash;
            return if counts { Ok(()) } else { Err(Barred::PastCut { writer, n: cut.n }) };
        }
        match self.members.get(&writer.node).map(|member| member.role) {
            Some(role) if role.writes() => Ok(()),
            Some(role) => Err(Barred::NotOwner { node: writer.node, role }),
            None => Err(Barred::NotMember(writer.node)),
        }
    }

    /// Checks that a vector stands. Its writers must belong to nodes that are or were members. A
    /// node that it names as a whole must have been removed by the entry that it gives: the records
    /// of such a node are finitely many.
    pub fn names(&self, seen: &Vector) -> Result<(), Misnamed> {
        for (node, index) in seen.nodes() {
            let removed = self.removed.get(&node).is_some_and(|gone| gone.removed_at == index);
            match removed {
                true => {}
                false if index >= self.len() => {
                    return Err(Misnamed::Early { index, len: self.len() });
                }
                false => return Err(Misnamed::NotRemoved { node, index }),
            }
        }
        let unknown = seen.iter().map(|dot| dot.writer.node).find(|node| !self.knows(node));
        unknown.map_or(Ok(()), |node| Err(Misnamed::Unknown(node)))
    }

    /// True if the node is or was a member.
    pub fn knows(&self, node: &NodeId) -> bool {
        self.members.contains_key(node) || self.removed.contains_key(node)
    }

    /// True if a record of this writer may count, now or later. False if its node was removed or is
    /// not known, and no cut says where this incarnation ends.
    pub fn may_count(&self, writer: &Writer) -> bool {
        self.members.contains_key(&writer.node) || self.cut_of(writer).is_some()
    }

    /// The cut at which the records of this writer end, if there is one. The writer never writes
    /// again. Of two cuts, the first stands: what lay past it was refused everywhere since.
    pub fn cut_of(&self, writer: &Writer) -> Option<&Cut> {
        let lists = self.cuts.get(&writer.node)?;
        lists.iter().find_map(|cuts| cuts::find(cuts, &writer.incarnation))
    }

    /// The removed nodes, in the order of their removal.
    pub fn removals(&self) -> impl Iterator<Item = &Removal> + '_ {
        let mut removals: Vec<_> = self.removed.values().collect();
        removals.sort_by_key(|removal| removal.removed_at);
        removals.into_iter()
    }

    /// The removal of a node.
    pub fn removal(&self, node: &NodeId) -> Option<&Removal> {
        self.removed.get(node)
    }
}
