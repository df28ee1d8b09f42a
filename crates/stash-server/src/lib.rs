//! The engine of a stash node: it replicates, fetches, proves, evicts and admits, all over
//! ciphertext.
//!
//! It is **not** able to name a content key: names and plaintext exist only in `stash-vault`, on
//! top. A keeper is exactly this crate without a vault.
//!
//! Start with [`Engine::start`]; put with [`Engine::upload`], get with [`Engine::fetch`].
//!
//! ```no_run
//! # async fn example(options: stash_server::EngineOptions) -> Result<(), Box<dyn std::error::Error>> {
//! use stash_server::Engine;
//!
//! let engine = Engine::start(options).await?;
//! for member in engine.members() {
//!     println!("{} {} connected: {}", member.node, member.role, member.connected);
//! }
//! engine.shutdown(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! The most used names stand here as well as in their modules; the rest stands in the modules only:
//!
//! - [`members`]: to make and join a stash, to invite, change and recover
//! - [`records`]: how a record is written, which are accepted, and the clock that dates them
//! - [`transfers`]: puts, gets, evictions, damage, and the rates of it all
//! - [`housekeeping`]: collection, scrubs, repair, counts of copies
//! - [`buffers`]: buffers for sealed chunks
//!
//! The messages between nodes are specified in `docs/protocol.md`, part B.

mod admission;
mod asker;
pub mod buffers;
mod core;
mod disk;
mod door;
mod engine;
mod founder;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod keeps;
mod lan;
mod layers;
mod ledger;
mod lock;
mod membership;
mod message;
mod meter;
mod peers;
mod reach;
mod replication;
mod rounds;
mod rpc;
mod serve;
mod tasks;
mod transfer;
mod turn;
mod upkeep;

pub use admission::Admission;
pub use buffers::buffer::Buffer;
pub use buffers::pool::BufferPool;
pub use disk::Mode;
pub use engine::Engine;
pub use engine::options::{EngineOptions, StartError};
pub use engine::view::{EngineStatus, MemberView, Path};
pub use founder::invite::InviteError;
pub use founder::tickets::TicketView;
pub use ledger::author::{Position, Write};
pub use ledger::error::{LedgerError, WriteError};
pub use membership::join::{JoinError, found, join};
pub use message::reply::Refusal;
pub use rpc::AskError;
pub use stash_p2p::{Environment, PeerStats, Rate};
pub use stash_store as store;
pub use tasks::{ListedTask, TaskStatus};
pub use transfer::background::Traffic;
pub use transfer::evict::outcome::{EvictError, Evicted};
pub use transfer::fetch::{Fetch, FetchError};
pub use transfer::tally::Wait;
pub use transfer::upload::{Outcome, Pending, PutError, Upload};
pub use upkeep::housekeeping::Housekeeper;
pub use upkeep::schedule::Housekeeping;

pub mod members {
    //! Members: who makes and joins a stash, who invites and changes members, and who takes a lost
    //! stash back from them.
    //!
    //! Start with [`found`] and [`join`]; [`survey`] is for a recovery.

    pub use crate::admission::{Admission, Full, SignFailure};
    pub use crate::engine::paper::Paper;
    pub use crate::engine::view::{MemberView, RemovedView};
    pub use crate::founder::change::{ChangeMemberError, MembersChanged};
    pub use crate::founder::invite::{InviteError, MAX_TICKET_LIFE};
    pub use crate::founder::tickets::{RevokeError, TicketView};
    pub use crate::ledger::error::RosterError;
    pub use crate::membership::confirmation::Confirmed;
    pub use crate::membership::discovery::DiscoveryState;
    pub use crate::membership::join::{JoinError, Joined, found, join, join_on};
    pub use crate::membership::recovery::survey::{Recovered, Sought, Survey, survey};
    pub use crate::membership::recovery::{Life, RecoverError, member_log};
    pub use crate::membership::standing::NotMet;
    pub use crate::message::room::MemberRoom;
    pub use stash_p2p::PeerStats;
}

pub mod records {
    //! Records: how one is written, which are accepted, and what the node's clock is worth for
    //! their dates.
    //!
    //! Start with [`Write`], of which the engine makes a [`Draft`] at a [`Position`].

    pub use crate::ledger::author::{Draft, Position, Write};
    pub use crate::ledger::clock::{ClockTrust, JUMP, PROBATION};
    pub use crate::ledger::divergence::Reissue;
    pub use crate::ledger::error::{LedgerError, NameFull, WriteError};
    pub use crate::ledger::rules::{Unacceptable, accept};
}

pub mod transfers {
    //! Exchanges between nodes: puts and the copies that they wait for, gets, evictions, damage
    //! that waits for a whole copy, and the rates of it all.
    //!
    //! Start with [`Upload`], [`Fetch`] and [`Traffic`].

    pub use crate::message::holding::Holding;
    pub use crate::transfer::background::{Replicated, Traffic};
    pub use crate::transfer::cache::{CacheView, OverKeep};
    pub use crate::transfer::damage::{Damage, Damaged};
    pub use crate::transfer::evict::outcome::{EvictError, EvictStop, Evicted};
    pub use crate::transfer::fetch::{Fetch, FetchError};
    pub use crate::transfer::tally::{STALL, Tally, UnknownWait, Wait};
    pub use crate::transfer::upload::{Outcome, Pending, PutError, Upload};
    pub use stash_p2p::{Bandwidth, MIN_RATE, Rate, RateTooLow, Subnet};
}

pub mod housekeeping {
    //! Work that a node does unasked: collection, scrubs, repair, counts of copies, and challenges.
    //!
    //! Start with [`Housekeeping`], its settings; [`Housekeeper`] does it in steps.

    pub use crate::replication::statements::Stated;
    pub use crate::transfer::suspects::Trial;
    pub use crate::upkeep::counts::{Copies, MemberCopies};
    pub use crate::upkeep::house::HouseStatus;
    pub use crate::upkeep::housekeeping::{DAMAGE_LISTED, Housekeeper};
    pub use crate::upkeep::on_demand::{Checked, HouseError, ScrubReport};
    pub use crate::upkeep::repair::Repaired;
    pub use crate::upkeep::repairs::RepairStatus;
    pub use crate::upkeep::safety::{Has, Safety, Verdict};
    pub use crate::upkeep::schedule::Housekeeping;
}
