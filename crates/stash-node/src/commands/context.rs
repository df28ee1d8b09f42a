//! The context of a command, its runtime and its end.

use std::future::Future;
use std::process::ExitCode;

use stash_api::{Client, ClientError};
use tokio::runtime::{Builder, Runtime};

use crate::config::Settings;
use crate::daemon;
use crate::error::{Class, Problem, exit_status};
use crate::output::{Output, say};
use crate::paths;
use crate::signals::Signals;

/// The end of a command that gave its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// All of it is done.
    Done,
    /// It is done, less what this class says.
    With(Class),
}

impl From<Finish> for ExitCode {
    fn from(finish: Finish) -> Self {
        match finish {
            Finish::Done => Self::SUCCESS,
            Finish::With(class) => Self::from(exit_status(class)),
        }
    }
}

/// State that every command needs.
pub(super) struct Context {
    pub(super) settings: Settings,
    pub(super) output: Output,
    /// The number of times that `--verbose` was said.
    pub(super) verbose: u8,
}

impl Context {
    pub(super) fn client(&self) -> Result<Client, Problem> {
        let socket = &self.settings.socket.value;
        paths::check_socket(socket)?;
        let client = Client::new(socket);
        Ok(match self.output.notes() {
            true => client.telling_of_waits(|socket| {
                say(&format!("waiting for an answer of the node at {}", socket.display()));
            }),
            false => client,
        })
    }

    /// The process that serves the socket, as far as the lock beside it tells.
    pub(super) fn holder(&self) -> Option<u32> {
        daemon::socket_holder(&self.settings.socket.value)
    }

    /// Says of an error of the client which process it is about.
    pub(super) fn unanswered(&self, error: anyhow::Error) -> anyhow::Error {
        let Some(pid) = self.holder() else {
            return match error.downcast_ref::<ClientError>() {
                Some(client @ ClientError::NotRunning { .. }) => {
                    let start = self.settings.typed("up");
                    Problem::from(client).hint(format!("start it with: {start}")).into()
                }
                _ => error,
            };
        };
        let socket = self.settings.socket.value.display();
        match error.downcast_ref::<ClientError>() {
            Some(ClientError::NotRunning { .. }) => {
                let message =
                    format!("process {pid} serves this stash, and its socket {socket} is gone");
                Problem::new(Class::Temporary, message)
                    .hint(format!(
                        "stop it (kill {pid}), then start it again: {}",
                        self.settings.typed("up")
                    ))
                    .into()
            }
            Some(ClientError::Silent) => {
                let message =
                    format!("the stash daemon (process {pid}) does not answer at {socket}");
                Problem::new(Class::Temporary, message)
                    .hint(format!(
                        "it may be stopped (kill -CONT {pid} lets it go on) or overloaded; see its log"
                    ))
                    .into()
            }
            _ => error,
        }
    }
}

/// Commands that work in the data directory themselves need a whole runtime, clients one thread.
pub(super) fn client_runtime(whole: bool) -> std::io::Result<Runtime> {
    let mut builder =
        if whole { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    builder.enable_all().build()
}

/// Runs `command` until it ends or a signal cancels it. Dropping it closes its connection, at which
/// the daemon abandons what it did for it.
pub(super) fn with_signals(
    runtime: Runtime,
    command: impl Future<Output = anyhow::Result<Finish>>,
) -> anyhow::Result<Finish> {
    let end = runtime.block_on(async {
        let mut signals = Signals::install()?;
        tokio::select! {
            finish = command => finish,
            signal = signals.next() => {
                let message = format!("cancelled by {signal}");
                Err(Problem::new(Class::Cancelled, message).into())
            }
        }
    });
    // A thread may still wait for a line of stdin that nobody will type.
    runtime.shutdown_background();
    end
}
