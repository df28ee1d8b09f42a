//! Room that may still be taken: the figures that quota and reserve are held against.

use crate::disk::Space;
use crate::entry::entry_len;
use crate::files::Files;
use crate::log::mark_len;
use crate::room::{Allowance, Resource, Shortage};
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, lock};
use crate::{Quota, Room};

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
    /// Of the bytes, those that were granted to records beyond the quota.
    pub(crate) beyond: u64,
}

impl Claim {
    fn is_within(self, other: Claim) -> bool {
        self.bytes <= other.bytes && self.inodes <= other.inodes
    }

    pub(crate) fn plus(self, other: Claim) -> Claim {
        let bytes = self.bytes.saturating_add(other.bytes);
        let beyond = self.beyond.saturating_add(other.beyond);
        Claim { bytes, inodes: self.inodes.saturating_add(other.inodes), beyond }
    }

    fn minus(self, other: Claim) -> Claim {
        let bytes = self.bytes.saturating_sub(other.bytes);
        let beyond = self.beyond.saturating_sub(other.beyond);
        Claim { bytes, inodes: self.inodes.saturating_sub(other.inodes), beyond }
    }

    /// Of a batch that takes this many bytes of log.
    pub(crate) fn of_log(bytes: u64) -> Claim {
        Claim { bytes, ..Claim::default() }
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
    /// The content that was asked for when the last answer was no.
    refused: Option<Claim>,
    /// Bytes that records were granted beyond the quota since the store was within it.
    beyond: u64,
}

impl State {
    /// The number of these bytes that go beyond the quota, if they may.
    fn within_quota(&self, claim: Claim, allowance: Allowance) -> Result<u64, Shortage> {
        let used = self.used.all();
        match self.quota.hard {
            Some(limit) if used.saturating_add(claim.bytes) > limit => {
                let left = allowance.beyond(limit).saturating_sub(self.beyond);
                let granted = (claim.bytes <= left).then_some(claim.bytes);
                granted.ok_or(Shortage::Quota { used, limit })
            }
            _ => Ok(0),
        }
    }

    /// The rest of this space that may still be granted once `claim` is; the reserve is not, but for what the
    /// allowance has of it.
    fn left(&self, space: &Space, claim: Claim, allowance: Allowance) -> Result<Claim, Shortage> {
        let (bytes, inodes) = allowance.reserve(self.quota.reserve(space));
        let kept = Claim { bytes, inodes, beyond: 0 }.plus(self.spent);
        let need = self.unwritten.plus(claim);
        let free_inodes = space.free_inodes.unwrap_or(u64::MAX);
        let short = |free, reserve, what| Err(Shortage::Reserve { free, reserve, what });
        if space.free < need.bytes.saturating_add(kept.bytes) {
            return short(space.free, kept.bytes, Resource::Bytes);
        }
        if free_inodes < need.inodes.saturating_add(kept.inodes) {
            return short(free_inodes, kept.inodes, Resource::Inodes);
        }
        let free = Claim { bytes: space.free, inodes: free_inodes, beyond: 0 };
        Ok(free.minus(need).minus(kept))
    }

    /// Says whether so much would be granted with this space, or none that is known.
    fn may_grant(
        &self,
        space: Option<&Space>,
        claim: Claim,
        allowance: Allowance,
    ) -> Result<(), Shortage> {
        self.within_quota(claim, allowance)?;
        space.map_or(Ok(()), |space| self.left(space, claim, allowance).map(drop))
    }

    /// Counts anew what lies beyond the quota: what was there before may be the index as well, and
    /// then it is the half of all records that has less.
    fn count_beyond(&mut self) {
        let limit = self.quota.hard.unwrap_or(u64::MAX);
        let most = Allowance::Records.beyond(limit);
        self.beyond = self.used.all().saturating_sub(limit).min(most);
    }

    fn is_within(&self) -> bool {
        self.quota.hard.is_none_or(|limit| self.used.all() <= limit)
    }

    /// Notes what the store has now. True if somebody who was refused may ask again.
    fn set_used(&mut self, used: Used) -> bool {
        let before = self.used.all();
        self.used = used;
        if self.is_within() {
            self.beyond = 0;
        }
        self.refused.is_some() && self.used.all() < before
    }
}

/// Room that the store has and may have.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) used: Used,
    pub(crate) quota: Quota,
    /// Space that the disk has left; `None` if it does not say.
    pub(crate) space: Option<Space>,
    pub(crate) room: Room,
    /// Bytes that the store may have in all, as things are.
    pub(crate) limit: u64,
}

type Hook = Box<dyn Fn() + Send + Sync>;

/// The hook that is told when there is more room than there was.
#[derive(Default)]
struct Listener(RwLock<Option<Hook>>);

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

/// Grants room. The disk is asked when a credit that an earlier answer gave is used up, and
/// whenever the last answer was no: so puts go on by themselves once there is room.
#[derive(Debug)]
pub(crate) struct Budget {
    files: Arc<Files>,
    state: Mutex<State>,
    listener: Listener,
}

impl Budget {
    pub(crate) fn new(files: Arc<Files>, quota: Quota, used: Used) -> Budget {
        let mut state = State { quota, used, ..State::default() };
        state.count_beyond();
        Budget { files, state: Mutex::new(state), listener: Listener::default() }
    }

    /// From now on, `hook` is called when there is more room, if somebody was refused.
    pub(crate) fn listen(&self, hook: Hook) {
        *self.listener.0.write().unwrap_or_else(PoisonError::into_inner) = Some(hook);
    }

    fn tell(&self) {
        let listener = self.listener.0.read().unwrap_or_else(PoisonError::into_inner);
        listener.iter().for_each(|hook| hook());
    }

    fn set_used(&self, change: impl FnOnce(&mut Used)) {
        let mut state = self.lock();
        let mut used = state.used;
        change(&mut used);
        let grew = state.set_used(used);
        drop(state);
        if grew {
            self.tell();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn space(&self) -> Option<Space> {
        let space = self.files.disk.space(&self.files.dir);
        // A disk that does not say how much it has left refuses when it is full.
        space.inspect_err(|error| tracing::debug!(%error, "the disk's space is unknown")).ok()
    }

    /// Of a blob that lies in a file of its own: its directories may be new.
    pub(crate) fn claim_of_file(&self, len: u64) -> Claim {
        let bytes = len + entry_len(36) + mark_len();
        let inodes = 1 + u64::from(self.files.layout.levels());
        Claim { bytes, inodes, beyond: 0 }
    }

    pub(crate) fn set_quota(&self, quota: Quota) {
        let mut state = self.lock();
        state.quota = quota;
        state.credit = Claim::default();
        state.refused = None;
        state.count_beyond();
        drop(state);
        self.tell();
    }

    /// Takes room, until it is [`Budget::wrote`] and [`Budget::release`]d: the claim as it was
    /// granted, and true if the disk was asked.
    pub(crate) fn take(
        &self,
        claim: Claim,
        allowance: Allowance,
    ) -> Result<(Claim, bool), Shortage> {
        let mut state = self.lock();
        let taken = state.within_quota(claim, allowance).and_then(|beyond| {
            let asked = self.draw(&mut state, claim, allowance)?;
            Ok((Claim { beyond, ..claim }, asked))
        });
        match taken {
            Ok((granted, _)) => {
                let content = allowance == Allowance::None;
                if content && state.refused.is_some_and(|refused| refused.is_within(claim)) {
                    state.refused = None;
                }
                state.beyond = state.beyond.saturating_add(granted.beyond);
                state.used.coming = state.used.coming.saturating_add(claim.bytes);
                state.unwritten = state.unwritten.plus(granted);
            }
            Err(_) => {
                if allowance == Allowance::None {
                    state.refused = Some(claim);
                }
                state.credit = Claim::default();
            }
        }
        taken
    }

    fn draw(
        &self,
        state: &mut State,
        claim: Claim,
        allowance: Allowance,
    ) -> Result<bool, Shortage> {
        if claim.is_within(state.credit) {
            state.credit = state.credit.minus(claim);
            return Ok(false);
        }
        state.credit = Claim::default();
        if let Some(space) = self.space() {
            state.left(&space, claim, allowance)?;
            let left = state.left(&space, claim, Allowance::None).unwrap_or_default();
            state.credit = Claim {
                bytes: (left.bytes / CREDIT_PART).min(CREDIT_BYTES),
                inodes: (left.inodes / CREDIT_PART).min(CREDIT_INODES),
                beyond: 0,
            };
        }
        Ok(true)
    }

    /// Notes that what was granted is on the disk, or never will be.
    pub(crate) fn wrote(&self, claim: Claim) {
        let mut state = self.lock();
        state.unwritten = state.unwritten.minus(claim);
    }

    /// Gives back what was granted and will not be used. After [`Budget::wrote`].
    pub(crate) fn release(&self, claim: Claim) {
        // Nobody is told: what was kept in vain is no more room than there was.
        let mut state = self.lock();
        state.beyond = state.beyond.saturating_sub(claim.beyond);
        state.used.coming = state.used.coming.saturating_sub(claim.bytes);
    }

    /// True if so much would be granted now. Who is refused content hears when there is more room.
    pub(crate) fn fits(&self, claim: Claim, allowance: Allowance) -> bool {
        let space = self.space();
        let mut state = self.lock();
        let fits = state.may_grant(space.as_ref(), claim, allowance);
        if fits.is_err() && allowance == Allowance::None && state.refused.is_none() {
            state.refused = Some(claim);
        }
        fits.is_ok()
    }

    /// The disk said that it is full: it is asked again before more is granted.
    pub(crate) fn found_full(&self) {
        self.lock().credit = Claim::default();
    }

    /// Sets what the store has now; of what was granted, `arrived` is in it.
    pub(crate) fn settle(&self, files: u64, log: u64, arrived: Claim) {
        self.set_used(|used| {
            let coming = used.coming.saturating_sub(arrived.bytes);
            *used = Used { files, log, coming, index: used.index };
        });
    }

    pub(crate) fn set_index(&self, bytes: u64) {
        self.set_used(|used| used.index = bytes);
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
        space.is_some_and(|space| self.lock().left(&space, claim, Allowance::None).is_ok())
    }

    /// True if this much may be written for the store's own sake, and the reserve is whole after it. A
    /// disk that does not say what it has left may be tried.
    pub(crate) fn leaves_reserve(&self, claim: Claim) -> bool {
        let space = self.space();
        space.is_none_or(|space| self.lock().left(&space, claim, Allowance::None).is_ok())
    }

    /// Looks what the store has, what it may have, and what the disk has left.
    pub(crate) fn look(&self) -> Look {
        let space = self.space();
        let mut state = self.lock();
        let one = Claim { bytes: 1, inodes: 1, beyond: 0 };
        // What was asked for and is not granted counts in no figure.
        let claim = state.refused.unwrap_or(one);
        let within = state.may_grant(space.as_ref(), claim, Allowance::None);
        if within.is_ok() {
            state.refused = None;
        }
        let used = state.used.all();
        let room = match (within, state.quota.soft) {
            (Err(shortage), _) => Room::Refusing(shortage),
            (Ok(()), Some(soft)) if used > soft => Room::AboveSoft { used, soft },
            _ => Room::Enough,
        };
        let left = |space: &Space| state.left(space, Claim::default(), Allowance::None);
        let left =
            space.as_ref().map_or(u64::MAX, |space| left(space).map_or(0, |left| left.bytes));
        let limit = state.quota.hard.unwrap_or(u64::MAX).min(used.saturating_add(left));
        Look { used: state.used, quota: state.quota, space, room, limit }
    }
}
