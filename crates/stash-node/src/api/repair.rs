//! Counting copies, and making good what is missing.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use stash_api::repair::{RepairDone, RepairMember, RepairRequest, RepairState};
use stash_vault::NodeId;
use stash_vault::server::housekeeping::{MemberCopies, RepairStatus};

use super::answer::Document;
use super::operation;
use super::upkeep::moment;
use crate::daemon::{Daemon, Served};
use crate::error::Problem;

/// `POST /v1/repair`.
pub(super) async fn repair(
    State(daemon): State<Arc<Daemon>>,
    Document(request): Document<RepairRequest>,
) -> Result<Response, Problem> {
    let served = daemon.served()?;
    let node = Arc::clone(&served);
    let dry_run = request.dry_run;
    operation::run(served.place(), move |progress| async move {
        let engine = &node.node.engine;
        let repaired = engine.repair(dry_run, |_| !progress.cancelled()).await?;
        let found = repaired.found;
        let members = found.members.into_iter().map(|(id, copies)| member(&node, id, &copies));
        Ok(RepairDone {
            dry_run,
            records: found.records,
            copies: found.copies,
            below: found.below,
            incomplete: found.incomplete,
            brought_back: found.brought_back,
            completed: repaired.completed,
            left: repaired.left,
            members: members.collect(),
        })
    })
    .await
}

fn member(served: &Served, id: NodeId, copies: &MemberCopies) -> RepairMember {
    let members = served.node.engine.members();
    let name = members.iter().find(|member| member.node == id);
    RepairMember {
        node_id: id.to_string(),
        name: name.and_then(|member| served.display_name(member)),
        asked: copies.asked,
        counts: copies.counts,
        whole: copies.whole,
        incomplete: copies.incomplete,
        absent: copies.absent,
        given_up: copies.given_up,
        unknown: copies.unknown,
    }
}

pub(super) fn state(status: &RepairStatus) -> RepairState {
    RepairState {
        running: status.running,
        last: status.ended_at.map(moment),
        copies: status.last.as_ref().map(|found| found.copies),
        below: status.last.as_ref().map(|found| found.below),
    }
}
