//! Locks whose holders keep their content whole.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex whose holders keep its content whole even when they panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
