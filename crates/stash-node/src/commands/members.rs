//! `stash invite`, `stash join`, `stash peers` and `stash peer`.

use std::io::{IsTerminal, Read};

use anyhow::Context as _;
use stash_api::members::{
    InviteRequest, JoinDone, JoinRequest, Peer, PeerAddress, PeerPath, PeerRemove, PeerRole, Peers,
    RemovedPeer,
};
use stash_vault::Ticket;

use super::context::{Context, Finish};
use super::remove::confirmed;
use super::tickets;
use crate::cli::{self, Invite, Join, PeerCommand};
use crate::config::Origin;
use crate::daemon;
use crate::daemon::joining::Here;
use crate::error::{Class, Problem};
use crate::output::{Side, full_sentence, kept, short, table, visible};
use crate::units::Place;
use crate::zone::local;

/// Bytes of a ticket on stdin, far more than any has.
const TICKET_MAX: u64 = 16 * 1024;

pub(super) async fn invite(context: &Context, invite: Invite) -> anyhow::Result<Finish> {
    let request = InviteRequest {
        role: invite.role.to_string(),
        expires_seconds: invite.expires.as_secs(),
        alone: invite.alone,
    };
    let done = context.client()?.call(&request).await?;
    context.output.done(&done, |done| format!("{}\n", done.ticket))?;
    if !context.output.json() {
        let role = invite.role;
        let expires = local(&done.expires);
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
            .hint("compare it with what the inviting node printed")
    })?;
    let client = context.client()?;
    let settings = &context.settings;
    let runs = client.daemon_runs().await;
    if runs && join.keep.is_some() {
        let message = "the node runs, and takes --keep at its start only";
        let hint =
            "stop it first: `stash stop`; or leave --keep out, and set keep in its configuration";
        return Err(Problem::usage(message).hint(hint).into());
    }
    let done = if runs {
        // A name that nobody chose here is not better than the one the daemon was started with.
        let chosen = settings.name.origin != Origin::Default;
        let name = chosen.then(|| settings.name.value.clone());
        let request = JoinRequest { ticket: text.trim().to_owned(), name, label: join.label };
        client.operate(&request, |_| {}).await?
    } else {
        let here = Here { label: join.label.as_deref(), keep: join.keep };
        daemon::joining::join(settings, &ticket, here, &context.output).await?
    };
    context.output.done(&done, |done: &JoinDone| match &done.addresses_of {
        None => format!("joined stash {} as {}\n", short(&done.stash_id), done.role),
        Some(member) => format!(
            "this node is a member already; it dials {} at the addresses of the ticket now\n",
            short(member)
        ),
    })?;
    if !runs {
        context.output.note(&format!("serve it with: {}", settings.typed("up")));
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

pub(super) async fn peers(context: &Context, which: &cli::Peers) -> anyhow::Result<Finish> {
    let peers = context.client()?.get(&Peers::route()).await?;
    context.output.result(&peers, |peers| {
        let rows: Vec<Vec<String>> = match which.removed {
            true => peers.removed.iter().map(removed_row).collect(),
            false => peers.peers.iter().map(row).collect(),
        };
        table(&[Side::Left; 5], &rows)
    })?;
    Ok(Finish::Done)
}

/// `stash peer remove`, `stash peer role` and `stash peer address`.
pub(super) async fn change(context: &Context, what: PeerCommand) -> anyhow::Result<Finish> {
    let client = context.client()?;
    let done = match what {
        PeerCommand::Address { name, places, .. } => return address(context, name, places).await,
        PeerCommand::Remove { name: peer, yes, alone } => {
            if !yes {
                may_remove(&peer).await?;
            }
            client.call(&PeerRemove { peer, alone }).await?
        }
        PeerCommand::Role { name: peer, role, alone } => {
            let role = role.to_string();
            client.call(&PeerRole { peer, role, alone }).await?
        }
    };
    context.output.done(&done, |done| {
        let name = visible(done.name.as_deref().unwrap_or(short(&done.node_id)));
        match &done.role {
            None => format!("removed {name}; keys of epoch {} are in use\n", done.epoch),
            Some(role) => format!("{name} is {role} now\n"),
        }
    })?;
    if !context.output.json() && !done.silent.is_empty() {
        let silent: Vec<&str> = done.silent.iter().map(|node| short(node)).collect();
        context.output.note(&format!(
            "could not be asked: {}; what only they hold of it is set aside when they are back",
            silent.join(", ")
        ));
    }
    if let Some(open) = tickets::warning(&done.open_tickets).filter(|_| !context.output.json()) {
        context.output.note(&open);
    }
    Ok(Finish::Done)
}

async fn address(context: &Context, peer: String, places: Vec<Place>) -> anyhow::Result<Finish> {
    let addresses = places.iter().map(ToString::to_string).collect();
    let done = context.client()?.call(&PeerAddress { peer, addresses }).await?;
    context.output.done(&done, |done| {
        let name = visible(done.name.as_deref().unwrap_or(short(&done.node_id)));
        match done.given.is_empty() {
            true => format!("{name} is dialled where it says itself\n"),
            false => format!("{name} is dialled at {} as well\n", done.given.join(", ")),
        }
    })?;
    Ok(Finish::Done)
}

async fn may_remove(peer: &str) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(Problem::usage("peer remove asks, and there is no terminal to ask on")
            .hint("add -y to remove without a question")
            .into());
    }
    let question = format!("Remove the member {}, for good? [y/N] ", visible(peer));
    match confirmed(question).await? {
        true => Ok(()),
        false => Err(Problem::new(Class::Cancelled, "nobody was removed").into()),
    }
}

fn removed_row(gone: &RemovedPeer) -> Vec<String> {
    let name = visible(gone.name.as_deref().unwrap_or("-"));
    let id = short(&gone.node_id).to_owned();
    vec![id, name, gone.role.clone(), "removed".to_owned(), String::new()]
}

/// The way on which a member is connected.
fn path(path: &PeerPath) -> String {
    let way = if path.dialled { "at" } else { "from" };
    let how = if path.discovered { " by discovery" } else { "" };
    format!(", {}{how} {way} {}", path.kind, path.address)
}

fn row(peer: &Peer) -> Vec<String> {
    let state = match (peer.this, peer.connected) {
        (true, _) => "this node",
        (false, true) if peer.in_doubt_since.is_some() => "connected, IN DOUBT",
        (false, true) => "connected",
        (false, false) if peer.lapsed => "lapsed",
        (false, false) if peer.in_doubt_since.is_some() => "not connected, IN DOUBT",
        (false, false) => "not connected",
    };
    let full = peer.room.as_ref().filter(|room| room.full && !peer.this);
    let full = full.map(|room| format!(", {}", full_sentence(room))).unwrap_or_default();
    let by = peer.path.as_ref().map(path).unwrap_or_default();
    let keep = peer.keep.map(|keep| format!(", keeps {}", kept(keep))).unwrap_or_default();
    let addresses = [&peer.addresses[..], &peer.given[..]].concat();
    vec![
        short(&peer.node_id).to_owned(),
        visible(peer.name.as_deref().unwrap_or("-")),
        peer.role.clone(),
        format!("{state}{by}{keep}{full}"),
        addresses.join(", "),
    ]
}
