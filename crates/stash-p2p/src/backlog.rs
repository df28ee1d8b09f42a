//! The queue of bytes to be sent: bounded on each connection, and on all connections together.
//!
//! A connection has four accounts, so that urgent frames never wait for room behind large ones, and
//! requests of this side never behind answers that the remote does not take. An account may hold up
//! to half of what the endpoint has left. So connections that hold much leave room to others,
//! however many they are. An empty account always has room for one frame: a stream whose bytes are
//! taken goes on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::frame::{Class, StreamKey};

/// Largest frame that does not wait behind others that want room, in bytes: a request among large
/// pieces.
const SMALL: usize = 4 * 1024;

/// Bytes that all connections of an endpoint have queued.
#[derive(Debug)]
pub(crate) struct SendBudget {
    bytes: usize,
    queued: AtomicUsize,
}

impl SendBudget {
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { bytes, queued: AtomicUsize::new(0) })
    }

    fn left(&self) -> usize {
        self.bytes.saturating_sub(self.queued.load(Ordering::Relaxed))
    }

    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }
}

/// The account of a stream's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lane {
    /// The remote opened the stream.
    pub(crate) answer: bool,
    pub(crate) class: Class,
}

impl Lane {
    fn index(self) -> usize {
        usize::from(self.answer) * 2 + usize::from(self.class == Class::Bulk)
    }
}

/// The bytes that one connection has queued.
#[derive(Debug)]
pub(crate) struct Backlog {
    shared: Arc<SendBudget>,
    limit: usize,
    accounts: [Account; 4],
}

#[derive(Debug, Default)]
struct Account {
    queued: usize,
    /// Streams with an empty queue that want room, and the bytes that they want.
    waiting: VecDeque<(StreamKey, usize)>,
}

impl Backlog {
    /// Each account may hold `limit` bytes.
    pub(crate) fn new(shared: &Arc<SendBudget>, limit: usize) -> Self {
        Self { shared: Arc::clone(shared), limit, accounts: <[Account; 4]>::default() }
    }

    /// The bytes that an account may hold now.
    fn most(&self) -> usize {
        self.limit.min(self.shared.left() / 2)
    }

    /// True if there is room for a frame of a stream that has `queued` bytes and may have `most`.
    /// Streams that waited before go first, unless this one is `next`, or the frame is small.
    pub(crate) fn has_room(
        &self,
        lane: Lane,
        cost: usize,
        (queued, most): (usize, usize),
        next: bool,
    ) -> bool {
        let account = &self.accounts[lane.index()];
        if account.queued == 0 {
            return true;
        }
        let room = self.most().saturating_sub(account.queued);
        let turn = next || cost <= SMALL || account.waiting.is_empty();
        turn && cost <= room && (queued == 0 || queued < most.min(room / 2))
    }

    pub(crate) fn add(&mut self, lane: Lane, bytes: usize) {
        self.accounts[lane.index()].queued += bytes;
        self.shared.queued.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn remove(&mut self, lane: Lane, bytes: usize) {
        self.accounts[lane.index()].queued -= bytes;
        self.shared.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Puts a stream with an empty queue in line for room.
    pub(crate) fn wait(&mut self, lane: Lane, key: StreamKey, cost: usize) {
        self.accounts[lane.index()].waiting.push_back((key, cost));
    }

    /// The next stream that finds room, after those that were `promised` some. An empty account has
    /// room for every stream, so that none is forgotten behind one that has gone.
    pub(crate) fn next(&mut self, lane: Lane, promised: &mut usize) -> Option<StreamKey> {
        let most = self.most();
        let account = &mut self.accounts[lane.index()];
        let (key, cost) = *account.waiting.front()?;
        let room = account.queued == 0 || account.queued + *promised + cost <= most;
        *promised += cost;
        room.then(|| account.waiting.pop_front()).flatten().map(|_| key)
    }

    /// True if answers of a class wait for room, or will soon.
    pub(crate) fn is_clogged(&self, class: Class) -> bool {
        let account = &self.accounts[Lane { answer: true, class }.index()];
        let much = account.queued > 0 && account.queued >= self.most() / 2;
        much || !account.waiting.is_empty()
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        let queued = self.accounts.iter().map(|account| account.queued).sum();
        self.shared.queued.fetch_sub(queued, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: Lane = Lane { answer: true, class: Class::Control };
    const PAGE: usize = 128 << 10;

    fn fill(backlog: &mut Backlog, lane: Lane) -> usize {
        let mut filled = 0;
        while backlog.has_room(lane, PAGE, (0, 1 << 20), false) {
            backlog.add(lane, PAGE);
            filled += PAGE;
        }
        filled
    }

    #[test]
    fn those_that_hold_much_leave_room_however_many_they_are() {
        let shared = SendBudget::new(16 << 20);
        let mut hogs = Vec::from_iter((0..64).map(|_| Backlog::new(&shared, 2 << 20)));
        let each = Vec::from_iter(hogs.iter_mut().map(|hog| fill(hog, ANSWER)));
        assert_eq!(each[0], 2 << 20);
        assert!(each.iter().all(|filled| *filled >= PAGE), "each has one frame: {each:?}");
        let beyond = 64 * PAGE;
        assert!(shared.queued() <= (16 << 20) + beyond, "{}", shared.queued());
        hogs.clear();
        assert_eq!(shared.queued(), 0, "all is given back");
    }

    #[test]
    fn no_account_takes_the_room_of_another() {
        let shared = SendBudget::new(16 << 20);
        let mut backlog = Backlog::new(&shared, 2 << 20);
        for answer in [true, false] {
            for class in [Class::Bulk, Class::Control] {
                assert_eq!(fill(&mut backlog, Lane { answer, class }), 2 << 20);
            }
        }
        assert!(backlog.is_clogged(Class::Bulk) && backlog.is_clogged(Class::Control));
    }

    #[test]
    fn streams_have_room_in_the_order_in_which_they_asked() {
        let shared = SendBudget::new(16 << 20);
        let mut backlog = Backlog::new(&shared, 4 * PAGE);
        fill(&mut backlog, ANSWER);
        (1..=4).for_each(|key| backlog.wait(ANSWER, key, PAGE));
        assert_eq!(backlog.next(ANSWER, &mut 0), None);
        backlog.remove(ANSWER, 2 * PAGE);
        assert!(!backlog.has_room(ANSWER, PAGE, (0, 1 << 20), false), "others were first");
        assert!(backlog.has_room(ANSWER, SMALL, (0, 1 << 20), false));
        let mut promised = 0;
        let two = Vec::from_iter(std::iter::from_fn(|| backlog.next(ANSWER, &mut promised)));
        assert_eq!(two, [1, 2]);
        // Neither uses it: with nothing queued, all that wait are asked.
        backlog.remove(ANSWER, 2 * PAGE);
        let mut promised = 0;
        let rest = Vec::from_iter(std::iter::from_fn(|| backlog.next(ANSWER, &mut promised)));
        assert_eq!(rest, [3, 4]);
    }
}
