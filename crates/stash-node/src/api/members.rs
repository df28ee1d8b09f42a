//! Members: who belongs, inviting, joining, and changing who belongs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use stash_api::files::Missing;
use stash_api::members::{
    InviteDone, InviteRequest, JoinRequest, Peer, PeerAddress, PeerAddressed, PeerChanged,
    PeerPath, PeerRemove, PeerRole, PeerRoom, Peers, RemovedPeer,
};
use stash_vault::server::members::{MemberRoom, MembersChanged};
use stash_vault::server::{MemberView, Path};
use stash_vault::{NodeId, Role, Ticket};

use super::answer::{Document, number};
use super::operation;
use super::tickets;
use super::upkeep::moment;
use crate::daemon::{Daemon, Place, Served, joining};
use crate::error::{Class, Problem};
use crate::output::{full_sentence, short, time};
use crate::units;

/// Digits of a node id that name a member, at least.
const ID_DIGITS: usize = 8;

/// The longest life of a ticket.
const LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// `GET /v1/peers`.
pub(super) async fn peers(State(daemon): State<Arc<Daemon>>) -> Result<Json<Peers>, Problem> {
    let served = daemon.served()?;
    let lacking: BTreeMap<NodeId, u64> = full_members(&served).await?;
    let members = served.node.engine.members();
    let peers = members.into_iter().map(|member| Peer {
        node_id: member.node.to_string(),
        name: served.display_name(&member),
        role: member.role.to_string(),
        this: member.this,
        connected: member.connected,
        addresses: member.addresses.iter().map(|one| one.place.to_string()).collect(),
        given: member.given.iter().map(ToString::to_string).collect(),
        path: member.path.as_ref().map(path),
        challenged: member.trial.at.map(moment),
        shown: member.trial.shown,
        failed: member.trial.failed,
        in_doubt_since: member.trial.doubted.map(moment),
        lapsed: member.lapsed,
        room: member.room.map(|room| peer_room(&room, lacking.get(&member.node))),
        keep: member.keep,
    });
    let removed = served.node.engine.removed().into_iter().map(|gone| RemovedPeer {
        node_id: gone.node.to_string(),
        name: served.name_of(&gone.label, &gone.node),
        role: gone.role.to_string(),
    });
    Ok(Json(Peers { peers: peers.collect(), removed: removed.collect() }))
}

fn path(path: &Path) -> PeerPath {
    let kind = if path.local { "lan" } else { "direct" };
    PeerPath {
        address: path.address,
        kind: kind.to_owned(),
        dialled: path.dialled,
        discovered: path.heard,
    }
}

/// The number of versions that have no whole copy on each member that is full.
async fn full_members(served: &Served) -> Result<BTreeMap<NodeId, u64>, Problem> {
    let full = served.node.engine.full_members().await?.into_iter();
    Ok(full.map(|(member, room)| (member.node, room.lacks)).collect())
}

fn peer_room(room: &MemberRoom, lacks: Option<&u64>) -> PeerRoom {
    PeerRoom {
        used: room.used,
        limit: Some(room.limit).filter(|limit| *limit < u64::MAX),
        full: room.full,
        lacks: lacks.copied().unwrap_or(room.lacks),
    }
}

/// A sentence for each member that is full, by its node id.
pub(super) async fn full_sentences(served: &Served) -> Result<BTreeMap<NodeId, String>, Problem> {
    let full = served.node.engine.full_members().await?.into_iter();
    let sentence = |(member, room): (MemberView, MemberRoom)| {
        let name = served.display_name(&member);
        let name = name.unwrap_or_else(|| member.node.short().to_string());
        (member.node, format!("{name} is {}", full_sentence(&peer_room(&room, None))))
    };
    Ok(full.map(sentence).collect())
}

/// The members without a copy, each with the reason; of one that is full, how full, and what it lacks.
pub(super) async fn missing(served: &Served, members: Vec<(NodeId, String)>) -> Vec<Missing> {
    let full = match members.is_empty() {
        true => BTreeMap::new(),
        // Without it, the reason is as short as it was told.
        false => full_sentences(served).await.unwrap_or_default(),
    };
    let one = |(node, why): (NodeId, String)| {
        let why = full.get(&node).cloned().unwrap_or(why);
        Missing { node_id: node.to_string(), why }
    };
    members.into_iter().map(one).collect()
}

/// `POST /v1/peers/remove`: on the node that founded the stash.
pub(super) async fn remove(
    State(daemon): State<Arc<Daemon>>,
    Document(request): Document<PeerRemove>,
) -> Result<Json<PeerChanged>, Problem> {
    let served = daemon.served()?;
    let member = named(&served, &request.peer)?;
    founding(&served, "remove a member")?;
    vouched(&served, request.alone);
    let changed = served.node.engine.remove_member(member.node).await?;
    let open_tickets = tickets::open(&served).await;
    Ok(Json(PeerChanged { open_tickets, ..report(&served, &member, None, &changed) }))
}

/// `POST /v1/peers/role`: on the node that founded the stash.
pub(super) async fn role(
    State(daemon): State<Arc<Daemon>>,
    Document(request): Document<PeerRole>,
) -> Result<Json<PeerChanged>, Problem> {
    let served = daemon.served()?;
    let role = parse_role(&request.role)?;
    let member = named(&served, &request.peer)?;
    founding(&served, "change a role")?;
    vouched(&served, request.alone);
    let changed = served.node.engine.set_role(member.node, role).await?;
    Ok(Json(report(&served, &member, Some(role), &changed)))
}

/// Places that a request may name.
const PLACES: usize = 8;

/// `POST /v1/peers/address`.
pub(super) async fn address(
    State(daemon): State<Arc<Daemon>>,
    Document(request): Document<PeerAddress>,
) -> Result<Json<PeerAddressed>, Problem> {
    let served = daemon.served()?;
    let member = named(&served, &request.peer)?;
    if member.this {
        return Err(Problem::usage("this node itself is not dialled")
            .hint("tell others where it is with advertise, in its configuration"));
    }
    if request.addresses.len() > PLACES {
        return Err(Problem::usage(format!("at most {PLACES} places for one member")));
    }
    let place = |text: &String| text.parse::<units::Place>().map(|place| place.0);
    let places: Result<Vec<_>, String> = request.addresses.iter().map(place).collect();
    let places = places.map_err(Problem::usage)?;
    let given = places.iter().map(ToString::to_string).collect();
    served.node.engine.give_places(member.node, places).await?;
    let (node_id, name) = (member.node.to_string(), served.display_name(&member));
    Ok(Json(PeerAddressed { node_id, name, given }))
}

/// Notes that the caller vouches that no other member knows more.
fn vouched(served: &Served, alone: bool) {
    if alone && served.node.is_founder() {
        tracing::warn!("changes among members are signed without having met another one, as asked");
        served.node.engine.vouch();
    }
}

/// Refuses what only the founding node can do, and names that node.
fn founding(served: &Served, what: &str) -> Result<(), Problem> {
    if served.node.is_founder() {
        return Ok(());
    }
    let message =
        format!("only the node that founded the stash can {what}: it alone holds the root secret");
    let problem = Problem::new(Class::Refused, message);
    // Members are listed in the order of their admission.
    let Some(first) = served.node.engine.members().into_iter().next() else { return Err(problem) };
    let id = first.node.to_string();
    let name = served.display_name(&first);
    let who = name.map_or_else(|| short(&id).to_owned(), |name| format!("{name} ({})", short(&id)));
    Err(problem
        .hint(format!("ask for it on {who}, unless the stash was recovered elsewhere since")))
}

fn parse_role(word: &str) -> Result<Role, Problem> {
    word.parse().map_err(|_| Problem::usage("the role must be owner, reader or keeper"))
}

/// The one member with this display name, or whose node id begins so.
fn named(served: &Served, peer: &str) -> Result<MemberView, Problem> {
    let members = served.node.engine.members();
    let with_id = |member: &MemberView| {
        peer.len() >= ID_DIGITS && member.node.to_string().starts_with(&peer.to_lowercase())
    };
    let with_name = |member: &MemberView| served.display_name(member).as_deref() == Some(peer);
    let mut found = members.into_iter().filter(|member| with_name(member) || with_id(member));
    match (found.next(), found.next()) {
        (Some(member), None) => Ok(member),
        (None, _) => Err(Problem::new(Class::NotFound, format!("no member is called {peer:?}"))
            .hint("stash peers lists names and ids; eight digits of an id will do")),
        (Some(_), Some(_)) => Err(Problem::usage(format!("several members are called {peer:?}"))
            .hint("name the one you mean by its id, as stash peers shows it")),
    }
}

fn report(
    served: &Served,
    member: &MemberView,
    role: Option<Role>,
    changed: &MembersChanged,
) -> PeerChanged {
    PeerChanged {
        node_id: member.node.to_string(),
        name: served.display_name(member),
        role: role.map(|role| role.to_string()),
        epoch: served.node.engine.epoch(),
        asked: number(changed.asked.len()),
        silent: changed.silent.iter().map(ToString::to_string).collect(),
        open_tickets: Vec::new(),
    }
}

/// `POST /v1/invite`.
pub(super) async fn invite(
    State(daemon): State<Arc<Daemon>>,
    Document(request): Document<InviteRequest>,
) -> Result<Json<InviteDone>, Problem> {
    let served = daemon.served()?;
    let role = parse_role(&request.role)?;
    let lifetime = Duration::from_secs(request.expires_seconds);
    if lifetime.is_zero() || lifetime > LIFETIME_MAX {
        return Err(Problem::usage("a ticket lives for 1 second to 30 days"));
    }
    founding(&served, "invite")?;
    vouched(&served, request.alone);
    let ticket = served.node.engine.invite(role, lifetime).await?;
    let expires = i64::try_from(ticket.expires).unwrap_or(i64::MAX);
    Ok(Json(InviteDone {
        ticket: ticket.to_text().to_string(),
        role: role.to_string(),
        expires: time(expires),
    }))
}

/// `POST /v1/join`: the node leaves its own empty stash and comes back as a member of another.
pub(super) async fn join(
    State(daemon): State<Arc<Daemon>>,
    Document(request): Document<JoinRequest>,
) -> Result<Response, Problem> {
    let ticket: Ticket = request
        .ticket
        .trim()
        .parse()
        .map_err(|e| Problem::usage(format!("this is not a whole ticket: {e}")))?;
    let joiner = Arc::clone(&daemon);
    let place = Place { tracker: &daemon.joins, cancel: &daemon.stop };
    // Once begun, it goes on without its client: there is no half of a join.
    operation::run(place, |_| async move {
        joining::rejoin(&joiner, &ticket, request.name, request.label).await
    })
    .await
}
