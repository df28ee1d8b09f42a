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
//! What nodes say to each other is specified in `docs/protocol.md`, part B.

mod addresses;
mod author;
mod catchup;
mod challenge;
mod compare;
mod comparing;
mod core;
mod cuts;
mod damage;
mod disk;
mod door;
mod engine;
mod evict;
mod fetch;
mod flying;
mod founders;
mod freshness;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod giving;
mod holding;
mod housekeeping;
mod incarnations;
mod intake;
mod join;
mod joint;
mod lane;
mod lapse;
mod lease;
mod ledger;
mod logs;
mod members;
mod message;
mod meter;
mod paper;
mod parted;
mod parting;
mod places;
mod pool;
mod proof;
mod recovery;
mod refused;
mod repair;
mod restored;
mod rooms;
mod roster;
mod rounds;
mod rules;
mod schedule;
mod seen;
mod serve;
mod shipment;
mod short;
mod sources;
mod standing;
mod sync;
mod tally;
mod ticketing;
mod tickets;
mod traffic;
mod trust;
mod turn;
mod upload;
mod wants;

pub use author::{Draft, Position, Write, WriteError};
pub use challenge::Trial;
pub use core::AskError;
pub use damage::{Damage, Damaged};
pub use disk::Mode;
pub use engine::{Engine, EngineOptions, EngineStatus, MemberView, RemovedView, StartError};
pub use evict::{EvictError, EvictStop, Evicted};
pub use fetch::{Fetch, FetchError};
pub use freshness::Confirmed;
pub use holding::Holding;
pub use housekeeping::{Checked, DAMAGE_LISTED, HouseError, HouseStatus, Housekeeper, ScrubReport};
pub use join::{
    Admission, Full, InviteError, JoinError, Joined, MAX_TICKET_LIFE, found, join, join_on,
};
pub use ledger::LedgerError;
pub use members::{ChangeMemberError, MembersChanged};
pub use message::Refusal;
pub use paper::Paper;
pub use pool::{Buffer, BufferPool, MAX_BUFFER, Shared};
pub use recovery::{Life, RecoverError, Recovered, Sought, Survey, member_log, survey};
pub use repair::{Copies, MemberCopies, RepairStatus, Repaired};
pub use restored::Reissue;
pub use rooms::MemberRoom;
pub use roster::RosterError;
pub use rules::{Unacceptable, accept};
pub use schedule::Housekeeping;
pub use seen::NameFull;
pub use standing::NotMet;
pub use stash_p2p::Environment;
pub use tally::{STALL, Tally, UnknownWait, Wait};
pub use ticketing::{RevokeError, TicketView};
pub use traffic::{Replicated, Traffic};
pub use trust::{ClockTrust, JUMP, PROBATION};
pub use upload::{Outcome, Pending, PutError, Upload};

pub use stash_p2p::{Bandwidth, MIN_RATE, PeerStats, Rate, RateTooLow};
pub use stash_store as store;
