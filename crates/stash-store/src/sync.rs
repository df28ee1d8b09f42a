//! The locks and shared pointers that the store is built from.

pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
