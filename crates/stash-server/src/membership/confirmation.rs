//! The founder's confirmations of the member log, day by day: they show how recent a node's log is.
//!
//! A member can show less of the log than there is, and a node that meets nobody else cannot know.
//! So the root signs how far the log goes, once a day and with every change, and members pass the
//! newest confirmation on. A node that holds one which says more than its log has knows that it is
//! behind, and one that is cut off sees the last one grow old. No rule follows from the age: clocks
//! may be wrong.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use stash_crypto::MemberLog;
use stash_crypto::member::Confirmation;
use stash_store::{Batch, Store};

use crate::ledger::roster::holds;
use crate::ledger::{self, FORK, RosterError};
use crate::membership::{Membership, may_sign};
use crate::message::Request;
use crate::rpc::ask;

/// Seconds between two confirmations when nothing has changed: a day.
const EVERY: u64 = 24 * 3_600;

/// The founder's last confirmation, as far as this node was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// Time of it, in seconds since 1970 by the founder's clock, and never later than this node's:
    /// for people.
    pub at: u64,
    /// Entries of the log that exist and are not here.
    pub missing: u64,
}

/// Confirms the member log where it is signed, if that is due and this node knows that nobody has
/// more.
pub(crate) async fn look(membership: &Arc<Membership>) {
    let Some(admission) = membership.admission.clone() else {
        return;
    };
    if may_sign::check(membership).is_err() {
        return;
    }
    let now = membership.core.environment.seconds();
    let known = membership.core.roster.confirmed();
    let may_over = may_sign::may_confirm_over(membership);
    let Some(counter) = membership.core.roster.log(|log| due(log, known.as_ref(), now, may_over))
    else {
        return;
    };
    let other = |known: &Confirmation| {
        membership.core.roster.log(|log| !holds(log, known.length, &known.head))
    };
    if known.as_ref().is_some_and(other) {
        membership.standing.confirmed_over();
    }
    let Some(told) = membership.core.roster.log(|log| admission.confirm(log, counter, now)) else {
        return;
    };
    if let Err(error) = keep(membership, told).await {
        tracing::warn!(%error, "the member log was not confirmed");
    }
}

/// The counter of the next confirmation, if one is due: the log is another one than the last one
/// says, or that is a day old, or of a clock that was ahead. None where more is confirmed than is
/// here, or another log: that is confirmed over only if the operator vouches for this one, once it
/// is as long, since members take no confirmation of less.
fn due(log: &MemberLog, known: Option<&Confirmation>, now: u64, may_over: bool) -> Option<u64> {
    if log.is_empty() {
        return None;
    }
    let Some(known) = known else {
        return Some(1);
    };
    let holds = holds(log, known.length, &known.head);
    if !holds && (!may_over || known.length > log.len()) {
        return None;
    }
    if known.length < log.len() {
        return Some(1);
    }
    let is_old = known.time > now || now - known.time >= EVERY;
    (is_old || !holds).then_some(known.counter.saturating_add(1))
}

/// Takes what another node tells: nothing, if it is no newer than what is known, or the root did
/// not sign it. True if it says that more of the log exists than is here.
pub(crate) async fn learn(membership: &Arc<Membership>, told: &[u8]) -> bool {
    let Ok(told) = Confirmation::decode(told) else {
        return false;
    };
    let known = membership.core.roster.confirmed();
    if known == Some(told) {
        return told.length > membership.core.roster.log(MemberLog::len);
    }
    if told.verify(&membership.core.stash).is_err() {
        return false;
    }
    let length = membership.core.roster.log(MemberLog::len);
    if known.is_none_or(|known| told.is_newer_than(&known)) {
        if membership.admission.is_some() && told.length >= length {
            // This node signs, and keeps what it signs before anybody hears of it.
            let shared = Arc::clone(membership);
            let doubt = move |store: &Store| match shared.core.roster.confirmed() {
                Some(known) if !told.is_newer_than(&known) => Ok(()),
                _ => may_sign::was_put_back(&shared, store),
            };
            if let Err(error) = membership.core.disk.run(doubt).await {
                tracing::error!(%error, "that this node was put back is not kept");
                // It is told again, and then that is news again.
                return told.length > length;
            }
        }
        if let Err(error) = keep(membership, told).await {
            tracing::warn!(%error, "a confirmation of the member log is not kept");
        }
    }
    told.length > length
}

/// Keeps a confirmation, and passes it on if it is news. One of another log raises the alarm of a
/// fork.
async fn keep(membership: &Arc<Membership>, told: Confirmation) -> Result<(), RosterError> {
    let shared = Arc::clone(membership);
    let work = move |store: &Store| {
        if !shared.core.roster.confirm(store, told)? {
            return Ok(false);
        }
        let length = shared.core.roster.log(MemberLog::len);
        let parts = shared.core.roster.log(|log| !holds(log, told.length, &told.head));
        if parts && told.length <= length {
            let index = told.length.saturating_sub(1);
            let text = format!(
                "the root secret has confirmed a member log of {} entries up to {}, and this node follows \
                 another one",
                told.length,
                told.head.short()
            );
            let (batch, about) = (Batch::new().even_if_full(), index.to_be_bytes());
            store.commit(ledger::one_more(store, batch, FORK, &about, &text)?)?;
        }
        Ok::<_, RosterError>(true)
    };
    if membership.core.disk.run(work).await? {
        for (node, peer) in membership.core.connected() {
            let request = Request::Confirmed { confirmation: ByteBuf::from(told.encode()) };
            membership.core.tasks.spawn(async move {
                if let Err(error) = ask(&peer, &request).await {
                    tracing::debug!(peer = %node.short(), %error, "a confirmation was not told");
                }
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use stash_crypto::{MemberChange, MemberEntry, RootSecret};

    fn signed(length: u64, head: stash_crypto::EntryHash, counter: u64, time: u64) -> Confirmation {
        let root = RootSecret::from_bytes([4; 32]);
        Confirmation::sign(&root.root_signer(), (length, head), counter, time)
    }

    fn log() -> MemberLog {
        let root = RootSecret::from_bytes([4; 32]);
        let mut log = MemberLog::new(root.stash_id());
        let told =
            MemberChange::Root { noise: root.noise_static().public(), wrap: root.wrap_public() };
        log.push(MemberEntry::sign(&root.root_signer(), 0, log.head(), told).unwrap()).unwrap();
        log
    }

    #[test]
    fn a_confirmation_is_due_once_a_day_and_with_every_change() {
        let log = log();
        let (day, last) = (EVERY, signed(1, log.head(), 5, 1_000));
        assert_eq!(due(&log, None, 1_000, false), Some(1));
        assert_eq!(due(&log, Some(&last), 1_000 + day - 1, false), None);
        assert_eq!(due(&log, Some(&last), 1_000 + day, false), Some(6));
        assert_eq!(
            due(&log, Some(&last), 999, false),
            Some(6),
            "a clock that was ahead is put right"
        );
        assert_eq!(due(&MemberLog::new(log.stash()), None, 1_000, false), None);
    }

    #[test]
    fn a_founder_that_is_told_of_more_than_it_has_confirms_nothing() {
        let log = log();
        let longer = signed(2, log.head(), 1, 0);
        assert_eq!(due(&log, Some(&longer), 9_000_000, false), None);
        let other = signed(1, stash_crypto::EntryHash::from_bytes([3; 32]), 1, 0);
        assert_eq!(due(&log, Some(&other), 9_000_000, false), None);
    }

    #[test]
    fn a_founder_that_is_vouched_for_confirms_over_a_log_that_is_gone() {
        let log = log();
        let gone = stash_crypto::EntryHash::from_bytes([3; 32]);
        let (longer, equal) = (signed(2, gone, 4, 0), signed(1, gone, 4, 0));
        assert_eq!(due(&log, Some(&longer), 0, true), None, "nobody would take it");
        assert_eq!(due(&log, Some(&equal), 0, false), None);
        assert_eq!(due(&log, Some(&equal), 0, true), Some(5));
        assert!(signed(1, log.head(), 5, 0).is_newer_than(&equal));
    }
}
