//! The bytes that all connections of an endpoint together may have under way, and the number of
//! connections.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::gate::Purpose;
use crate::limits::{
    GUESTS_OF_A_REALM, KEPT_FOR_CONTROL, KEPT_FOR_NEWCOMERS, MAX_PLACES, MIN_CONNECTION_WINDOW,
};
use crate::{Limits, PublicKey};

/// The remote for whom a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A peer, on either side of the connection.
    Peer(PublicKey),
    /// A guest, who came under the guests' realm with this label.
    Guest([u8; 32]),
}

/// The places of an endpoint, and the bytes of the windows on them.
///
/// A connection starts with a small window. The rest of the budget is for those that are used: each
/// may grow by as much as is left, minus a part that is kept for newcomers. So the more are used,
/// the less each has, and one that has twice its part gives back.
pub(crate) struct Budget {
    bytes: usize,
    guests: usize,
    first: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Sum of the windows of all peers' connections, in bytes.
    windows: usize,
    /// Sum of their first sizes.
    firsts: usize,
    peers: HashMap<PublicKey, usize>,
    guests: usize,
    realms: HashMap<[u8; 32], usize>,
}

/// The place of one connection and its window; given back on drop.
pub(crate) struct Place {
    budget: Arc<Budget>,
    /// `None`: the connection is over, and only bytes are left.
    holder: Option<Holder>,
    first: u32,
    most: u32,
    window: u32,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let (bytes, guests) = (limits.process_budget, limits.guests);
        Arc::new(Self { bytes, guests, first: limits.first_window, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn windows(&self) -> usize {
        self.lock().windows
    }

    /// True if a bulk connection would leave a quarter of the budget to control connections.
    pub(crate) fn has_room_for_bulk(&self) -> bool {
        let firsts = self.lock().firsts + self.first as usize;
        firsts <= self.bytes - self.bytes / KEPT_FOR_CONTROL
    }

    /// A place with a window that may grow to `most` bytes. A guest's counts apart from the peers'
    /// budget and does not grow. `None`: there is no room.
    pub(crate) fn take(
        self: &Arc<Self>,
        holder: Holder,
        purpose: Purpose,
        most: u32,
    ) -> Option<Place> {
        if purpose == Purpose::Bulk && !self.has_room_for_bulk() {
            return None;
        }
        let mut state = self.lock();
        let (first, most) = match holder {
            Holder::Peer(remote) => {
                let windows = state.windows + self.first as usize;
                if windows > self.bytes || !enter(&mut state.peers, remote, MAX_PLACES) {
                    return None;
                }
                state.windows = windows;
                state.firsts += self.first as usize;
                (self.first, most.max(self.first))
            }
            Holder::Guest(realm) => {
                let full = state.guests >= self.guests;
                if full || !enter(&mut state.realms, realm, GUESTS_OF_A_REALM) {
                    return None;
                }
                state.guests += 1;
                (MIN_CONNECTION_WINDOW, MIN_CONNECTION_WINDOW)
            }
        };
        drop(state);
        Some(Place { budget: Arc::clone(self), holder: Some(holder), first, most, window: first })
    }

    /// The bytes that all windows leave for one of them to grow by.
    fn left(&self, state: &State) -> u32 {
        let kept = self.bytes / KEPT_FOR_NEWCOMERS;
        let left = self.bytes.saturating_sub(state.windows + kept);
        u32::try_from(left).unwrap_or(u32::MAX)
    }
}

/// Counts one more, up to `most`.
fn enter<K: Eq + Hash>(table: &mut HashMap<K, usize>, key: K, most: usize) -> bool {
    let count = table.entry(key).or_default();
    let room = *count < most;
    *count += usize::from(room);
    room
}

fn leave<K: Eq + Hash>(table: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = table.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            table.remove(key);
        }
    }
}

impl Place {
    /// The window of the connection, in bytes.
    pub(crate) fn window(&self) -> u32 {
        self.window
    }

    /// The bytes by which it has grown.
    pub(crate) fn grown(&self) -> u32 {
        self.window - self.first
    }

    pub(crate) fn is_guest(&self) -> bool {
        matches!(self.holder, Some(Holder::Guest(_)))
    }

    /// Grows by `by` bytes, or by as many as there are; returns their number.
    pub(crate) fn grow(&mut self, by: u32) -> u32 {
        let by = by.min(self.most - self.window);
        if by == 0 {
            return 0;
        }
        let mut state = self.budget.lock();
        let by = by.min(self.budget.left(&state).saturating_sub(self.grown()));
        state.windows += by as usize;
        self.window += by;
        by
    }

    /// The bytes by which the window is too large. None up to twice its part, so that it does not
    /// follow every connection that comes or goes.
    pub(crate) fn excess(&self) -> u32 {
        if self.grown() == 0 {
            return 0;
        }
        let part = self.budget.left(&self.budget.lock());
        if self.grown() / 2 > part { self.grown() - part } else { 0 }
    }

    /// Makes the window smaller, at most to its first size.
    pub(crate) fn give_back(&mut self, by: u32) {
        let by = by.min(self.grown());
        self.window -= by;
        if by > 0 {
            self.budget.lock().windows -= by as usize;
        }
    }

    /// Gives the place back, and all of the window but `held` bytes.
    pub(crate) fn close(&mut self, held: u32) {
        let Some(holder) = self.holder.take() else {
            return;
        };
        let mut state = self.budget.lock();
        match holder {
            Holder::Peer(remote) => {
                let kept = held.min(self.window);
                state.windows -= (self.window - kept) as usize;
                state.firsts -= self.first as usize;
                (self.window, self.first) = (kept, 0);
                leave(&mut state.peers, &remote);
            }
            Holder::Guest(realm) => {
                (self.window, self.first) = (0, 0);
                state.guests -= 1;
                leave(&mut state.realms, &realm);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.close(0);
        if self.window > 0 {
            self.budget.lock().windows -= self.window as usize;
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({:?}, {})", self.holder, self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: usize = MIN_CONNECTION_WINDOW as usize;
    const MOST: u32 = 4 << 20;

    fn budget(process_budget: usize, guests: usize) -> Arc<Budget> {
        Budget::new(&Limits { process_budget, guests, ..Limits::default() })
    }

    fn control(budget: &Arc<Budget>, n: u8) -> Option<Place> {
        budget.take(Holder::Peer(PublicKey::from_bytes([n; 32])), Purpose::Control, MOST)
    }

    fn bulk(budget: &Arc<Budget>, n: u8) -> Option<Place> {
        budget.take(Holder::Peer(PublicKey::from_bytes([n; 32])), Purpose::Bulk, MOST)
    }

    /// Doubles every window until none grows.
    fn use_all(places: &mut [Place]) {
        let mut round = || places.iter_mut().map(|place| place.grow(place.window())).sum::<u32>();
        while round() > 0 {}
    }

    fn sum(places: &[Place]) -> usize {
        places.iter().map(|place| place.window() as usize).sum()
    }

    // Fault case 41.
    #[test]
    fn windows_in_use_share_what_the_first_sizes_leave() {
        let budget = budget(64 << 20, 0);
        let mut places = Vec::new();
        for (n, most) in [(1, MOST), (4, MOST), (64, 1 << 20)] {
            places.extend(
                (places.len()..n).map(|n| control(&budget, n.try_into().unwrap()).unwrap()),
            );
            use_all(&mut places);
            let least = places.iter().map(Place::window).min().unwrap();
            assert!(least >= most / 2, "{n} connections: {least}");
            assert_eq!(sum(&places), budget.windows());
            assert!(budget.windows() <= 56 << 20, "newcomers find room");
        }
        places.clear();
        assert_eq!(budget.windows(), 0);
    }

    #[test]
    fn grown_windows_make_room_for_newcomers_and_take_it_again() {
        let budget = budget(8 << 20, 0);
        let mut old = vec![control(&budget, 0).unwrap()];
        use_all(&mut old);
        assert!(old[0].grown() > 1 << 20);
        let mut new = Vec::from_iter((1..20).map_while(|n| control(&budget, n)));
        assert!(new.len() >= 10, "{}", new.len());
        let excess = old[0].excess();
        assert!(excess > 0);
        old[0].give_back(excess);
        assert!(old[0].excess() == 0 && old[0].window() as usize >= FIRST);
        new.extend((20..60).map_while(|n| control(&budget, n)));
        assert!(sum(&new) + sum(&old) <= 8 << 20);
        old[0].give_back(u32::MAX);
        new.clear();
        use_all(&mut old);
        assert!(old[0].grown() > 1 << 20);
    }

    #[test]
    fn bulk_connections_leave_places_for_members() {
        let budget = budget(64 << 20, 0);
        // What operating.md promises.
        let members = Vec::from_iter((0..64).map(|n| (control(&budget, n), bulk(&budget, n))));
        assert!(members.iter().all(|(control, bulk)| control.is_some() && bulk.is_some()));
        let more = (0..64).flat_map(|n| [bulk(&budget, n), bulk(&budget, n), bulk(&budget, n)]);
        let more = Vec::from_iter(more.flatten());
        assert!(bulk(&budget, 64).is_none());
        let late = Vec::from_iter((64..200).map_while(|n| control(&budget, n)));
        assert!(late.len() >= 50, "{}", late.len());
        assert_eq!(128 + more.len() + late.len(), (64 << 20) / FIRST);
    }

    #[test]
    fn no_peer_has_more_than_its_places() {
        let budget = budget(64 << 20, 0);
        let mut held = Vec::from_iter(std::iter::from_fn(|| control(&budget, 1)));
        assert_eq!(held.len(), MAX_PLACES);
        assert!(control(&budget, 2).is_some());
        held.pop();
        assert!(control(&budget, 1).is_some());
        held.clear();
        let state = budget.lock();
        assert_eq!((state.windows, state.firsts, state.peers.len()), (0, 0, 0));
    }

    #[test]
    fn a_connection_that_is_over_holds_no_more_than_its_bytes() {
        let budget = budget(64 << 20, 0);
        let mut places = Vec::from_iter(std::iter::from_fn(|| control(&budget, 1)));
        use_all(&mut places);
        places.iter_mut().for_each(|place| place.close(1000));
        assert_eq!(budget.windows(), 1000 * MAX_PLACES);
        assert!(control(&budget, 1).is_some());
        drop(places);
        assert_eq!(budget.windows(), 0);
    }

    #[test]
    fn guests_take_nothing_from_the_peers_and_one_realm_not_all_from_the_others() {
        let budget = budget(FIRST, GUESTS_OF_A_REALM + 1);
        let guest = |realm: u8| budget.take(Holder::Guest([realm; 32]), Purpose::Control, MOST);
        let mut held: Vec<_> = std::iter::from_fn(|| guest(1)).collect();
        assert_eq!(held.len(), GUESTS_OF_A_REALM);
        held.extend(guest(2));
        assert_eq!(held.len(), GUESTS_OF_A_REALM + 1);
        assert!(guest(3).is_none(), "all guests' places are taken");
        assert!(control(&budget, 1).is_some(), "the peers' place is not");
        use_all(&mut held);
        assert_eq!(sum(&held), held.len() * FIRST, "a guest's window does not grow");
        held.clear();
        let state = budget.lock();
        assert_eq!((state.guests, state.realms.len(), state.windows), (0, 0, 0));
    }
}
