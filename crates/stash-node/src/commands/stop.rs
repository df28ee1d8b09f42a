//! `stash stop`.

use std::time::{Duration, Instant};

use serde::Serialize;
use stash_api::ClientError;
use stash_api::node::{Shutdown, Version};

use super::context::{Context, Finish};
use crate::daemon::ready;
use crate::error::{Class, Problem};

/// The longest wait for the end of the process. A stop takes 20 s at most, unless a join is under way.
const END: Duration = Duration::from_secs(60);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// `stash stop --json`.
#[derive(Serialize)]
struct Stopped {
    /// The process that has ended; null if none ran.
    pid: Option<u32>,
}

pub(super) async fn run(context: &Context) -> anyhow::Result<Finish> {
    let client = context.client()?;
    let pid = match client.get(&Version::route()).await {
        Ok(version) => Some(version.pid),
        Err(error @ ClientError::NotRunning { .. }) => match context.holder() {
            // It runs, and cannot be asked.
            Some(_) => return Err(error.into()),
            None => None,
        },
        Err(error) => return Err(error.into()),
    };
    if let Some(pid) = pid {
        client.call(&Shutdown {}).await?;
        end_of(pid).await?;
    }
    context.output.done(&Stopped { pid }, |stopped| match stopped.pid {
        Some(pid) => format!("stopped process {pid}\n"),
        None => "no node runs\n".to_owned(),
    })?;
    Ok(Finish::Done)
}

/// Waits until a process has ended that is no child.
async fn end_of(pid: u32) -> anyhow::Result<()> {
    let told = Instant::now();
    while ready::runs(pid) {
        if told.elapsed() > END {
            let message = format!("process {pid} was told to stop, and has not ended in {END:?}");
            return Err(Problem::new(Class::Temporary, message)
                .hint("its log says what it waits for; a kill does no harm to what is stored")
                .into());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
