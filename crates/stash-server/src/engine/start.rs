//! Start of an engine, and of the tasks for each peer as peers come and go.

use std::sync::Arc;

use stash_crypto::NodeId;
use stash_crypto::member::SignedAddresses;
use stash_p2p::{CloseReason, Endpoint, Event, Events, Gate, Limits, Peer, StaticSecret};
use tokio::sync::{Notify, watch};

use crate::asker::Asker;
use crate::buffers::pools::Pools;
use crate::core::Core;
use crate::disk::Disk;
use crate::door::{Door, noise};
use crate::engine::options::{EngineOptions, StartError};
use crate::founder::{Founder, admit};
use crate::keeps::{ALL, Keeps};
use crate::layers::Layers;
use crate::ledger::author::Author;
use crate::ledger::cursor::Stretches;
use crate::ledger::lease;
use crate::ledger::name_locks::NameLocks;
use crate::ledger::roster::Roster;
use crate::ledger::{Aside, LedgerError, progress};
use crate::membership::addresses::Addresses;
use crate::membership::discovery::Discovery;
use crate::membership::last_met::LastMet;
use crate::membership::recovery::meeting;
use crate::membership::seen::Seen;
use crate::membership::standing::Standing;
use crate::membership::ways::Ways;
use crate::membership::{Membership, announce, learn, may_sign, own_places, root_holders};
use crate::peers::Peers;
use crate::replication::beliefs::Beliefs;
use crate::replication::refused::Refused;
use crate::replication::statements::Statements;
use crate::replication::under_way::UnderWay;
use crate::replication::waits::Waits;
use crate::replication::{Replication, follow, room_news, wants};
use crate::tasks::Tasks;
use crate::transfer::Transfer;
use crate::transfer::background::Background;
use crate::transfer::cache::Cache;
use crate::transfer::damage::DamageList;
use crate::transfer::evict::flag;
use crate::transfer::in_flight::InFlight;
use crate::transfer::intake;
use crate::transfer::restored::Restored;
use crate::transfer::rooms::Rooms;
use crate::transfer::suspects::Suspects;
use crate::transfer::under_replicated::UnderReplicated;
use crate::turn::{Shares, Turn};
use crate::upkeep::house::House;
use crate::upkeep::repairs::Repairs;
use crate::upkeep::{Upkeep, challenge};
use crate::{door, ledger, reach, serve};

/// The blocking half of a start: store, roster, sockets.
pub(crate) fn open(options: EngineOptions) -> Result<(Layers, Events), StartError> {
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
            may_sign::doubt(&store)?;
        }
    }
    ledger::resume(&store)?;
    let name_locks = NameLocks::default();
    let mut aside = Aside::default();
    let unfollowed =
        match ledger::set_aside(&name_locks, &store, &roster, progress::with_doubt, &mut aside) {
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
    door.is_attached(own_places::attached(&environment));
    let listen = endpoint.local_addresses();
    let places = reach::announced(&listen, &options.advertise, &door.attached(), &[]);
    let (sequence, made) = (roster.next_sequence(&me), environment.seconds());
    let own = SignedAddresses::sign(keys.signer(), &stash, sequence, made, places)?;
    roster.learn(&store, &[own.encode()], |_| true)?;
    door.answers_at(&own, &endpoint.local_addresses());
    let refused = Refused::load(&store)?;
    door.has_room(room_news::here(&store, refused.count()));
    let (changes, _) = watch::channel(0);
    let standing = Standing::at_start(&roster, &store)?;
    let statements = Statements::load(&store)?;
    let keep = options.housekeeping.keep;
    let was_cache = statements.own(&me).is_some_and(|said| said.figures.keep != ALL);
    let core = Arc::new(Core {
        environment,
        stash,
        me,
        visits,
        keys,
        disk,
        roster,
        door,
        author,
        name_locks,
        endpoint,
        peers: Peers::default(),
        keeps: Keeps::new(keep, statements.keeps()),
        changes,
        tasks: Tasks::default(),
    });
    let transfer = Arc::new(Transfer {
        core: Arc::clone(&core),
        pools: Pools::default(),
        sources: std::sync::Mutex::default(),
        background: Background::new(options.traffic.background_down),
        cache: Cache::new(keep),
        evicting: flag::Evicting::default(),
        under_replicated: UnderReplicated::load(&store)?,
        in_flight: InFlight::default(),
        leasing: Shares::new(lease::MEMBER),
        committing: Shares::new(intake::COMMITTING),
        comparing: Turn::default(),
        proving: Turn::default(),
        suspects: Suspects::load(&store)?,
        restored: Restored::load(&store)?,
        rooms: Rooms::default(),
        damage: DamageList::load(&store)?,
        wanted: Notify::new(),
    });
    let membership = Arc::new(Membership {
        core: Arc::clone(&core),
        transfer: Arc::clone(&transfer),
        addresses: Addresses::default(),
        last_met: LastMet::load(&store)?,
        ways: Ways::load(&store)?,
        discovery: Discovery::new(options.discovery),
        seen: Seen::default(),
        advertise: options.advertise,
        admission: options.admission,
        standing,
        unfollowed: unfollowed.into(),
    });
    let replication = Arc::new(Replication {
        core: Arc::clone(&core),
        transfer: Arc::clone(&transfer),
        membership: Arc::clone(&membership),
        stretches,
        refused,
        beliefs: Beliefs::default(),
        statements,
        under_way: UnderWay::default(),
        waits: Waits::default(),
        wanting: tokio::sync::Mutex::default(),
    });
    let founder = Arc::new(Founder {
        core: Arc::clone(&core),
        membership: Arc::clone(&membership),
        replication: Arc::clone(&replication),
        admitting: tokio::sync::Mutex::default(),
    });
    let upkeep = Arc::new(Upkeep {
        core: Arc::clone(&core),
        transfer: Arc::clone(&transfer),
        membership: Arc::clone(&membership),
        replication: Arc::clone(&replication),
        founder: Arc::clone(&founder),
        repairs: Repairs::load(&store)?,
        house: House::open(&store, options.housekeeping)?,
    });
    if was_cache && keep == ALL {
        // What it did not keep is missing now.
        upkeep.repairs.wake.notify_one();
    }
    learn::learn_keys(&membership);
    wants::hear_of_room(&replication);
    let node = Layers { core, transfer, membership, replication, founder, upkeep };
    Ok((node, events))
}

/// Follows peers as they come and go.
pub(crate) async fn meet_peers(layers: Layers, mut events: Events) {
    loop {
        let event = tokio::select! {
            biased;
            () = layers.core.tasks.stopped() => None,
            event = events.next() => event,
        };
        match event {
            None => return,
            Some(Event::Up(peer)) => up(&layers, peer),
            Some(Event::Down { peer, reason }) => {
                let member = layers.core.roster.by_noise(&noise(&peer.remote()));
                if let Some((node, _)) = member
                    && layers.core.peers.went(&node, &peer)
                {
                    tracing::info!(peer = %node.short(), %reason, "a member is gone");
                    met(&layers, node);
                }
            }
        }
    }
}

/// Notes that a member is or was connected.
fn met(layers: &Layers, node: NodeId) {
    let (uptime, now) =
        (layers.core.disk.store().stats().uptime, layers.core.environment.seconds());
    layers.membership.last_met.met(node, uptime, now);
}

fn up(layers: &Layers, peer: Peer) {
    if door::is_meeting(&peer.realm()) {
        layers.core.tasks.spawn(meeting::serve(Arc::clone(&layers.membership), peer));
        return;
    }
    if let Some(ticket) = door::ticket_of(&peer.realm(), &layers.core.stash) {
        layers.core.tasks.spawn(admit::serve(Arc::clone(&layers.founder), ticket, peer));
        return;
    }
    let remote = noise(&peer.remote());
    let asker = match layers.core.roster.by_noise(&remote) {
        Some((node, role)) => Asker::Member(node, role),
        None if layers.core.roster.is_root(&remote) => Asker::Root,
        // Removed between the handshake and now.
        None => return peer.close(CloseReason::Lost),
    };
    if let Asker::Member(node, role) = asker {
        tracing::info!(peer = %node.short(), %role, addr = %peer.addr(), "a member is up");
        layers.core.peers.came(node, peer.clone());
        if layers.core.roster.role(&node).is_none() {
            // Whoever learned of the removal just now did not see it in the table.
            layers.core.peers.went(&node, &peer);
            return peer.close(CloseReason::Lost);
        }
        layers.core.tasks.spawn(follow::follow(
            Arc::clone(&layers.replication),
            node,
            peer.clone(),
        ));
        if !layers.core.visits {
            layers.core.tasks.spawn(challenge::watch(
                Arc::clone(&layers.upkeep),
                node,
                peer.clone(),
            ));
        }
        if root_holders::may_concern(&layers.membership) {
            let membership = Arc::clone(&layers.membership);
            layers.core.tasks.spawn(async move { root_holders::look(&membership).await });
        }
        announce::met(&layers.membership, node, &peer);
        layers.transfer.wanted.notify_one();
        layers.transfer.damage.look_again();
        met(layers, node);
    }
    layers.core.tasks.spawn(serve::peer(layers.clone(), asker, peer));
}
