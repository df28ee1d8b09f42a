//! A node that holds the root secret asks silent members once more in the name of the root, which
//! every member answers. Members do not answer its own identity if it was removed, or follows a log
//! that parts from theirs: without this, two halves of a stash would never say so.

use std::sync::Arc;
use std::time::Duration;

use serde_bytes::ByteBuf;
use stash_crypto::keys::NoiseSecret;
use stash_crypto::{EntryHash, MemberLog};
use stash_p2p::{CloseReason, Peer};
use tokio::time::sleep;

use crate::door::Hello;
use crate::ledger::roster::{Known, holds};
use crate::membership::join::{JoinError, Stranger, read_log};
use crate::membership::{Membership, cut_exchange};
use crate::message::{self, MAX_RECORD_BYTES, Request};
use crate::rpc::ask;

/// Time from the start to the first questions: members that are there have connected by then.
const FIRST: Duration = Duration::from_secs(60);

/// Pause between two rounds of questions.
const AGAIN: Duration = Duration::from_secs(600);

/// Longest time for one member to answer.
const REACH: Duration = Duration::from_secs(10);

/// Asks members that stay silent, now and then, until the engine stops. Does nothing without the
/// root secret.
pub(crate) async fn ask_the_silent(membership: Arc<Membership>) {
    let Some(root) = membership.admission.as_ref().and_then(|admission| admission.root_noise())
    else {
        return;
    };
    let mut pause = FIRST;
    let task = membership.core.tasks.list("ask-silent");
    loop {
        task.ends(Some(pause));
        tokio::select! {
            biased;
            () = membership.core.tasks.stopped() => return,
            () = sleep(pause) => {}
        }
        pause = AGAIN;
        task.begins();
        round(&membership, &root).await;
    }
}

/// Asks every member once that is not connected.
pub(crate) async fn round(membership: &Arc<Membership>, root: &NoiseSecret) {
    let silent = membership.core.roster.members().into_iter().filter(|member| {
        let connected =
            member.node == membership.core.me || membership.core.peer(&member.node).is_some();
        !connected && !member.addresses.is_empty()
    });
    let silent: Vec<Known> = silent.collect();
    if silent.is_empty() {
        return;
    }
    let stranger = match Stranger::bind(membership.core.environment.clone(), root) {
        Ok(stranger) => stranger,
        Err(error) => return tracing::warn!(%error, "silent members are not asked"),
    };
    for member in silent {
        if membership.core.tasks.is_stopping() {
            break;
        }
        if let Err(error) = ask_one(membership, &stranger, &member).await {
            tracing::debug!(peer = %member.node.short(), %error, "a member is silent to the root, too");
        }
    }
    stranger.close().await;
}

async fn ask_one(
    membership: &Arc<Membership>,
    stranger: &Stranger,
    member: &Known,
) -> Result<(), JoinError> {
    // Whoever was away knows the oldest of the keys.
    let Some(realm) = membership.core.door.member_realms().pop() else {
        return Ok(());
    };
    let places: Vec<_> = member.addresses.iter().map(|one| one.place.clone()).collect();
    let peer = stranger.dial(&places, &member.noise, realm, REACH).await?;
    let compared = compare(membership, &peer).await;
    peer.close(CloseReason::Shutdown);
    compared
}

/// Both sides see the log of the other, if it is another one.
async fn compare(membership: &Arc<Membership>, peer: &Peer) -> Result<(), JoinError> {
    let hello: Option<Hello> = message::decode(&peer.hello()).ok();
    let told = hello.and_then(|hello| {
        let head = hello.head.first_chunk::<32>().copied().map(EntryHash::from_bytes)?;
        Some((hello.members, head))
    });
    let length = membership.core.roster.log(MemberLog::len);
    let same = told.is_some_and(|(members, head)| {
        members == length && membership.core.roster.log(|log| holds(log, members, &head))
    });
    if same {
        return Ok(());
    }
    let mut log = MemberLog::new(membership.core.stash);
    read_log(peer, &mut log).await?;
    let entries = log.entries().iter().map(|entry| entry.bytes().to_vec()).collect();
    // What parts raises the alarm here, and what is shown there raises it there.
    let _ = cut_exchange::learn(membership, peer, entries, Vec::new()).await;
    let mine = membership
        .core
        .roster
        .last_entries(MAX_RECORD_BYTES)
        .into_iter()
        .map(ByteBuf::from)
        .collect();
    let told = Request::Announce { entries: mine, addresses: Vec::new() };
    let lists = membership.core.roster.log(MemberLog::clone);
    tokio::select! {
        biased;
        told = ask(peer, &told) => told.map(drop)?,
        () = cut_exchange::serve(peer, &lists) => {}
    }
    Ok(())
}
