//! `stash invite`, `stash join` and `stash peers`.

use std::io::Read;

use anyhow::Context as _;
use stash_vault::Ticket;

use super::put::short;
use super::{Context, Finish};
use crate::body::{InviteDone, InviteRequest, JoinDone, JoinRequest, Peer, Peers};
use crate::cli::{Invite, Join};
use crate::config::Origin;
use crate::daemon;
use crate::error::Problem;
use crate::output::{Side, table, visible};

/// Bytes of a ticket on stdin, far more than any has.
const TICKET_MAX: u64 = 16 * 1024;

pub(super) async fn invite(context: &Context, invite: Invite) -> anyhow::Result<Finish> {
    let request = InviteRequest {
        role: invite.role.word().to_owned(),
        expires_seconds: invite.expires.as_secs(),
    };
    let done: InviteDone = context.client()?.post("/v1/invite", &request).await?;
    context.output.result(&done, |done| format!("{}\n", done.ticket))?;
    if !context.output.json() {
        let role = invite.role.word();
        let expires = &done.expires;
        context.output.note(&format!(
            "good for one {role} until {expires}; on the other machine: stash join TICKET"
        ));
    }
    Ok(Finish::Done)
}

pub(super) async fn join(context: &Context, join: Join) -> anyhow::Result<Finish> {
    let text = if join.ticket == "-" { from_stdin().await? } else { join.ticket };
    let ticket: Ticket = text.trim().parse().map_err(|e| {
        Problem::usage(format!("this is not a whole ticket: {e}"))
            .hint("compare it with what stash invite printed")
    })?;
    let client = context.client()?;
    let settings = &context.settings;
    let runs = client.daemon_runs().await;
    let done = if runs {
        // A name that nobody chose here is not better than the one the daemon was started with.
        let chosen = settings.name.origin != Origin::Default;
        let name = chosen.then(|| settings.name.value.clone());
        let request = JoinRequest { ticket: text.trim().to_owned(), name };
        client.operate("/v1/join", &request, |_| {}).await?
    } else {
        daemon::home::join(settings, &ticket).await?
    };
    context.output.result(&done, |done: &JoinDone| {
        format!("joined stash {} as {}\n", short(&done.stash_id), done.role)
    })?;
    if !runs {
        context.output.note("serve it with: stash up");
    }
    Ok(Finish::Done)
}

async fn from_stdin() -> anyhow::Result<String> {
    let read = tokio::task::spawn_blocking(|| {
        let mut text = String::new();
        std::io::stdin().take(TICKET_MAX).read_to_string(&mut text)?;
        std::io::Result::Ok(text)
    });
    read.await?.context("cannot read the ticket from stdin")
}

pub(super) async fn peers(context: &Context) -> anyhow::Result<Finish> {
    let peers: Peers = context.client()?.get("/v1/peers").await?;
    context.output.result(&peers, |peers| {
        let rows: Vec<Vec<String>> = peers.peers.iter().map(row).collect();
        table(&[Side::Left; 5], &rows)
    })?;
    Ok(Finish::Done)
}

fn row(peer: &Peer) -> Vec<String> {
    let state = match (peer.this, peer.connected) {
        (true, _) => "this node",
        (false, true) if peer.in_doubt_since.is_some() => "connected, IN DOUBT",
        (false, true) => "connected",
        (false, false) => "not connected",
    };
    let addresses: Vec<String> = peer.addresses.iter().map(ToString::to_string).collect();
    vec![
        short(&peer.node_id).to_owned(),
        visible(peer.name.as_deref().unwrap_or("-")),
        peer.role.clone(),
        state.to_owned(),
        addresses.join(", "),
    ]
}
