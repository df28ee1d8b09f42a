//! The locks of the crate, in one place, so that a model checker can stand in for them: with `--cfg shuttle`,
//! it decides who runs next.

#[cfg(not(shuttle))]
pub(crate) use std::sync::{
    Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicBool, AtomicU64},
};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{
    Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicBool, AtomicU64},
};

pub(crate) use std::sync::{Arc, PoisonError, atomic::Ordering};
