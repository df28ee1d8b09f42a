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
