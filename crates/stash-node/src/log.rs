//! The log: to stderr, without names, keys and contents at any level.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::Global;
use crate::error::Problem;

/// Starts the log. The flags choose a level unless the settings have a whole filter.
pub(crate) fn init(filter: Option<&str>, global: &Global, serves: bool) -> Result<(), Problem> {
    let level = level(global, serves);
    let filter = EnvFilter::builder()
        .parse(filter.unwrap_or(level))
        .map_err(|e| Problem::usage(format!("the log filter will not do: {e}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .init();
    if serves {
        log_panics();
    }
    Ok(())
}

fn level(global: &Global, serves: bool) -> &'static str {
    match (global.verbose, global.quiet, serves) {
        (0, false, true) => "info",
        (0, false, false) | (0, true, true) => "warn",
        (0, true, false) => "error",
        (1, ..) => "debug",
        _ => "trace",
    }
}

/// A panic's own words may hold a name; where it happened holds none.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place = place.as_deref().unwrap_or("unknown"), "a task panicked");
    }));
}
