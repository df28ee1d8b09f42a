//! Records that members were asked for and that have not come yet, so that each is asked of one of them.
//!
//! Followers walk the orders of all connected members side by side, and these name much the same records. A question
//! covers the hashes that no other one covers; what others cover is looked at again once they have ended.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use stash_crypto::RecordHash;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::lock::lock;

/// Time for which a question that brings nothing keeps others from asking the same: a member that is slow, or says
/// nothing on purpose, holds nobody up for longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same for a question that brings something now and then.
const LONGEST: Duration = Duration::from_secs(30);

/// The hashes under way: of each follower, as many as it asks for at once.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The claim that has each hash, and until when.
    hashes: HashMap<RecordHash, (u64, Instant)>,
    claims: u64,
}

impl State {
    /// The time until which somebody else is asking for a hash, if that is to come.
    fn until(&self, hash: &RecordHash, now: Instant) -> Option<Instant> {
        self.hashes.get(hash).map(|(_, until)| *until).filter(|until| *until > now)
    }
}

/// Hashes of one question. They are under way until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    under_way: &'a UnderWay,
    hashes: Vec<RecordHash>,
    number: u64,
    /// It is not extended beyond this.
    end: Instant,
}

impl UnderWay {
    /// Takes those of some hashes that nobody else asks for, and gives back the others.
    pub(crate) fn claim(&self, hashes: Vec<RecordHash>) -> (Claim<'_>, Vec<RecordHash>) {
        let now = Instant::now();
        let mut state = lock(&self.state);
        state.claims += 1;
        let number = state.claims;
        let (others, hashes): (Vec<_>, Vec<_>) =
            hashes.into_iter().partition(|hash| state.until(hash, now).is_some());
        let until = (number, now + PATIENCE);
        state.hashes.extend(hashes.iter().map(|hash| (*hash, until)));
        (Claim { under_way: self, hashes, number, end: now + LONGEST }, others)
    }

    /// Waits until none of some hashes is under way any more, or has been for too long.
    pub(crate) async fn ended(&self, hashes: &[RecordHash]) {
        loop {
            let ended = self.ended.notified();
            let now = Instant::now();
            let last = {
                let state = lock(&self.state);
                hashes.iter().filter_map(|hash| state.until(hash, now)).max()
            };
            let Some(last) = last else { return };
            tokio::select! {
                biased;
                () = ended => {}
                () = sleep_until(last) => return,
            }
        }
    }
}

impl Claim<'_> {
    pub(crate) fn hashes(&self) -> Vec<RecordHash> {
        self.hashes.clone()
    }

    /// Something has come: what is left of it has as much time again.
    pub(crate) fn goes_on(&mut self) {
        let until = (Instant::now() + PATIENCE).min(self.end);
        let mut state = lock(&self.under_way.state);
        for hash in &self.hashes {
            // Somebody else may have taken it over.
            if let Some(known) = state.hashes.get_mut(hash).filter(|(by, _)| *by == self.number) {
                known.1 = until;
            }
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.under_way.state);
        for hash in &self.hashes {
            if state.hashes.get(hash).is_some_and(|(by, _)| *by == self.number) {
                state.hashes.remove(hash);
            }
        }
        drop(state);
        self.under_way.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(range: std::ops::Range<u8>) -> Vec<RecordHash> {
        range.map(|n| RecordHash::from_bytes([n; 32])).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_hash_is_asked_for_once_until_the_question_ends() {
        let under_way = UnderWay::default();
        let (first, others) = under_way.claim(hashes(0..4));
        assert_eq!((first.hashes(), others), (hashes(0..4), vec![]));
        let (second, others) = under_way.claim(hashes(2..6));
        assert_eq!((second.hashes(), &others), (hashes(4..6), &hashes(2..4)));
        tokio::join!(under_way.ended(&others), async { drop(first) });
        let (third, others) = under_way.claim(others);
        assert_eq!((third.hashes(), others), (hashes(2..4), vec![]));
        drop((second, third));
        assert!(lock(&under_way.state).hashes.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_does_not_answer_holds_others_up_for_a_while_only() {
        let under_way = UnderWay::default();
        let (mut silent, _) = under_way.claim(hashes(0..4));
        let begun = Instant::now();
        under_way.ended(&hashes(0..2)).await;
        assert_eq!(begun.elapsed(), PATIENCE);
        let (other, others) = under_way.claim(hashes(0..2));
        assert_eq!((other.hashes(), others), (hashes(0..2), vec![]));
        // It does go on: what was taken over stays with whoever took it.
        silent.goes_on();
        drop(silent);
        let (_, others) = under_way.claim(hashes(0..4));
        assert_eq!(others, hashes(0..2));
    }
}
