//! The window of a connection: the bytes that the remote may send. It grows while it is used, and
//! unused credit is asked back.

use std::time::Duration;

use crate::budget::Place;
use crate::error::{CloseReason, ProtocolError};
use crate::limits::{FRAME_COST, MAX_MESSAGE};

/// A window that brought nothing for this long goes back to its first size.
const IDLE: Duration = Duration::from_secs(10);
/// Pause between two checks of a window that has grown.
const LOOK: Duration = Duration::from_secs(1);
/// Time in which the remote must give credit back: as long as it may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// The cost of the longest message. The remote must have this much credit once all is taken.
const DEAREST: u64 = MAX_MESSAGE as u64 + FRAME_COST as u64;

/// The receiving side of a connection's credit. The window is the sum of three parts: the credit
/// that the remote has, the bytes that wait here to be taken, and the credit not given back yet.
/// The process's budget counts it.
#[derive(Debug)]
pub(crate) struct Window {
    place: Place,
    /// The credit that the remote has.
    allowed: u64,
    /// Cost of what was taken here, or thrown away, and is not given back yet.
    unreturned: u64,
    /// Cost of what was taken since the window grew.
    used: u64,
    /// The last time at which something came that costs credit.
    last_use: Duration,
    /// The time of the next check of the window; none while it has its first size.
    look: Option<Duration>,
    /// The credit to ask back with the next transmission.
    ask: Option<u32>,
    /// The credit that was asked back and is not answered yet, and the deadline for it.
    asked: Option<(u32, Duration)>,
}

impl Window {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            allowed: place.window().into(),
            place,
            unreturned: 0,
            used: 0,
            last_use: Duration::ZERO,
            look: None,
            ask: None,
            asked: None,
        }
    }

    /// Its size now, in bytes.
    pub(crate) fn size(&self) -> u32 {
        self.place.window()
    }

    /// The window of a connection that is alone in its process.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn alone(limits: &crate::Limits) -> Self {
        let holder = crate::budget::Holder::Peer(crate::PublicKey::from_bytes([0; 32]));
        let budget = crate::budget::Budget::new(limits);
        let place = budget.take(holder, crate::Purpose::Control, limits.connection_window);
        Self::new(place.expect("the budget has room for one connection"))
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn allowed(&self) -> u64 {
        self.allowed
    }

    /// Pays for what came out of the remote's credit.
    pub(super) fn pay(&mut self, now: Duration, cost: u64) -> Result<(), ProtocolError> {
        let left = self.allowed.checked_sub(cost);
        self.allowed = left.ok_or(ProtocolError::ConnectionCreditExceeded)?;
        self.last_use = now;
        Ok(())
    }

    /// Frees the credit of bytes that were taken, or thrown away. True if credit is to be given.
    pub(super) fn take(&mut self, cost: u64) -> bool {
        self.unreturned += cost;
        self.used += cost;
        self.is_due()
    }

    /// While something is asked back nothing is given, so that the answer can be checked.
    fn is_due(&self) -> bool {
        let size = u64::from(self.size());
        let portion = (size / 4).min(size.saturating_sub(DEAREST)).max(1);
        self.asked.is_none() && self.unreturned >= portion
    }

    /// The credit to give now; 0 is none.
    pub(super) fn give(&mut self, now: Duration) -> u64 {
        if !self.is_due() {
            return 0;
        }
        let excess = u64::from(self.place.excess());
        self.shrink(excess);
        let mut grown = 0;
        if excess == 0 && self.used >= u64::from(self.size()) / 2 {
            grown = self.place.grow(self.size());
            self.used = 0;
        }
        let given = std::mem::take(&mut self.unreturned) + u64::from(grown);
        self.allowed += given;
        if self.place.grown() > 0 {
            self.look.get_or_insert(now + LOOK);
        }
        given
    }

    /// Makes the window smaller by what is not given back yet; returns what is missing.
    fn shrink(&mut self, by: u64) -> u64 {
        let kept = self.unreturned.min(by);
        self.unreturned -= kept;
        self.place.give_back(u32::try_from(kept).unwrap_or(u32::MAX));
        by - kept
    }

    /// The time at which [`Window::handle_timeout`] wants to be called.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.asked.map(|(_, until)| until).or(self.look)
    }

    /// Asks back what nobody uses, and what others need. True if there is something to send.
    pub(super) fn handle_timeout(&mut self, now: Duration) -> Result<bool, CloseReason> {
        if self.asked.is_some_and(|(_, until)| now >= until) {
            return Err(CloseReason::CreditKept);
        }
        if self.asked.is_some() || self.look.is_none_or(|at| now < at) {
            return Ok(false);
        }
        let idle = now >= self.last_use + IDLE;
        let much = if idle { self.place.grown() } else { self.place.excess() };
        let missing = self.shrink(much.into()).min(self.allowed);
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        if missing > 0 {
            self.ask = Some(missing);
            self.asked = Some((missing, now + PATIENCE));
        }
        self.look = (self.place.grown() > 0).then_some(now + LOOK);
        Ok(missing > 0)
    }

    /// The credit to ask back now.
    pub(super) fn poll_ask(&mut self) -> Option<u32> {
        self.ask.take()
    }

    /// The remote gave credit back: as much as was asked for, or all that it had. True if credit is to
    /// be given.
    pub(super) fn returned(&mut self, amount: u32) -> Result<bool, ProtocolError> {
        let (asked, _) = self.asked.take().ok_or(ProtocolError::ReclaimOutOfTurn)?;
        if u64::from(amount) != self.allowed.min(asked.into()) {
            return Err(ProtocolError::ReclaimOutOfTurn);
        }
        self.allowed -= u64::from(amount);
        self.place.give_back(amount);
        Ok(self.is_due())
    }

    /// Ends the window with the connection, but for the bytes that wait to be taken.
    pub(super) fn close(&mut self, held: u64) {
        self.place.close(u32::try_from(held).unwrap_or(u32::MAX));
    }
}
