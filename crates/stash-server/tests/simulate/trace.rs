//! The trace of events, in order: a hash of all of it, and lines for people.

use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use crate::network::lock;

/// The trace of one schedule. Clones share it.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<Lines>>);

struct Lines {
    begun: Instant,
    hash: blake3::Hasher,
    lines: Vec<String>,
}

impl Trace {
    pub(crate) fn new() -> Trace {
        let (begun, hash) = (Instant::now(), blake3::Hasher::new());
        Trace(Arc::new(Mutex::new(Lines { begun, hash, lines: Vec::new() })))
    }

    /// Notes what the schedule does, or what came of it.
    pub(crate) fn line(&self, line: &str) {
        let mut lines = lock(&self.0);
        let at = lines.begun.elapsed().as_secs_f64();
        let line = format!("{at:>10.3} s  {line}");
        lines.hash.update(line.as_bytes());
        lines.lines.push(line);
    }

    /// Notes bytes that left a machine.
    pub(crate) fn sent(&self, from: usize, to: usize, bytes: &[u8]) {
        let mut lines = lock(&self.0);
        let at = lines.begun.elapsed().as_micros().to_le_bytes();
        lines.hash.update(&at);
        lines.hash.update(&from.to_le_bytes());
        lines.hash.update(&to.to_le_bytes());
        lines.hash.update(bytes);
    }

    /// The hash of everything so far.
    pub(crate) fn hash(&self) -> blake3::Hash {
        lock(&self.0).hash.finalize()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        lock(&self.0).lines.clone()
    }
}
