//! A bar on the terminal for an operation that takes a while.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use stash_api::operation::Progress;

const KNOWN: &str = "{msg} {bytes}/{total_bytes} [{bar:30}] {binary_bytes_per_sec} {eta}";
const UNKNOWN: &str = "{spinner} {msg} {bytes} {binary_bytes_per_sec}";

/// Drawn on stderr, erased at the end; draws nothing where nobody looks.
pub(crate) struct Bar {
    bar: ProgressBar,
    known: bool,
    noun: &'static str,
}

impl Bar {
    /// A bar that is drawn if `visible`.
    pub(crate) fn new(visible: bool, noun: &'static str) -> Self {
        let target =
            if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target).with_style(style(UNKNOWN));
        bar.set_message(noun);
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar, known: false, noun }
    }

    /// Shows how far the operation is.
    pub(crate) fn show(&mut self, progress: Progress) {
        if let Some(total) = progress.total_bytes.filter(|total| *total > 0) {
            if !self.known {
                self.bar.set_style(style(KNOWN));
                self.known = true;
            }
            self.bar.set_length(total);
        }
        self.bar.set_position(progress.bytes);
        if progress.files > 0 {
            let files = crate::output::count(progress.files, "file");
            self.bar.set_message(format!("{} {files}", self.noun));
        }
    }

    /// Counts more bytes of a stream whose length nobody knows.
    pub(crate) fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_templates_are_valid() {
        for template in [KNOWN, UNKNOWN] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn a_total_that_appears_later_gives_the_bar_its_length() {
        let mut bar = Bar::new(false, "put");
        bar.show(Progress { files: 0, bytes: 5, total_bytes: None });
        assert_eq!((bar.bar.position(), bar.bar.length()), (5, None));
        bar.show(Progress { files: 1, bytes: 7, total_bytes: Some(10) });
        assert_eq!((bar.bar.position(), bar.bar.length()), (7, Some(10)));
    }
}
