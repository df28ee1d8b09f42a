//! What all tasks of one engine share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use serde::de::DeserializeOwned;
use stash_crypto::{NameId, NodeId, NodeKeys, Role, StashId};
use stash_p2p::{Class, Endpoint, Environment, Frame, Peer, RecvStream};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::addresses::Addresses;
use crate::author::Author;
use crate::catchup::Follower;
use crate::challenge::Trials;
use crate::disk::Disk;
use crate::door::Door;
use crate::evict::Evicting;
use crate::flying::Flying;
use crate::housekeeping::House;
use crate::join::Admission;
use crate::ledger::Turns;
use crate::logs::Logs;
use crate::message::{self, Refusal, Reply, Request};
use crate::places::{Bounds, Places};
use crate::pool::{BufferPool, CLASSES};
use crate::refused::Refused;
use crate::repair::Repairs;
use crate::restored::Restored;
use crate::rooms::Rooms;
use crate::roster::Roster;
use crate::short::Short;
use crate::sources::Sources;
use crate::standing::Standing;
use crate::traffic::Background;
use crate::turn::Turn;
use crate::wants::Waits;

/// Longest wait for the next frame of a request or an answer: as long as the transport takes to
/// find a dead connection.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// Buffers by purpose, so that no purpose waits for another one's to come back. Bytes.
#[derive(Debug)]
pub(crate) struct Pools {
    /// Chunks that this node is putting: sixteen of 1 MiB on their way to disk and peers.
    pub upload: BufferPool,
    /// Chunks arriving from putting members.
    pub intake: Places,
    /// Chunks on their way to a reader here, in order.
    pub fetch: BufferPool,
    /// Second requests for late chunks.
    pub hedge: BufferPool,
    /// Chunks that this node should have and misses.
    pub catch_up: BufferPool,
    /// Chunks on their way to members: those that they ask for, and those that are put to them.
    pub serve: Places,
}

/// Of the chunks that arrive: one of 1 MiB for each of 32 members that begin one and do not go on,
/// and twelve that are shared. A member may have them all: its streams wait for each other's bytes.
const INTAKE: Bounds =
    Bounds { own: 32 * CLASSES[1], shared: 12 << 20, least: usize::MAX, most: usize::MAX };

/// Of the chunks that leave: one of 1 MiB for each of the 64 members that may be connected, or one of
/// 4 MiB for sixteen, and eight more of 1 MiB for those who take them fast.
const SERVE: Bounds = Bounds { own: 64 * CLASSES[1], shared: 8 << 20, least: 1, most: 8 };

impl Default for Pools {
    fn default() -> Pools {
        Pools {
            upload: BufferPool::new(16 << 20),
            intake: Places::new(INTAKE),
            fetch: BufferPool::new(12 << 20),
            // As large as `fetch`: every chunk under way may have one second request, so a first
            // chunk never waits for buffers that later ones hold.
            hedge: BufferPool::new(12 << 20),
            catch_up: BufferPool::new(8 << 20),
            serve: Places::new(SERVE),
        }
    }
}

pub(crate) struct Core {
    pub stash: StashId,
    pub me: NodeId,
    /// This node is no member: it reads in the name of the root, and signs nothing.
    pub visits: bool,
    pub keys: Arc<NodeKeys>,
    /// What this node runs on.
    pub environment: Environment,
    pub disk: Disk,
    pub roster: Arc<Roster>,
    pub door: Arc<Door>,
    pub author: Author,
    /// Looking at a name and changing it is one step.
    pub turns: Turns,
    pub endpoint: Endpoint,
    /// How often members move, and by what they are dialled.
    pub addresses: Addresses,
    pub peers: RwLock<BTreeMap<NodeId, Peer>>,
    pub pools: Pools,
    pub sources: Mutex<Sources>,
    /// What nobody waits for is brought no faster than this allows.
    pub background: Background,
    /// Chunks that evictions under way want to drop: they are proven to nobody.
    pub evicting: Evicting,
    /// What goes with the rows of records that have fewer copies than members.
    pub short: Short,
    /// Records that this node is sending to a member: it need not read them from the log as well.
    pub flying: Flying,
    /// Names of the stretches of this store's order.
    pub logs: Logs,
    /// Members who compare all that they hold with this node come in turn: each question may read a
    /// large part of the index.
    pub comparing: Turn,
    /// Members who have chunks proven come in turn: each may have 64 MiB read.
    pub proving: Turn,
    /// How members have stood up to challenges.
    pub trials: Trials,
    /// Another life of this node that has used its numbers.
    pub restored: Restored,
    /// What passes over all copies share.
    pub repairs: Repairs,
    /// Wakes whoever follows a member: it has news.
    pub news: Mutex<BTreeMap<NodeId, Arc<Follower>>>,
    /// Wakes whoever brings chunks that are wanted.
    pub wanted: Notify,
    /// What the bringing of chunks waits for when there was no room.
    pub waits: Waits,
    /// Records that found no room here.
    pub refused: Refused,
    /// How much room members have.
    pub rooms: Rooms,
    /// One pass over what is wanted at a time.
    pub wanting: tokio::sync::Mutex<()>,
    pub changes: watch::Sender<u64>,
    /// Names of which a record was damaged, and is whole again.
    pub mended: broadcast::Sender<NameId>,
    pub house: House,
    pub admission: Option<Arc<dyn Admission>>,
    /// Whether the admission may be asked.
    pub standing: Standing,
    /// One admission at a time: an entry of the member log follows the one before.
    pub admitting: tokio::sync::Mutex<()>,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Core({} of {})", self.me.short(), self.stash.short())
    }
}

/// A peer did not answer as the protocol says. The peer or the network is at fault.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AskError {
    /// The peer is not connected, or the connection broke.
    #[error("{0}")]
    Gone(String),
    /// Nothing came within 30 seconds.
    #[error("no answer within 30 seconds")]
    Late,
    /// The peer refused.
    #[error("refused: {reason}")]
    Refused {
        /// A word for programs.
        code: Refusal,
        /// A sentence for people.
        reason: String,
    },
    /// The peer answered something that does not belong here.
    #[error("the answer breaks the protocol: {0}")]
    Protocol(String),
}

impl Core {
    /// What this node may do, as the member log says now. One that reads there that it was removed
    /// may do as little as a keeper, and nobody speaks to it.
    pub(crate) fn role(&self) -> Role {
        let stranger = if self.visits { Role::Reader } else { Role::Keeper };
        self.roster.role(&self.me).unwrap_or(stranger)
    }

    /// To whom the log wraps the keys that this node opens: itself, or the root that it speaks for.
    pub(crate) fn recipient(&self) -> Option<&NodeId> {
        (!self.visits).then_some(&self.me)
    }

    /// The connected members, in order of their ids.
    pub(crate) fn connected(&self) -> Vec<(NodeId, Peer)> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.iter().map(|(node, peer)| (*node, peer.clone())).collect()
    }

    pub(crate) fn peer(&self, node: &NodeId) -> Option<Peer> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }

    /// Tells whoever tails the records that there are new ones.
    pub(crate) fn applied(&self) {
        self.changes.send_replace(self.disk.store().last_sequence());
    }
}

/// Locks a mutex whose holders keep its content whole even when they panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next frame within [`ANSWER`].
pub(crate) async fn next(stream: &mut RecvStream) -> Result<Option<Frame>, AskError> {
    match timeout(ANSWER, stream.next()).await {
        Err(_) => Err(AskError::Late),
        Ok(Err(error)) => Err(AskError::Gone(error.to_string())),
        Ok(Ok(frame)) => Ok(frame),
    }
}

/// The next frame of an answer that may stand behind others of the same peer: late when nothing has
/// come for [`ANSWER`] while the peer sent next to nothing else, or for [`LINE`] in all.
pub(crate) async fn next_in_line(
    peer: &Peer,
    stream: &mut RecvStream,
) -> Result<Option<Frame>, AskError> {
    for _ in 0..LINE {
        let before = peer.stats().bytes_in;
        match next(stream).await {
            Err(AskError::Late) if peer.stats().bytes_in > before + BUSY => {}
            frame => return frame,
        }
    }
    Err(AskError::Late)
}

/// Longest wait in a line, in times [`ANSWER`]: ten minutes, in which the least rate of a node brings
/// several times what a node asks for at once.
const LINE: u32 = 20;

/// A peer that sends more than this within [`ANSWER`] is at work on what was asked before. Bytes: far
/// above what pings and credit take, and a sixtieth of what the least rate of a node brings.
const BUSY: u64 = 64 << 10;

/// The next message, decoded.
pub(crate) async fn next_message<T: DeserializeOwned>(
    stream: &mut RecvStream,
) -> Result<T, AskError> {
    decoded(next(stream).await?)
}

/// A frame as the message that is due.
pub(crate) fn decoded<T: DeserializeOwned>(frame: Option<Frame>) -> Result<T, AskError> {
    match frame {
        Some(Frame::Message(bytes)) => {
            message::decode(&bytes).map_err(|error| AskError::Protocol(error.to_string()))
        }
        Some(Frame::Data(_)) => Err(AskError::Protocol("data where a message is due".to_owned())),
        None => Err(AskError::Protocol("the stream ended where a message is due".to_owned())),
    }
}

/// Asks one question on a stream of its own and returns the answer.
pub(crate) async fn ask(peer: &Peer, request: &Request) -> Result<Reply, AskError> {
    let gone = |error: &dyn fmt::Display| AskError::Gone(error.to_string());
    let opened = timeout(ANSWER, peer.open(Class::Control)).await.map_err(|_| AskError::Late)?;
    let (mut send, mut recv) = opened.map_err(|error| gone(&error))?.split();
    let sent = timeout(ANSWER, send.message(message::encode(request))).await;
    sent.map_err(|_| AskError::Late)?.map_err(|error| gone(&error))?;
    send.finish();
    match next_message(&mut recv).await? {
        Reply::Refused { code, reason } => Err(AskError::Refused { code, reason }),
        reply => Ok(reply),
    }
}

/// The answer was of a kind that the question does not have.
pub(crate) fn unexpected(reply: &Reply) -> AskError {
    let text = format!("{reply:?}");
    AskError::Protocol(text.chars().take(40).collect())
}
