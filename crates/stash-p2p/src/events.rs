//! Events for the application, in order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::error::CloseReason;
use crate::limits::MAX_EVENTS;
use crate::peer::Peer;

/// A peer came or went.
#[derive(Debug)]
pub enum Event {
    /// A peer is up, dialled from either side. Peers from
    /// [`dial_once`](crate::Endpoint::dial_once) are not announced.
    Up(Peer),
    /// A peer that was announced is down. The same node may be up as another peer: under another
    /// realm, or after a restart.
    Down {
        /// The peer.
        peer: Peer,
        /// Why.
        reason: CloseReason,
    },
}

/// The events of an endpoint. Dropped, they are thrown away and the endpoint works on.
#[derive(Debug)]
pub struct Events(pub(crate) Arc<Queue>);

#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    more: Notify,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    closed: bool,
    deaf: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if new peers should be turned away until the application catches up.
    pub(crate) fn full(&self) -> bool {
        self.lock().events.len() >= MAX_EVENTS
    }

    pub(crate) fn push(&self, event: Event) {
        let mut state = self.lock();
        if !state.deaf && !state.closed {
            state.events.push_back(event);
        }
        drop(state);
        self.more.notify_one();
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.more.notify_one();
    }
}

impl Events {
    /// The next event; `None` once the endpoint is shut down and every event was taken.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            {
                let mut state = self.0.lock();
                if let Some(event) = state.events.pop_front() {
                    return Some(event);
                }
                if state.closed {
                    return None;
                }
            }
            self.0.more.notified().await;
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.deaf = true;
        state.events.clear();
    }
}
