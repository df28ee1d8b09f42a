//! At most one line a second for what strangers can cause.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Shortest pause between two lines.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct LogLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl LogLimit {
    /// The number of lines left out since the last one, if a line may be written now.
    pub(crate) fn allow(&self) -> Option<u64> {
        let mut state = self.0.lock().ok()?;
        if state.last.is_some_and(|last| last.elapsed() < PAUSE) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(Instant::now());
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Fault case 47.
    #[tokio::test(start_paused = true)]
    async fn a_flood_leaves_one_line_a_second() {
        let limit = LogLimit::default();
        assert_eq!(limit.allow(), Some(0));
        for _ in 0..1000 {
            assert_eq!(limit.allow(), None);
        }
        tokio::time::advance(PAUSE).await;
        assert_eq!(limit.allow(), Some(1000));
    }
}
