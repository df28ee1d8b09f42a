//! The locks of the crate, so that a model checker can stand in for them: with `--cfg shuttle`, it decides
//! who runs next.

#[cfg(not(shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard};

pub(crate) use std::sync::{Arc, PoisonError};
