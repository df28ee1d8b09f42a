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

mod admission;
mod asker;
mod buffers;
mod core;
mod disk;
mod door;
mod engine;
mod founder;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod layers;
mod ledger;
mod lock;
mod membership;
mod message;
mod meter;
mod peers;
mod replication;
mod rounds;
mod rpc;
mod serve;
mod tasks;
mod transfer;
mod turn;
mod upkeep;

pub use admission::{Admission, Full, SignFailure};
pub use buffers::buffer::{Buffer, MAX_BUFFER, Shared};
pub use buffers::pool::BufferPool;
pub use disk::Mode;
pub use engine::Engine;
pub use engine::options::{EngineOptions, StartError};
pub use engine::paper::Paper;
pub use engine::view::{EngineStatus, MemberView, RemovedView};
pub use founder::change::{ChangeMemberError, MembersChanged};
pub use founder::invite::{InviteError, MAX_TICKET_LIFE};
pub use founder::tickets::{RevokeError, TicketView};
pub use ledger::author::{Draft, Position, Write};
pub use ledger::clock::{ClockTrust, JUMP, PROBATION};
pub use ledger::divergence::Reissue;
pub use ledger::error::{LedgerError, NameFull, RosterError, WriteError};
pub use ledger::rules::{Unacceptable, accept};
pub use membership::confirmation::Confirmed;
pub use membership::join::{JoinError, Joined, found, join, join_on};
pub use membership::recovery::survey::{Recovered, Sought, Survey, survey};
pub use membership::recovery::{Life, RecoverError, member_log};
pub use membership::standing::NotMet;
pub use message::reply::Refusal;
pub use message::room::MemberRoom;
pub use rpc::AskError;
pub use stash_p2p::Environment;
pub use stash_p2p::{Bandwidth, MIN_RATE, PeerStats, Rate, RateTooLow};
pub use stash_store as store;
pub use tasks::{ListedTask, TaskStatus};
pub use transfer::background::{Replicated, Traffic};
pub use transfer::damage::{Damage, Damaged};
pub use transfer::evict::outcome::{EvictError, EvictStop, Evicted};
pub use transfer::fetch::{Fetch, FetchError};
pub use transfer::holders::Holding;
pub use transfer::suspects::Trial;
pub use transfer::tally::{STALL, Tally, UnknownWait, Wait};
pub use transfer::upload::{Outcome, Pending, PutError, Upload};
pub use upkeep::counts::{Copies, MemberCopies};
pub use upkeep::house::HouseStatus;
pub use upkeep::housekeeping::{DAMAGE_LISTED, Housekeeper};
pub use upkeep::on_demand::{Checked, HouseError, ScrubReport};
pub use upkeep::repair::Repaired;
pub use upkeep::repairs::RepairStatus;
pub use upkeep::schedule::Housekeeping;
