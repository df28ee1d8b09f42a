//! Joining a stash by a ticket, with a daemon and without one.

use std::path::Path;

use stash_api::members::JoinDone;
use stash_vault::crypto::Keyring;
use stash_vault::{Home, HomeError, JoinOptions, NodeId, Role, StashId, Ticket};
use zeroize::Zeroizing;

use super::home::{explained, note_made, passphrase, serve, usable};
use super::{Daemon, Served, label};
use crate::config::{Settings, edit};
use crate::error::{Class, Problem};
use crate::output::Output;
use crate::units::Keep;

/// Leaves the node's own empty stash for the one that the ticket is for, and serves that.
pub(crate) async fn rejoin(
    daemon: &Daemon,
    ticket: &Ticket,
    name: Option<String>,
    label: Option<String>,
) -> Result<JoinDone, Problem> {
    label.as_deref().map_or(Ok(()), label::checked)?;
    let _one_at_a_time = daemon.joining.lock().await;
    let settings = &daemon.settings;
    let dir = &settings.data_dir.value;
    let served = daemon.served()?;
    if let Some(done) = take_addresses(&served, ticket).await? {
        return Ok(done);
    }
    let records = served.node.engine.status().await?.records;
    drop(served);
    if records > 0 {
        return Err(HomeError::HasRecords { directory: dir.clone(), records }.into());
    }
    if let Some(served) = daemon.take() {
        served.close().await;
    }
    let options = JoinOptions {
        display_name: name.unwrap_or_else(|| settings.name.value.clone()),
        passphrase: daemon.passphrase(),
    };
    let joined = Home::join(dir, ticket, options).await.map_err(|e| explained(e, dir));
    if joined.is_ok() {
        labelled(dir, label.as_deref());
    }
    // Joined or not, the node serves what it now has.
    let served = serve(daemon).await.map_err(|e| Problem::of(&e))?;
    joined?;
    let engine = &served.node.engine;
    Ok(done(engine.stash(), engine.node_id(), engine.role()))
}

/// For a ticket of the stash that the node belongs to: takes from it where its maker is.
async fn take_addresses(served: &Served, ticket: &Ticket) -> Result<Option<JoinDone>, Problem> {
    let engine = &served.node.engine;
    if ticket.stash != engine.stash() {
        return Ok(None);
    }
    let mut members = engine.members().into_iter();
    let maker = members.find(|member| member.noise == ticket.inviter);
    let maker = maker.ok_or_else(|| {
        let message =
            "this node belongs to the stash of the ticket, and knows no member that made it";
        Problem::new(Class::Refused, message)
            .hint("say where a member is, as stash peer --help shows")
    })?;
    if maker.this {
        let message = "this node made the ticket: it is for another machine";
        return Err(Problem::new(Class::Refused, message));
    }
    engine.give_places(maker.node, ticket.addresses.clone()).await?;
    let done = done(engine.stash(), engine.node_id(), engine.role());
    Ok(Some(JoinDone { addresses_of: Some(maker.node.to_string()), ..done }))
}

/// What holds for a stash on this machine alone.
pub(crate) struct Here<'a> {
    /// What the user calls it.
    pub(crate) label: Option<&'a str>,
    /// How much of its bytes is kept; `None`: as the settings say.
    pub(crate) keep: Option<Keep>,
}

/// Joins while no daemon runs.
pub(crate) async fn join(
    settings: &Settings,
    ticket: &Ticket,
    here: Here<'_>,
    output: &Output,
) -> anyhow::Result<JoinDone> {
    let Here { label, keep } = here;
    label.map_or(Ok(()), label::checked)?;
    if keep.is_some() && settings.user_file.is_none() {
        let message = "there is no configuration file to write --keep into";
        return Err(Problem::usage(message)
            .hint("name one with --config, or set STASH_KEEP")
            .into());
    }
    let dir = &settings.data_dir.value;
    usable(dir)?;
    let ask = settings.clone();
    let passphrase = tokio::task::spawn_blocking(move || passphrase(&ask)).await??;
    not_a_member(settings, ticket, passphrase.as_ref())?;
    let options = JoinOptions { display_name: settings.name.value.clone(), passphrase };
    let home = Home::join(dir, ticket, options).await.map_err(|e| explained(e, dir))?;
    labelled(dir, label);
    note_made(settings, output)?;
    if let (Some(keep), Some(file)) = (keep, &settings.user_file) {
        edit(&file.value, "keep", Some(&keep.to_string()), |_| Ok(()))?;
        output.note(&format!("keep = {keep} in {}", file.value.display()));
    }
    Ok(done(home.stash_id(), home.node_id(), home.role()))
}

/// Labels a directory. That it does not work out is no reason to call off what was done.
fn labelled(dir: &Path, label: Option<&str>) {
    if let Err(error) = label::write(dir, label) {
        tracing::warn!(%error, "the label is not written");
    }
}

/// Refuses a ticket of the stash that the node belongs to: what it has there is not replaced.
fn not_a_member(
    settings: &Settings,
    ticket: &Ticket,
    passphrase: Option<&Zeroizing<String>>,
) -> Result<(), Problem> {
    let keyring = std::fs::read(settings.data_dir.value.join("keyring")).ok();
    let passphrase = passphrase.map(|passphrase| passphrase.as_bytes());
    let keyring = keyring.and_then(|bytes| Keyring::decode(&bytes, passphrase).ok());
    if keyring.is_none_or(|keyring| keyring.stash != ticket.stash) {
        return Ok(());
    }
    let message = "this node belongs to the stash of the ticket already";
    Err(Problem::new(Class::Refused, message).hint(format!(
        "to take over the addresses in it, start the node ({}) and join once more",
        settings.typed("up")
    )))
}

fn done(stash: StashId, node: NodeId, role: Role) -> JoinDone {
    let (stash_id, node_id) = (stash.to_string(), node.to_string());
    JoinDone { stash_id, node_id, role: role.to_string(), addresses_of: None }
}
