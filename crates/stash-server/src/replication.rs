//! Bringing here what other members have, and telling them what they lack.

pub(crate) mod answer;
pub(crate) mod apart;
pub(crate) mod ask_again;
pub(crate) mod beliefs;
pub(crate) mod believing;
pub(crate) mod difference;
pub(crate) mod follow;
pub(crate) mod reconcile;
pub(crate) mod records;
pub(crate) mod refused;
pub(crate) mod room_news;
pub(crate) mod schedule;
pub(crate) mod statement_news;
pub(crate) mod statements;
pub(crate) mod under_way;
pub(crate) mod waits;
pub(crate) mod wants;
pub(crate) mod whole;

use std::sync::Arc;

use crate::core::Core;
use crate::ledger::cursor::Stretches;
use crate::membership::Membership;
use crate::replication::beliefs::Beliefs;
use crate::replication::refused::Refused;
use crate::replication::statements::Statements;
use crate::replication::under_way::UnderWay;
use crate::replication::waits::Waits;
use crate::transfer::Transfer;

/// The state of bringing here what others have.
#[derive(Debug)]
pub(crate) struct Replication {
    pub core: Arc<Core>,
    pub transfer: Arc<Transfer>,
    pub membership: Arc<Membership>,
    /// Names of the stretches of this store's order.
    pub stretches: Stretches,
    /// Records that found no room here.
    pub refused: Refused,
    /// How far this node follows what is whole at members.
    pub beliefs: Beliefs,
    /// What members say of themselves.
    pub statements: Statements,
    /// Records that members were asked for.
    pub under_way: UnderWay,
    /// Waits for room, of the pass that brings chunks.
    pub waits: Waits,
    /// Held during a pass over what is wanted: one at a time.
    pub wanting: tokio::sync::Mutex<()>,
}
