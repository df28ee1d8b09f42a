//! Ctrl-C, SIGTERM and SIGHUP become a flag that every wait looks at, so that guards stop the children.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// The time for which a wait may sleep before it looks at the flag again.
pub const LOOK: Duration = Duration::from_millis(100);

/// Starts the thread that turns signals into the flag. A second signal ends the process at once; nodes die with it,
/// since they are started through `guard.rs`.
pub fn watch() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot start the signal watcher")?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                if REQUESTED.swap(true, Ordering::SeqCst) {
                    std::process::exit(130);
                }
            }
        });
    })?;
    Ok(())
}

/// True once a signal came.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Fails once a signal came.
pub fn check() -> Result<()> {
    if requested() {
        bail!("interrupted");
    }
    Ok(())
}

/// Blocks until a signal comes.
pub fn wait() {
    while !requested() {
        thread::sleep(LOOK);
    }
}
