//! A log of events in a file of the run, for whoever has to find out why something did not hold.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

#[derive(Debug)]
pub(super) struct Events {
    begun: Instant,
    file: File,
}

impl Events {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        Ok(Self { begun: Instant::now(), file })
    }

    /// Writes a line; a full disk must not stop the run.
    pub(super) fn note(&mut self, text: &str) {
        let at = self.begun.elapsed().as_secs_f64();
        writeln!(self.file, "{at:9.3} {}", text.replace('\n', " | ")).ok();
    }
}
