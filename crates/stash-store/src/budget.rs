//! Who may still take room: the figures that quota and reserve are held against.

use crate::entry::entry_len;
use crate::files::Files;
use crate::log::mark_len;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};
use crate::{Quota, Resource, Room, Shortage, Space};

/// The part of what is left above the reserve that is given out before the disk is asked again:
/// the less is left, the more often it is.
const CREDIT_PART: u64 = 16;
/// Bytes given out before the disk is asked again: another program may have taken as much of the
/// reserve meanwhile, a quarter of the default one.
const CREDIT_BYTES: u64 = 64 * 1024 * 1024;
/// Inodes given out before the disk is asked again, a quarter of the default reserve.
const CREDIT_INODES: u64 = 256;

/// Room that something takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

impl Claim {
    fn is_within(self, other: Claim) -> bool {
        self.bytes <= other.bytes && self.inodes <= other.inodes
    }

    pub(crate) fn plus(self, other: Claim) -> Claim {
        let bytes = self.bytes.saturating_add(other.bytes);
        Claim { bytes, inodes: self.inodes.saturating_add(other.inodes) }
    }

    fn minus(self, other: Claim) -> Claim {
        let bytes = self.bytes.saturating_sub(other.bytes);
        Claim { bytes, inodes: self.inodes.saturating_sub(other.inodes) }
    }

    /// Of a batch that takes this many bytes of log.
    pub(crate) fn of_log(bytes: u64) -> Claim {
        Claim { bytes, inodes: 0 }
    }

    /// Of a blob that lies in the log.
    pub(crate) fn of_small(len: u64) -> Claim {
        Claim::of_log(entry_len(32 + len) + mark_len())
    }
}

/// Bytes that the store has, and what they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) files: u64,
    pub(crate) log: u64,
    pub(crate) index: u64,
    /// Taken, and in none of the others yet.
    pub(crate) coming: u64,
}

impl Used {
    pub(crate) fn all(&self) -> u64 {
        let Used { files, log, index, coming } = self;
        files.saturating_add(*log).saturating_add(*index).saturating_add(*coming)
    }
}

#[derive(Debug, Default)]
struct State {
    quota: Quota,
    used: Used,
    /// Granted, and not on the disk yet: the disk does not know of it.
    unwritten: Claim,
    /// The ballast, while it is used: the room that it held is not for puts.
    spent: Claim,
    /// May be granted without asking the disk.
    credit: Claim,
    /// What was asked for when the last answer was no.
    refused: Option<Claim>,
}

impl State {
    fn within_quota(&self, claim: Claim) -> Result<(), Shortage> {
        let used = self.used.all();
        match self.quota.hard {
            Some(limit) if used.saturating_add(claim.bytes) > limit => {
                Err(Shortage::Quota { used, limit })
            }
            _ => Ok(()),
        }
    }

    /// What of this space may still be granted once `claim` is; the reserve is not.
    fn left(&self, space: &Space, claim: Claim) -> Result<Claim, Shortage> {
        let (bytes, inodes) = self.quota.reserve(space);
        let Claim { bytes, inodes } = Claim { bytes, inodes }.plus(self.spent);
        let need = self.unwritten.plus(claim);
        let free_inodes = space.free_inodes.unwrap_or(u64::MAX);
        let short = |free, reserve, what| Err(Shortage::Reserve { free, reserve, what });
        if space.free < need.bytes.saturating_add(bytes) {
            return short(space.free, bytes, Resource::Bytes);
        }
        if free_inodes < need.inodes.saturating_add(inodes) {
            return short(free_inodes, inodes, Resource::Inodes);
        }
        let free = Claim { bytes: space.free, inodes: free_inodes };
        Ok(free.minus(need).minus(Claim { bytes, inodes }))
    }
}

/// Grants room. The disk is asked when a credit that an earlier answer gave is used up, and
/// whenever the last answer was no: so puts go on by themselves once there is room.
#[derive(Debug)]
pub(crate) struct Budget {
    files: Arc<Files>,
    state: Mutex<State>,
}

impl Budget {
    pub(crate) fn new(files: Arc<Files>, quota: Quota, used: Used) -> Budget {
        let state = State { quota, used, ..State::default() };
        Budget { files, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn space(&self) -> Option<Space> {
        let space = self.files.disk.space(&self.files.dir);
        // A disk that does not say how much it has left refuses when it is full.
        space.inspect_err(|error| tracing::debug!(%error, "the disk's space is unknown")).ok()
    }

    /// Of a blob that lies in a file of its own: its directories may be new.
    pub(crate) fn claim_of_file(&self, len: u64) -> Claim {
        let bytes = len + entry_len(36) + mark_len();
        Claim { bytes, inodes: 1 + u64::from(self.files.layout.levels()) }
    }

    pub(crate) fn set_quota(&self, quota: Quota) {
        let mut state = self.lock();
        state.quota = quota;
        state.credit = Claim::default();
        state.refused = None;
    }

    /// Takes room, until it is [`Budget::wrote`] and [`Budget::release`]d. True if the disk was
    /// asked.
    pub(crate) fn take(&self, claim: Claim) -> Result<bool, Shortage> {
        let mut state = self.lock();
        let taken = state.within_quota(claim).and_then(|()| self.draw(&mut state, claim));
        match taken {
            Ok(_) => {
                state.refused = None;
                state.used.coming = state.used.coming.saturating_add(claim.bytes);
                state.unwritten = state.unwritten.plus(claim);
            }
            Err(_) => {
                state.refused = Some(claim);
                state.credit = Claim::default();
            }
        }
        taken
    }

    fn draw(&self, state: &mut State, claim: Claim) -> Result<bool, Shortage> {
        if claim.is_within(state.credit) {
            state.credit = state.credit.minus(claim);
            return Ok(false);
        }
        state.credit = Claim::default();
        if let Some(space) = self.space() {
            let left = state.left(&space, claim)?;
            state.credit = Claim {
                bytes: (left.bytes / CREDIT_PART).min(CREDIT_BYTES),
                inodes: (left.inodes / CREDIT_PART).min(CREDIT_INODES),
            };
        }
        Ok(true)
    }

    /// What was granted is on the disk, or never will be.
    pub(crate) fn wrote(&self, claim: Claim) {
        let mut state = self.lock();
        state.unwritten = state.unwritten.minus(claim);
    }

    /// What was granted will not be used. After [`Budget::wrote`].
    pub(crate) fn release(&self, claim: Claim) {
        let mut state = self.lock();
        state.used.coming = state.used.coming.saturating_sub(claim.bytes);
    }

    /// The disk said that it is full: it is asked again before more is granted.
    pub(crate) fn found_full(&self) {
        self.lock().credit = Claim::default();
    }

    /// What the store has now, with what has `arrived` of what was granted.
    pub(crate) fn settle(&self, files: u64, log: u64, arrived: Claim) {
        let mut state = self.lock();
        let coming = state.used.coming.saturating_sub(arrived.bytes);
        state.used = Used { files, log, coming, index: state.used.index };
    }

    pub(crate) fn set_index(&self, bytes: u64) {
        self.lock().used.index = bytes;
    }

    /// Adds the ballast to the reserve while it is used; nothing once it is back.
    pub(crate) fn set_spent(&self, ballast: Claim) {
        let mut state = self.lock();
        state.spent = ballast;
        state.credit = Claim::default();
    }

    /// True if this much is left above the reserve, as of now.
    pub(crate) fn has_left(&self, claim: Claim) -> bool {
        let space = self.space();
        space.is_some_and(|space| self.lock().left(&space, claim).is_ok())
    }

    /// What the store has, of what it may have, and what the disk has left.
    pub(crate) fn look(&self) -> (Used, Quota, Option<Space>, Room) {
        let space = self.space();
        let state = self.lock();
        // What was asked for and is not granted counts in no figure.
        let claim = state.refused.unwrap_or(Claim { bytes: 1, inodes: 1 });
        let within = state.within_quota(claim).and_then(|()| match &space {
            Some(space) => state.left(space, claim).map(drop),
            None => Ok(()),
        });
        let used = state.used.all();
        let room = match (within, state.quota.soft) {
            (Err(shortage), _) => Room::Refusing(shortage),
            (Ok(()), Some(soft)) if used > soft => Room::AboveSoft { used, soft },
            _ => Room::Enough,
        };
        (state.used, state.quota, space, room)
    }
}
