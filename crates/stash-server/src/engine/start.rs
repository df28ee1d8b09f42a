//! How an engine comes up, and how it follows its peers as they come and go.

use std::sync::{Arc, PoisonError};

use stash_crypto::SignedAddresses;
use stash_p2p::{CloseReason, Endpoint, Event, Events, Gate, Limits, Peer, StaticSecret};
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::asker::Asker;
use crate::buffers::pools::Pools;
use crate::core::Core;
use crate::disk::Disk;
use crate::door::{Door, advertised, noise};
use crate::engine::options::{EngineOptions, StartError};
use crate::founder::admit;
use crate::ledger::author::Author;
use crate::ledger::cursor::Stretches;
use crate::ledger::name_locks::NameLocks;
use crate::ledger::roster::Roster;
use crate::ledger::{Aside, LedgerError, progress};
use crate::membership::addresses::Addresses;
use crate::membership::recovery::meeting;
use crate::membership::standing::Standing;
use crate::membership::{learn, root_holders, standing};
use crate::replication::refused::Refused;
use crate::replication::wants::Waits;
use crate::replication::{follow, room_news, wants};
use crate::transfer::background::Background;
use crate::transfer::evict::flag;
use crate::transfer::in_flight::InFlight;
use crate::transfer::restored::Restored;
use crate::transfer::rooms::Rooms;
use crate::transfer::suspects::Suspects;
use crate::transfer::under_replicated::UnderReplicated;
use crate::turn::Turn;
use crate::upkeep::challenge;
use crate::upkeep::housekeeping::House;
use crate::upkeep::repair::Repairs;
use crate::{door, ledger, serve};

/// Mended names that wait for a slow listener, 32 bytes each.
const MENDED: usize = 1_024;

/// The blocking half of a start: store, roster, sockets.
pub(crate) fn open(options: EngineOptions) -> Result<(Arc<Core>, Events), StartError> {
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
    let stretches = Stretches::open(&store, &mut environment.rng())?;
    if options.fresh_writer {
        progress::doubt(&store)?;
        if options.admission.is_some() || visits {
            standing::doubt(&store)?;
        }
    }
    ledger::resume(&store)?;
    let name_locks = NameLocks::default();
    let mut aside = Aside::default();
    let unfollowed =
        match ledger::set_aside(&name_locks, &store, &roster, progress::doubt, &mut aside) {
            // A store that takes no writes is read as it is.
            Err(LedgerError::Commit(error)) => {
                tracing::error!(%error, "records past a cut are still shown here");
                true
            }
            done => {
                done?;
                false
            }
        };
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
    door.has_room(room_news::here(&store, refused.count()));
    let (changes, _) = watch::channel(0);
    let standing = Standing::at_start(&roster, &store)?;
    let core = Core {
        environment,
        stash,
        me,
        visits,
        keys,
        under_replicated: UnderReplicated::load(&store)?,
        in_flight: InFlight::default(),
        comparing: Turn::default(),
        proving: Turn::default(),
        suspects: Suspects::load(&store)?,
        repairs: Repairs::load(&store)?,
        restored: Restored::load(&store)?,
        stretches,
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
        name_locks,
        endpoint,
        addresses: Addresses::default(),
        peers: std::sync::RwLock::default(),
        pools: Pools::default(),
        sources: std::sync::Mutex::default(),
        background: Background::new(options.traffic.background_down),
        evicting: flag::Evicting::default(),
        changes,
        mended: broadcast::Sender::new(MENDED),
        house: House::open(&store, options.housekeeping)?,
        admission: options.admission,
        standing,
        unfollowed: unfollowed.into(),
        admitting: tokio::sync::Mutex::new(()),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    };
    learn::learn_keys(&core);
    let core = Arc::new(core);
    wants::hear_of_room(&core);
    Ok((core, events))
}

/// Follows peers as they come and go.
pub(crate) async fn meet_peers(core: Arc<Core>, mut events: Events) {
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
    if door::is_meeting(&peer.realm()) {
        core.tasks.spawn(meeting::serve(Arc::clone(core), peer));
        return;
    }
    if let Some(ticket) = door::ticket_of(&peer.realm(), &core.stash) {
        core.tasks.spawn(admit::serve(Arc::clone(core), ticket, peer));
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
        core.tasks.spawn(follow::follow(Arc::clone(core), node, peer.clone()));
        if !core.visits {
            core.tasks.spawn(challenge::watch(Arc::clone(core), node, peer.clone()));
        }
        if root_holders::may_concern(core) {
            let shared = Arc::clone(core);
            core.tasks.spawn(async move { root_holders::look(&shared).await });
        }
        core.wanted.notify_one();
        core.house.met();
        core.repairs.met(node, core.disk.store().stats().uptime);
    }
    core.tasks.spawn(serve::peer(Arc::clone(core), asker, peer));
}
