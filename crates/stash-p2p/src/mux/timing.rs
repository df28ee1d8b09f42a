//! Time, and the end of a connection: pings, silence, draining.

use std::time::Duration;

use super::{Mux, MuxEvent};
use crate::error::CloseReason;

impl Mux {
    /// Takes no new streams, lets those under way end, then closes; at the latest after
    /// the drain time.
    pub(crate) fn start_drain(&mut self, now: Duration, reason: CloseReason) {
        if self.drain_reason.is_some() {
            return;
        }
        self.drain_reason = Some(reason.clone());
        self.drain_until = Some(now + self.config.drain);
        self.events.push_back(MuxEvent::Draining(reason));
        self.events.push_back(MuxEvent::Slot);
        self.wake = true;
    }

    /// Sends a ping, due or not: a remote that is there answers it at once.
    pub(crate) fn ask_for_life(&mut self, now: Duration) {
        self.ping = Some(now);
        self.ping_sent.get_or_insert(now);
        self.wake = true;
    }

    /// Says one last word, if it can still be heard, and ends.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        if self.hard_close.is_none() {
            self.hard_close = Some(reason);
            self.wake = true;
        }
    }

    /// The time at which [`Mux::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Duration {
        let quiet = if self.ping_sent.is_some() { self.said } else { self.said.min(self.heard) };
        let ping = quiet + self.config.ping_interval;
        let dead = self.heard + self.config.dead_after;
        let drain = self.drain_until.unwrap_or(self.config.max_age);
        let window = self.config.window.poll_timeout().unwrap_or(drain);
        ping.min(dead).min(drain).min(window)
    }

    /// Lets time pass. An error ends the connection.
    pub(crate) fn handle_timeout(&mut self, now: Duration) -> Result<(), CloseReason> {
        if now >= self.heard + self.config.dead_after {
            return Err(CloseReason::Dead);
        }
        if let Some(until) = self.drain_until {
            if now >= until {
                return Err(self.drain_reason.clone().unwrap_or(CloseReason::Shutdown));
            }
        } else if now >= self.config.max_age {
            self.start_drain(now, CloseReason::Aged);
        }
        self.wake |= self.config.window.handle_timeout(now)?;
        // Silence of the remote asks for a sign of life, silence of ours gives one: an answer to a
        // ping may be stuck behind what is read slowly here.
        let unheard = self.ping_sent.is_none() && now >= self.heard + self.config.ping_interval;
        if unheard || now >= self.said + self.config.ping_interval {
            self.said = now;
            self.ask_for_life(now);
        }
        Ok(())
    }

    /// Why the connection is over, once both sides have said their last word, or this one its
    /// only.
    pub(crate) fn finished(&self) -> Option<CloseReason> {
        let reason = self.hard_close.clone().or_else(|| self.drain_reason.clone());
        reason.filter(|_| self.finished)
    }
}
