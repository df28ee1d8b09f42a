//! A line on the terminal for an operation that takes a while.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use stash_api::operation::Progress;

use crate::output::{count, grouped, size};

/// What does not fit into the width of the terminal is cut off.
const LINE: &str = "{wide_msg}";

/// Drawn on stderr, erased at the end; draws nothing where nobody looks.
pub(crate) struct Bar {
    bar: ProgressBar,
    noun: &'static str,
    far: Progress,
}

impl Bar {
    /// A line that is drawn if `visible`.
    pub(crate) fn new(visible: bool, noun: &'static str) -> Self {
        let target =
            if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target).with_style(style());
        bar.set_message(noun);
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar, noun, far: Progress::default() }
    }

    /// Shows how far the operation is.
    pub(crate) fn show(&mut self, far: Progress) {
        self.far = far;
        self.bar.set_position(far.bytes);
        if let Some(total) = far.total_bytes {
            self.bar.set_length(total);
        }
        // The rate is that of the last seconds, and finite: nothing counts bytes below zero.
        let rate = self.bar.per_sec().round().max(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates"
        )]
        let text = line(self.noun, far, rate as u64, self.bar.eta());
        self.bar.set_message(text);
    }

    /// Counts more bytes of a stream whose length nobody knows.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.show(Progress { bytes: self.far.bytes + bytes, ..self.far });
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template(LINE).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// How far an operation is, what matters most first: a narrow terminal shows the beginning.
fn line(noun: &str, far: Progress, rate: u64, left: Duration) -> String {
    let bytes = size(far.bytes);
    let mut parts = vec![noun.to_owned()];
    match far.total_bytes.filter(|total| *total > 0) {
        Some(total) if far.growing => parts.push(format!("{bytes} of {} or more", size(total))),
        Some(total) => {
            // At most 100 %, whatever is counted twice.
            let percent = u128::from(far.bytes.min(total)) * 100 / u128::from(total);
            parts.push(format!("{percent} %"));
            parts.push(format!("of {}", size(total)));
        }
        None if far.bytes > 0 => parts.push(bytes),
        None => {}
    }
    if rate > 0 {
        parts.push(format!("{}/s", size(rate)));
        if far.total_bytes.is_some() && !far.growing {
            parts.push(format!("{} left", span(left)));
        }
    }
    if far.files > 0 {
        let noun = count(far.files, "file");
        let noun = noun.split_once(' ').map_or("files", |(_, noun)| noun);
        parts.push(format!("{} {noun}", grouped(far.files)));
    }
    parts.join(" ")
}

/// A span of time in its largest unit.
fn span(left: Duration) -> String {
    match left.as_secs() {
        seconds @ 0..100 => format!("{seconds} s"),
        seconds @ 100..6_000 => format!("{} min", seconds / 60),
        seconds @ 6_000..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn far(bytes: u64, total_bytes: Option<u64>, growing: bool) -> Progress {
        Progress { files: 1_203, bytes, total_bytes, growing }
    }

    #[test]
    fn the_template_is_valid() {
        assert!(ProgressStyle::with_template(LINE).is_ok());
    }

    #[test]
    fn what_matters_most_fits_into_forty_columns() {
        let known =
            line("put", far(34 << 20, Some(64 << 20), false), 12 << 20, Duration::from_secs(3));
        assert_eq!(known, "put 53 % of 64.0 MiB 12.0 MiB/s 3 s left 1,203 files");
        assert!(known.find(" 1,203").is_some_and(|at| at <= 40), "{known}");
        let largest = far(1023 << 40, Some(1023 << 40), false);
        let largest = line("undelete", largest, 1023 << 20, Duration::from_secs(5_999));
        assert!(largest[..40].starts_with("undelete 100 % of 1023.0 TiB 1023.0 MiB"), "{largest}");
    }

    #[test]
    fn a_total_that_grows_gives_no_share_and_no_end() {
        let growing = line("put", far(34 << 20, Some(64 << 20), true), 12 << 20, Duration::MAX);
        assert_eq!(growing, "put 34.0 MiB of 64.0 MiB or more 12.0 MiB/s 1,203 files");
        let unknown = line("put", Progress { files: 0, ..far(5, None, false) }, 0, Duration::ZERO);
        assert_eq!(unknown, "put 5 B");
    }

    #[test]
    fn bytes_of_a_stream_add_up() {
        let mut bar = Bar::new(false, "put");
        bar.add(5);
        bar.add(7);
        assert_eq!((bar.bar.position(), bar.far.bytes), (12, 12));
    }
}
