//! The locks of the crate, in one place, so that a model checker can stand in for them.

pub(crate) use std::sync::{Arc, PoisonError, RwLock};
