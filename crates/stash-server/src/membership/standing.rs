//! Facts for and against signing, by which the founder adds to the member log or waits.
//!
//! An entry goes to the end of the log as this node knows it. A founder that was brought back from
//! a copy, or whose store was made anew, may know less of it than others do, and would give a
//! second meaning to a place that has one: a fork, which nothing mends. So it signs nothing before
//! a full exchange with another member has ended since its start; and where its store is not the
//! one that it left, with more than half of them, as a recovery does, since one may be behind as
//! well. From then on nobody is known to know more: this node alone adds to the log.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use stash_crypto::NodeId;
use stash_store::{ReadError, Store};
use tokio::sync::watch;

use crate::ledger::roster::Roster;
use crate::ledger::{progress, rows};

/// Another member may know more of the member log than this node. Nothing changed. Connect those
/// that were not met, and try again; or call [`Engine::vouch`](crate::Engine::vouch).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotMet {
    /// This node has ended no full exchange with another member since its start.
    #[error(
        "this node has not met another member since it was started, and another one may know of changes \
         among members that are not known here"
    )]
    Nobody,
    /// The store of this node is not the one that it left, and it has not met most members since.
    #[error(
        "this node was put back from a copy, or its store is new, and it has met {met} of {others} other \
         members since: only when it has met more than half of them does it know of all changes among \
         members"
    )]
    Few {
        /// Number of them that it has met.
        met: usize,
        /// Other members that count: those that have not lapsed.
        others: usize,
    },
    /// The root secret has confirmed more of the member log than is here.
    #[error(
        "changes among members were signed that are not known here (entries of the member log: {0}): whoever \
         knows them has not been met"
    )]
    Behind(u64),
}

/// Facts for and against trusting that nobody knows more of the member log than this node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The operator has said so.
    pub(crate) is_vouched: bool,
    /// The operator has said so, and no confirmation of another log was confirmed over since.
    pub(crate) may_confirm_over: bool,
    /// There was nobody to ask at the start, by a store that this node left.
    pub(crate) is_alone: bool,
    /// Members with which a full exchange has ended since the start.
    pub(crate) met: BTreeSet<NodeId>,
    /// The store may not be the one that this node left.
    pub(crate) doubt: Option<Doubt>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// The uptime when it began, in seconds.
    pub(crate) since: u64,
    /// Members with which a full exchange has ended since then.
    pub(crate) met: BTreeSet<NodeId>,
}

impl Doubt {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let met = self.met.iter().flat_map(|node| *node.as_bytes());
        self.since.to_le_bytes().into_iter().chain(met).collect()
    }

    /// A doubt from a row. A row that cannot be read is a doubt since ever.
    fn decode(bytes: &[u8]) -> Doubt {
        let Some((since, met)) = bytes.split_first_chunk::<8>() else {
            return Doubt::default();
        };
        let met = met.as_chunks::<32>().0.iter().map(|node| NodeId::from_bytes(*node)).collect();
        Doubt { since: u64::from_le_bytes(*since), met }
    }
}

impl Known {
    /// Checks that this is enough, if these are the other members that count.
    pub(crate) fn judge(&self, others: &BTreeSet<NodeId>) -> Result<(), NotMet> {
        if let Some(doubt) = self.doubt.as_ref().filter(|_| !others.is_empty()) {
            let met = doubt.met.intersection(others).count();
            if met * 2 <= others.len() {
                return Err(NotMet::Few { met, others: others.len() });
            }
        }
        if self.is_alone || !self.met.is_empty() { Ok(()) } else { Err(NotMet::Nobody) }
    }
}

/// The known facts, and if a doubt among them is still to be written down.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) known: watch::Sender<Known>,
    /// Held while what is known is written down.
    pub(crate) keeping: Mutex<()>,
    /// There is a doubt that the store did not take.
    pub(crate) is_unwritten: AtomicBool,
}

impl Standing {
    /// A stash of one has nobody to ask, unless its store is not the one that the node left.
    pub(crate) fn at_start(roster: &Roster, store: &Store) -> Result<Standing, ReadError> {
        let doubt = store.row(rows::STANDING)?.map(|row| Doubt::decode(&row));
        let is_left = doubt.is_none() && progress::is_complete(store);
        let is_alone = roster.members().len() == 1 && is_left;
        let known = Known {
            is_vouched: false,
            may_confirm_over: false,
            is_alone,
            met: BTreeSet::new(),
            doubt,
        };
        Ok(Standing {
            known: watch::Sender::new(known),
            keeping: Mutex::default(),
            is_unwritten: AtomicBool::new(false),
        })
    }

    /// The operator says that this node may sign, whoever it has met, until it stops.
    pub(crate) fn vouch(&self) {
        self.known.send_modify(|known| {
            (known.is_vouched, known.may_confirm_over) = (true, true);
        });
    }

    /// This log was confirmed over another one. Once is enough: two who hold the root secret and
    /// are both vouched for would take turns for ever.
    pub(crate) fn confirmed_over(&self) {
        self.known.send_modify(|known| known.may_confirm_over = false);
    }

    pub(crate) fn known(&self) -> Known {
        self.known.borrow().clone()
    }
}
