//! The wall clock, read only by drivers: for expiry of tickets and for counters, never for order.

use std::time::{SystemTime, UNIX_EPOCH};

fn since_epoch() -> std::time::Duration {
    // A clock before 1970 is wrong; zero makes nothing expire that should not.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds since 1970.
pub(crate) fn seconds() -> u64 {
    since_epoch().as_secs()
}

/// Microseconds since 1970.
pub(crate) fn micros() -> u64 {
    u64::try_from(since_epoch().as_micros()).unwrap_or(u64::MAX)
}
