//! The core, and which thread has it.

use std::ops::{Deref, DerefMut};

use crate::sync::{Mutex, MutexGuard, PoisonError, thread};

use super::{Core, lock};

/// A lock that can say whether the calling thread has it, without trying it: who finds a lock that
/// is only tried taken would leave its batch to somebody who does not look for one.
#[derive(Debug)]
pub(crate) struct CoreLock {
    core: Mutex<Core>,
    owner: Mutex<Option<thread::ThreadId>>,
}

impl CoreLock {
    pub(crate) fn new(core: Core) -> CoreLock {
        CoreLock { core: Mutex::new(core), owner: Mutex::new(None) }
    }

    pub(crate) fn lock(&self) -> CoreGuard<'_> {
        self.owned(self.core.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `None` if somebody has it, or panicked while having it.
    pub(crate) fn try_lock(&self) -> Option<CoreGuard<'_>> {
        Some(self.owned(self.core.try_lock().ok()?))
    }

    /// Whether the calling thread has it.
    pub(crate) fn is_mine(&self) -> bool {
        *lock(&self.owner) == Some(thread::current().id())
    }

    fn owned<'a>(&'a self, core: MutexGuard<'a, Core>) -> CoreGuard<'a> {
        *lock(&self.owner) = Some(thread::current().id());
        CoreGuard { owner: &self.owner, core }
    }
}

#[derive(Debug)]
pub(crate) struct CoreGuard<'a> {
    owner: &'a Mutex<Option<thread::ThreadId>>,
    core: MutexGuard<'a, Core>,
}

impl Drop for CoreGuard<'_> {
    fn drop(&mut self) {
        // Before the core is given up: the next owner's name must stay.
        *lock(self.owner) = None;
    }
}

impl Deref for CoreGuard<'_> {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl DerefMut for CoreGuard<'_> {
    fn deref_mut(&mut self) -> &mut Core {
        &mut self.core
    }
}
