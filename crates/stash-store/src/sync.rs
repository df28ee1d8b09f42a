//! The locks and threads of the crate, in one place, so that a model checker can stand in for
//! them: with `--cfg shuttle`, it decides who runs next.

#[cfg(not(shuttle))]
pub(crate) use std::{
    sync::{
        Condvar, Mutex, MutexGuard, RwLock,
        atomic::{AtomicU64, AtomicUsize},
        mpsc,
    },
    thread,
};

#[cfg(shuttle)]
pub(crate) use shuttle::{
    sync::{
        Condvar, Mutex, MutexGuard, RwLock,
        atomic::{AtomicU64, AtomicUsize},
        mpsc,
    },
    thread,
};

pub(crate) use std::sync::{Arc, PoisonError, atomic::Ordering};

/// Takes a lock, also one that somebody panicked with: what it guards is changed in whole steps.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on a condition, with the lock given up meanwhile.
pub(crate) fn wait<'a, T>(changed: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Starts a thread that nobody waits for; false if the system has none left.
pub(crate) fn start(work: impl FnOnce() + Send + 'static) -> bool {
    thread::Builder::new().name("stash-syncer".to_owned()).spawn(work).is_ok()
}
