//! A gate for examples, tests and programs without a disk.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};

use crate::PublicKey;
use crate::gate::{Claim, Gate, GateError, Realm};

/// A [`Gate`] that admits a set of keys and remembers counters in memory only.
///
/// Not for nodes that restart: with the counters gone, a recorded first message would be answered
/// once more. It reveals nothing and opens nothing, since only the key's owner can confirm it.
#[derive(Debug, Default)]
pub struct MemoryGate {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    realms: Vec<Realm>,
    members: HashSet<PublicKey>,
    floors: HashMap<PublicKey, u64>,
    counters: HashMap<PublicKey, u64>,
    hello: Bytes,
    guests: HashSet<[u8; 32]>,
}

impl MemoryGate {
    /// A gate that knows realms and nobody.
    #[must_use]
    pub fn new(realms: Vec<Realm>) -> Self {
        Self { state: Mutex::new(State { realms, ..State::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a key from now on.
    pub fn add(&self, member: PublicKey) {
        self.lock().members.insert(member);
    }

    /// Admits a key no longer. A connection that is up stays.
    pub fn remove(&self, member: &PublicKey) {
        self.lock().members.remove(member);
    }

    /// Admits anybody under one more realm, as a guest.
    pub fn invite(&self, realm: Realm) {
        let mut state = self.lock();
        state.guests.insert(realm.label);
        state.realms.push(realm);
    }

    /// Sets the application's part of every hello.
    pub fn set_hello(&self, hello: Bytes) {
        self.lock().hello = hello;
    }

    /// The counters raised so far, as a durable gate would find them after a restart.
    #[must_use]
    pub fn floors(&self) -> HashMap<PublicKey, u64> {
        self.lock().floors.clone()
    }

    /// Starts with counters raised earlier.
    pub fn set_floors(&self, floors: HashMap<PublicKey, u64>) {
        self.lock().floors = floors;
    }
}

impl Gate for MemoryGate {
    fn realms(&self) -> Arc<[Realm]> {
        self.lock().realms.clone().into()
    }

    fn admit(&self, claim: Claim) -> BoxFuture<'_, bool> {
        let state = self.lock();
        let known = state.members.contains(&claim.remote) || state.guests.contains(&claim.realm);
        async move { known }.boxed()
    }

    fn is_for_guests(&self, realm: &[u8; 32]) -> bool {
        self.lock().guests.contains(realm)
    }

    fn floor(&self, remote: &PublicKey) -> u64 {
        self.lock().floors.get(remote).copied().unwrap_or(0)
    }

    fn raise(&self, remote: PublicKey, counter: u64) -> BoxFuture<'_, Result<(), GateError>> {
        let mut state = self.lock();
        let floor = state.floors.entry(remote).or_default();
        *floor = counter.max(*floor);
        async { Ok(()) }.boxed()
    }

    fn next_counter(
        &self,
        remote: PublicKey,
        now_micros: u64,
    ) -> BoxFuture<'_, Result<u64, GateError>> {
        let mut state = self.lock();
        let last = state.counters.entry(remote).or_default();
        *last = now_micros.max(*last + 1);
        let next = *last;
        async move { Ok(next) }.boxed()
    }

    fn hello(&self, _remote: &PublicKey, _seen: SocketAddr) -> Bytes {
        self.lock().hello.clone()
    }
}
