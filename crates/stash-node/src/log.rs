//! The log: to stderr, without names, keys and contents at any level. A line that cannot be written is
//! dropped: a full disk or a pipe without a reader stops the log and never the node.

mod repeats;

use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::Global;
use crate::error::Problem;
use crate::output;
use repeats::Repeats;

/// Starts the log. The flags choose a level unless the settings have a whole filter.
pub(crate) fn init(filter: Option<&str>, global: &Global, serves: bool) -> Result<(), Problem> {
    let level = level(global, serves);
    let filter = EnvFilter::builder()
        .parse(filter.unwrap_or(level))
        .map_err(|e| Problem::usage(format!("the log filter will not do: {e}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Lossy::new(io::stderr(), &LOST))
        // How long a part of a chunk's way took: with `chunk=debug` in the filter.
        .with_span_events(FmtSpan::CLOSE)
        // It would tell of a failed write with `eprintln!`, which panics then.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .finish()
        .with(Repeats::new(left_out))
        .init();
    if serves {
        std::panic::set_hook(Box::new(panicked));
    }
    Ok(())
}

/// Says how many lines were left out that are like the next one.
fn left_out(lines: u64) {
    let note = format!("{} like the next one left out\n", output::count(lines, "line"));
    let _never_fails = Lossy::new(io::stderr(), &LOST).write_all(note.as_bytes());
}

fn level(global: &Global, serves: bool) -> &'static str {
    match (global.verbose, global.quiet, serves) {
        (0, false, true) => "info",
        (0, false, false) | (0, true, true) => "warn",
        (0, true, false) => "error",
        (1, ..) => "debug,chunk=info",
        _ => "trace,chunk=info",
    }
}

/// Lines of this process's log that could not be written since the last one that could.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Writes each line as a whole or drops it, and says how many were dropped once it can again.
struct Lossy<'a, W> {
    to: W,
    lost: &'a AtomicU64,
}

impl<'a, W: Write> Lossy<'a, W> {
    fn new(to: W, lost: &'a AtomicU64) -> Self {
        Self { to, lost }
    }
}

impl<W: Write> Write for Lossy<'_, W> {
    /// Takes all of the line, whatever becomes of it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        // A line may have been cut off: the note begins a new one.
        let note = (lost > 0).then(|| {
            format!("\n{} of the log could not be written\n", output::count(lost, "line"))
        });
        let note = note.map_or(Ok(()), |note| self.to.write_all(note.as_bytes()));
        if note.and_then(|()| self.to.write_all(line)).is_err() {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says where a panic happened. Its own words may hold a name; the place holds none. A panic in here
/// would end the process, so it goes past everything that has state: straight to stderr.
fn panicked(panic: &PanicHookInfo<'_>) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = output::time(i64::try_from(since.as_secs()).unwrap_or(0));
    let line = match panic.location() {
        Some(place) => format!("{now} ERROR stash: a task panicked place=\"{place}\"\n"),
        None => format!("{now} ERROR stash: a task panicked\n"),
    };
    let _nobody_reads = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes in all, as a disk does that fills.
    struct Disk {
        room: usize,
        holds: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.room);
            self.holds.extend_from_slice(&bytes[..taken]);
            self.room -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_do_not_fit_are_dropped_and_counted_once_there_is_room_again() {
        let (mut disk, lost) = (Disk { room: 6, holds: Vec::new() }, AtomicU64::new(0));
        for line in ["one\n", "two\n", "three\n"] {
            Lossy::new(&mut disk, &lost).write_all(line.as_bytes()).unwrap();
        }
        disk.room = 1_000;
        for line in ["four\n", "five\n"] {
            Lossy::new(&mut disk, &lost).write_all(line.as_bytes()).unwrap();
        }
        let text = String::from_utf8(disk.holds).unwrap();
        assert_eq!(text, "one\ntw\n2 lines of the log could not be written\nfour\nfive\n");
    }
}
