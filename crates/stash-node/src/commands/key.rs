//! `stash key`.

use serde::Serialize;
use stash_api::node::{Recovery, Status};

use super::context::{Context, Finish};
use crate::cli::KeyCommand;
use crate::output::{Side, table};

/// `stash key show --json`.
#[derive(Serialize)]
struct Ids {
    node_id: String,
    stash_id: String,
    role: String,
}

pub(super) async fn run(context: &Context, what: KeyCommand) -> anyhow::Result<Finish> {
    let client = context.client()?;
    match what {
        KeyCommand::Recovery => {
            let recovery = client.get(&Recovery::route()).await?;
            context.output.result(&recovery, |r| format!("{}\n", r.recovery.trim_end()))?;
            context.output.note(
                "whoever has this text has the stash: write it down, keep it away from this machine",
            );
        }
        KeyCommand::Show => {
            let status = client.get(&Status::route()).await?;
            let Status { node_id, stash_id, role, .. } = status;
            let ids = Ids { node_id, stash_id, role };
            context.output.result(&ids, |ids| {
                let rows = [("node", &ids.node_id), ("stash", &ids.stash_id), ("role", &ids.role)];
                let rows = rows.map(|(name, value)| vec![name.to_owned(), value.clone()]);
                table(&[Side::Left, Side::Left], &rows)
            })?;
        }
    }
    Ok(Finish::Done)
}
