//! `stash up`: the daemon's life.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::DumpableBehavior;
use stash_vault::Role;
use tokio::runtime::Builder;

use super::context::{Context, Finish};
use crate::api;
use crate::config::Arguments;
use crate::daemon::{Daemon, Served, Serving, Socket, home, limits, ready};
use crate::error::{Class, Problem};
use crate::output::{Output, short, visible};
use crate::signals::Signals;

/// Threads that still run when everything else has stopped get this long.
const THREADS: Duration = Duration::from_secs(1);

pub(super) fn run(context: Context, arguments: Arguments) -> anyhow::Result<Finish> {
    let Context { settings, output, .. } = context;
    // Keys are in memory: no core dumps, no debugger of the same user.
    if let Err(error) = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "this process can be dumped");
    }
    home::prepare(&settings, &output)?;
    let passphrase = home::passphrase(&settings)?;
    if arguments.up.detached {
        // The terminal was there for the passphrase. From here on, its end is none of the node.
        rustix::process::setsid().context("cannot leave the session of the terminal")?;
    }
    let socket = Socket::bind(&settings.socket.value)?;
    ready::remove_stale(&settings.data_dir.value);
    let daemon = Arc::new(Daemon::new(settings, arguments, passphrase));
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let end = runtime.block_on(Box::pin(live(&daemon, &socket, &output)));
    drop(socket);
    runtime.shutdown_timeout(THREADS);
    end
}

/// Serves until a signal or a client asks for the end.
async fn live(daemon: &Arc<Daemon>, socket: &Socket, output: &Output) -> anyhow::Result<Finish> {
    let served = home::serve(daemon).await?;
    let mut signals = Signals::install()?;
    let listener = socket.listener().context("cannot serve the socket")?;
    let serving = Serving::start(listener, api::router(Arc::clone(daemon)), daemon.stop.clone());
    greet(output, &served, socket);
    drop(served);
    daemon.joins.spawn(home::follow_role(Arc::clone(daemon)));
    daemon.joins.spawn(limits::follow(Arc::clone(daemon)));
    daemon.joins.spawn(api::notify::follow(Arc::clone(daemon)));
    tokio::select! {
        signal = signals.next() => tracing::info!(signal, "stopping"),
        () = daemon.stop.cancelled() => tracing::info!("stopping, as a client asked"),
    }
    tokio::select! {
        () = stop(daemon, serving) => Ok(Finish::Done),
        signal = signals.next() => Err(at_once(signal)),
    }
}

/// The stop: no new requests, operations end with an error that says why, answers go out, the store
/// is closed.
async fn stop(daemon: &Daemon, serving: Serving) {
    daemon.stop.cancel();
    if let Ok(served) = daemon.served() {
        served.cancel_operations();
    }
    serving.drain().await;
    daemon.joins.close();
    daemon.joins.wait().await;
    if let Some(served) = daemon.take() {
        served.close().await;
    }
}

fn at_once(signal: &str) -> anyhow::Error {
    Problem::new(Class::Cancelled, format!("stopped at once by {signal}")).into()
}

fn greet(output: &Output, served: &Served, socket: &Socket) {
    let engine = &served.node.engine;
    let (node, stash) = (engine.node_id().to_string(), engine.stash().to_string());
    let listen: Vec<String> = engine.listen().iter().map(ToString::to_string).collect();
    output.note(&format!(
        "serving node {} of stash {} on {}, local API on {}",
        short(&node),
        short(&stash),
        listen.join(", "),
        socket.path().display(),
    ));
    if let Some(label) = &served.label {
        output.note(&format!("it is called {}", visible(label)));
    }
    output.note(match engine.role() {
        Role::Keeper => "next: stash peers shows who is connected, stash status what is here",
        Role::Reader => "next: stash ls shows what is stored",
        Role::Owner if !served.node.is_founder() => "next: stash put PATH, or: stash ls",
        Role::Owner => "next: stash put PATH, or: stash invite --role owner, to add a machine",
    });
}
