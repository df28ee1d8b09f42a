//! How an engine comes up, and how it follows its peers as they come and go.

use std::sync::{Arc, PoisonError};

use stash_crypto::SignedAddresses;
use stash_p2p::{CloseReason, Endpoint, Event, Events, Gate, Limits, Peer, StaticSecret};
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{EngineOptions, StartError};
use crate::addresses::Addresses;
use crate::author::Author;
use crate::challenge::Trials;
use crate::core::{Core, Pools};
use crate::disk::Disk;
use crate::door::{self, Door, advertised, noise};
use crate::flying::Flying;
use crate::housekeeping::House;
use crate::ledger::{self, LedgerError};
use crate::logs::Logs;
use crate::refused::Refused;
use crate::repair::Repairs;
use crate::restored::Restored;
use crate::rooms::{MemberRoom, Rooms};
use crate::roster::Roster;
use crate::serve::{self, Asker};
use crate::short::Short;
use crate::standing::Standing;
use crate::traffic::Background;
use crate::turn::Turn;
use crate::wants::{self, Waits};
use crate::{catchup, challenge, founders, join, members, recovery, standing};

/// Mended names that wait for a slow listener, 32 bytes each.
const MENDED: usize = 1_024;

/// The blocking half of a start: store, roster, sockets.
pub(super) fn open(options: EngineOptions) -> Result<(Arc<Core>, Events), StartError> {
    let (store, stash, keys) = (options.store, options.stash, options.keys);
    let roster = Arc::new(Roster::open(&store, stash)?);
    let me = keys.node_id();
    let visits = roster.is_root(&keys.noise_public());
    if roster.role(&me).is_none() && !visits {
        return Err(StartError::NotMember);
    }
    let disk = Disk::new(store.clone(), options.mode);
    let environment = options.environment;
    let shared = (Arc::clone(&roster), disk.clone());
    let realms = (stash, options.network);
    let door = Door::new(keys.noise_public(), realms, shared, environment.clone());
    let door = Arc::new(door);
    let logs = Logs::open(&store, &mut environment.rng())?;
    if options.fresh_writer {
        catchup::doubt(&store)?;
        if options.admission.is_some() || visits {
            standing::doubt(&store)?;
        }
    }
    ledger::resume(&store)?;
    let turns = ledger::Turns::default();
    match ledger::set_aside(&turns, &store, &roster, catchup::doubt) {
        // A store that takes no writes is read as it is.
        Err(LedgerError::Commit(error)) => {
            tracing::error!(%error, "records past a cut are still shown here");
        }
        aside => drop(aside?),
    }
    let author = Author::open(&store, stash, me, options.fresh_writer, &environment)?;
    let secret = StaticSecret::from_bytes(*keys.noise_secret().expose());
    let gate = Arc::clone(&door) as Arc<dyn Gate>;
    let limits = Limits { bandwidth: options.traffic.bandwidth, ..Limits::default() };
    let (endpoint, events) =
        Endpoint::bind_on(environment.clone(), &options.listen, secret, gate, limits)?;
    let addresses = advertised(&endpoint.local_addresses(), &options.advertise);
    let sequence = roster.next_sequence(&me, environment.micros());
    let own = SignedAddresses::sign(keys.signer(), &stash, sequence, addresses)?.encode();
    roster.learn(&store, std::slice::from_ref(&own), |_| true)?;
    door.answers_at(own);
    let refused = Refused::load(&store)?;
    door.has_room(MemberRoom::here(&store, refused.count()));
    let (changes, _) = watch::channel(0);
    let standing = Standing::at_start(&roster, &store)?;
    let core = Core {
        environment,
        stash,
        me,
        visits,
        keys,
        short: Short::load(&store)?,
        flying: Flying::default(),
        comparing: Turn::default(),
        proving: Turn::default(),
        trials: Trials::load(&store)?,
        repairs: Repairs::load(&store)?,
        restored: Restored::load(&store)?,
        logs,
        news: std::sync::Mutex::default(),
        wanted: Notify::new(),
        waits: Waits::default(),
        refused,
        rooms: Rooms::default(),
        wanting: tokio::sync::Mutex::default(),
        disk,
        roster,
        door,
        author,
        turns,
        endpoint,
        addresses: Addresses::default(),
        peers: std::sync::RwLock::default(),
        pools: Pools::default(),
        sources: std::sync::Mutex::default(),
        background: Background::new(options.traffic.background_down),
        evicting: crate::evict::Evicting::default(),
        changes,
        mended: broadcast::Sender::new(MENDED),
        house: House::open(&store, options.housekeeping)?,
        admission: options.admission,
        standing,
        admitting: tokio::sync::Mutex::new(()),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    };
    members::learn_keys(&core);
    let core = Arc::new(core);
    wants::hear_of_room(&core);
    Ok((core, events))
}

/// Follows peers as they come and go.
pub(super) async fn meet_peers(core: Arc<Core>, mut events: Events) {
    loop {
        let event = tokio::select! {
            biased;
            () = core.stop.cancelled() => None,
            event = events.next() => event,
        };
        match event {
            None => return,
            Some(Event::Up(peer)) => up(&core, peer),
            Some(Event::Down { remote, reason }) => {
                if let Some((node, _)) = core.roster.by_noise(&noise(&remote)) {
                    tracing::info!(peer = %node.short(), %reason, "a member is gone");
                    core.peers.write().unwrap_or_else(PoisonError::into_inner).remove(&node);
                    core.repairs.met(node, core.disk.store().stats().uptime);
                }
            }
        }
    }
}

fn up(core: &Arc<Core>, peer: Peer) {
    if recovery::is_meeting(&peer.realm()) {
        core.tasks.spawn(recovery::serve_meeting(Arc::clone(core), peer));
        return;
    }
    if let Some(ticket) = door::ticket_of(&peer.realm(), &core.stash) {
        core.tasks.spawn(join::serve(Arc::clone(core), ticket, peer));
        return;
    }
    let remote = noise(&peer.remote());
    let asker = match core.roster.by_noise(&remote) {
        Some((node, role)) => Asker::Member(node, role),
        None if core.roster.is_root(&remote) => Asker::Root,
        // Removed between the handshake and now.
        None => return peer.close(CloseReason::Lost),
    };
    if let Asker::Member(node, role) = asker {
        tracing::info!(peer = %node.short(), %role, addr = %peer.addr(), "a member is up");
        core.peers.write().unwrap_or_else(PoisonError::into_inner).insert(node, peer.clone());
        if core.roster.role(&node).is_none() {
            // Whoever learned of the removal just now did not see it in the table.
            core.peers.write().unwrap_or_else(PoisonError::into_inner).remove(&node);
            return peer.close(CloseReason::Lost);
        }
        core.tasks.spawn(catchup::follow(Arc::clone(core), node, peer.clone()));
        if !core.visits {
            core.tasks.spawn(challenge::watch(Arc::clone(core), node, peer.clone()));
        }
        if founders::may_concern(core) {
            let shared = Arc::clone(core);
            core.tasks.spawn(async move { founders::look(&shared).await });
        }
        core.wanted.notify_one();
        core.house.met();
        core.repairs.met(node, core.disk.store().stats().uptime);
    }
    core.tasks.spawn(serve::peer(Arc::clone(core), asker, peer));
}
