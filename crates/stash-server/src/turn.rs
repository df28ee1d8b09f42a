//! Work that costs the disk much, done for members in turn.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use stash_crypto::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::lock::lock;

/// Pieces of work of one kind under way: the second goes on when the first meets a disk that hangs.
const AT_ONCE: usize = 2;

/// Places of members: each has as many, whatever it asks for, and whatever the others do.
#[derive(Debug)]
pub(crate) struct Shares {
    places: usize,
    each: Mutex<BTreeMap<NodeId, Arc<Semaphore>>>,
}

impl Shares {
    pub(crate) fn new(places: usize) -> Shares {
        Shares { places, each: Mutex::default() }
    }

    /// The places of a member.
    pub(crate) fn of(&self, member: NodeId) -> Arc<Semaphore> {
        let mut each = lock(&self.each);
        // Whoever has none and waits for none holds no clone.
        each.retain(|_, own| Arc::strong_count(own) > 1);
        let own = each.entry(member).or_insert_with(|| Arc::new(Semaphore::new(self.places)));
        Arc::clone(own)
    }
}

/// Turns of members: each has one piece of work under way or in the queue, and the queue is served
/// in order. So a member waits for one piece of each other member at most, however many those ask
/// for.
#[derive(Debug)]
pub(crate) struct Turn {
    all: Arc<Semaphore>,
    each: Shares,
}

impl Default for Turn {
    fn default() -> Turn {
        Turn { all: Arc::new(Semaphore::new(AT_ONCE)), each: Shares::new(1) }
    }
}

impl Turn {
    /// Waits for a member's turn, which lasts while what is returned lives.
    pub(crate) async fn of(&self, member: NodeId) -> [OwnedSemaphorePermit; 2] {
        let own =
            self.each.of(member).acquire_owned().await.expect("the semaphore is never closed");
        let all = Arc::clone(&self.all).acquire_owned().await;
        [own, all.expect("the semaphore is never closed")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures::FutureExt;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    #[test]
    fn whoever_asks_without_pause_goes_behind_whoever_asks_once() {
        let turn = Turn::default();
        let working: Vec<_> =
            [1, 2].into_iter().map(|n| turn.of(node(n)).now_or_never().unwrap()).collect();
        let mut greedy: Vec<_> = (0..50).map(|_| Box::pin(turn.of(node(1)))).collect();
        assert!(greedy.iter_mut().all(|one| one.now_or_never().is_none()));
        let mut modest = Box::pin(turn.of(node(3)));
        assert!(modest.as_mut().now_or_never().is_none(), "two are at work");
        drop(working);
        assert!(modest.as_mut().now_or_never().is_some(), "before 49 of the greedy one's");
    }

    #[test]
    fn one_member_alone_has_one_piece_of_work_under_way() {
        let turn = Turn::default();
        let first = turn.of(node(1)).now_or_never().unwrap();
        assert!(turn.of(node(1)).now_or_never().is_none());
        drop(first);
        assert!(turn.of(node(1)).now_or_never().is_some());
        drop(turn.of(node(2)));
        assert!(lock(&turn.each.each).len() <= 2, "who is done is forgotten");
    }
}
