//! Coming back by the root secret after a loss: what members show of the member log, and whether an
//! entry may be signed at its end.
//!
//! Only one node signs at the end of the member log, and it knows the end: nothing else keeps the
//! log from parting. After a loss nobody knows the end for certain: a member may be stale, or show
//! less than it has. So all are asked, and nothing is signed unless all that answer agree and they
//! are most of those that the log names. A node that only reads needs none of this, since it signs
//! nothing.

pub(crate) mod asking;
pub(crate) mod meeting;
pub(crate) mod survey;

use std::collections::BTreeSet;

use stash_crypto::member::Confirmation;
use stash_crypto::{EntryHash, MemberLog, NoisePublic, StashId};
use stash_store::Store;

use crate::admission::SignFailure;
use crate::ledger::RosterError;
use crate::ledger::roster::{Roster, holds};

/// Stretches that part and are told apart; of further ones it is only known that they are there.
const MAX_LIVES: usize = 8;

/// A member log that was shown, of which no longer one was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Number of its entries.
    pub length: u64,
    /// Hash of the last of them.
    pub head: EntryHash,
    /// Its members.
    pub members: usize,
    /// Its members, without those that have lapsed.
    pub counted: usize,
    /// Number of these that showed it, or an earlier state of it.
    pub answered: usize,
    /// Time at which the founder last confirmed it, in seconds since 1970, if a member could say
    /// so.
    pub confirmed: Option<u64>,
}

/// Reason why the stash was not brought back. Nothing was signed, and nothing was written here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// No member answered. It may work later, or at another address.
    #[error("no member answers")]
    Nobody,
    /// Two members show logs of which neither is the beginning of the other.
    #[error("the member logs that were shown part: the root secret has had two lives")]
    Parted(Vec<Life>),
    /// The members that answered agree, and are too few to know that nobody has more.
    #[error(
        "{} of the {} members of the log answered, and more than half must: another one may know more of it",
        .0.answered, .0.counted
    )]
    Few(Life),
    /// While the log was read, somebody else signed.
    #[error("the member log grew while it was read: {0}")]
    Overtaken(String),
    /// The entry cannot be made.
    #[error("the entry cannot be signed: {0}")]
    Sign(SignFailure),
    /// The local network could not be used.
    #[error("this node cannot use the network: {0}")]
    Bind(#[from] stash_p2p::BindError),
}

/// The member log in a store, verified.
///
/// # Errors
///
/// [`RosterError`] when the log cannot be read or is not valid.
pub fn member_log(store: &Store, stash: StashId) -> Result<MemberLog, RosterError> {
    Ok(Roster::open(store, stash)?.log(MemberLog::clone))
}

/// A member's word that it follows the log up to here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    by: NoisePublic,
    length: u64,
    head: EntryHash,
}

/// All member logs that were shown: none of them is the beginning of another.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    logs: Vec<MemberLog>,
    more: bool,
    confirmed: Vec<Confirmation>,
}

impl Lives {
    /// The log that has this entry as its last one, or somewhere before.
    fn with(&self, length: u64, head: &EntryHash) -> Option<&MemberLog> {
        self.logs.iter().find(|log| holds(log, length, head))
    }

    /// Takes a log that was shown.
    fn learn(&mut self, log: MemberLog) {
        if log.is_empty() || self.with(log.len(), &log.head()).is_some() {
            return;
        }
        let parts = |known: &MemberLog| !holds(&log, known.len(), &known.head());
        self.logs.retain(parts);
        if self.logs.len() < MAX_LIVES {
            self.logs.push(log);
        } else {
            self.more = true;
        }
    }

    /// Takes what the root once confirmed: the caller has verified it.
    fn confirm(&mut self, confirmation: Confirmation) {
        if !self.confirmed.contains(&confirmation) {
            self.confirmed.push(confirmation);
        }
    }

    /// A view of each log, the most shown first.
    fn views(&self, shown: &[Shown]) -> Vec<(Life, &MemberLog)> {
        let mut views: Vec<_> = self.logs.iter().map(|log| (self.view(log, shown), log)).collect();
        views.sort_by_key(|(life, _)| std::cmp::Reverse((life.answered, life.length)));
        views
    }

    fn view(&self, log: &MemberLog, shown: &[Shown]) -> Life {
        let follow = shown.iter().filter(|shown| holds(log, shown.length, &shown.head));
        let follow: BTreeSet<NoisePublic> = follow.map(|shown| shown.by).collect();
        let counted: Vec<_> = log.members().filter(|member| !member.lapsed).collect();
        let answered = counted.iter().filter(|member| follow.contains(&member.identity.noise));
        let of_this = self.confirmed.iter().filter(|told| holds(log, told.length, &told.head));
        Life {
            length: log.len(),
            head: log.head(),
            members: log.members().count(),
            counted: counted.len(),
            answered: answered.count(),
            confirmed: of_this.map(|told| told.time).max(),
        }
    }

    /// The one log at whose end an entry may be signed; `alone`, also when most of its members are
    /// silent.
    fn agreed(&self, shown: &[Shown], alone: bool) -> Result<(Life, &MemberLog), RecoverError> {
        let mut views = self.views(shown);
        if views.len() > 1 || self.more {
            return Err(RecoverError::Parted(views.into_iter().map(|(life, _)| life).collect()));
        }
        let (life, log) = views.pop().ok_or(RecoverError::Nobody)?;
        if shown.is_empty() {
            return Err(RecoverError::Nobody);
        }
        // More is confirmed than anybody shows: whoever has it is silent.
        let behind = self.confirmed.iter().any(|told| !holds(log, told.length, &told.head));
        let most = life.answered * 2 > life.counted && !behind;
        if most || alone { Ok((life, log)) } else { Err(RecoverError::Few(life)) }
    }
}

#[cfg(test)]
mod tests;
