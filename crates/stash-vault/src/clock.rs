//! The wall clock that dates versions: an argument, so that a test can be wrong about the time.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The clock by which versions are dated. The system's by default. Nothing is ordered by it.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// A clock of the caller's.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Clock {
        Clock(Arc::new(now))
    }

    /// Seconds and nanoseconds since 1970; `None` from a clock that is before it, and so is wrong.
    pub(crate) fn now(&self) -> Option<(i64, u32)> {
        let now = (self.0)().duration_since(UNIX_EPOCH).ok()?;
        Some((i64::try_from(now.as_secs()).ok()?, now.subsec_nanos()))
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new(SystemTime::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?})", self.now())
    }
}
