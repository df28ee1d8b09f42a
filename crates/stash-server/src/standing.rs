//! Whether the founder may add to the member log.
//!
//! An entry goes to the end of the log as this node knows it. A founder that was brought back from a
//! copy, or whose store was made anew, may know less of it than others do, and would give a second
//! meaning to a place that has one: a fork, which nothing mends. So it signs nothing before one full
//! exchange with another member has ended since its start. From then on nobody knows more: this node
//! alone adds to the log.

use std::time::Duration;

use stash_store::Store;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::catchup;
use crate::core::Core;
use crate::engine::Engine;
use crate::roster::Roster;

/// This node has ended no full exchange with another member since its start. Nothing changed. Connect
/// a member, and try again; or call [`Engine::vouch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node has not met another member since it was started, and another one may know of changes \
     among members that are not known here"
)]
pub struct NotMet;

/// How long a change waits for the first exchange with a member that is connected already.
const EXCHANGE: Duration = Duration::from_secs(10);

/// Whether nobody knows more of the member log than this node.
#[derive(Debug)]
pub(crate) struct Standing(watch::Sender<bool>);

impl Standing {
    /// A stash of one has nobody to ask, unless its store is not the one that the node left.
    pub(crate) fn at_start(roster: &Roster, store: &Store) -> Standing {
        let alone = roster.members().len() == 1;
        Standing(watch::Sender::new(alone && catchup::is_complete(store)))
    }

    /// A full exchange has ended with a member whose log is the same or a part of this node's.
    pub(crate) fn met(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn check(&self) -> Result<(), NotMet> {
        if *self.0.borrow() { Ok(()) } else { Err(NotMet) }
    }
}

/// The same as [`Standing::check`], a little later if a member has just come.
pub(crate) async fn assure(core: &Core) -> Result<(), NotMet> {
    if core.standing.check().is_err() && !core.connected().is_empty() {
        let mut known = core.standing.0.subscribe();
        // However the wait ends, what counts is how it stands then.
        let _ = timeout(EXCHANGE, known.wait_for(|known| *known)).await;
    }
    core.standing.check()
}

/// Whether a lapse may be said: as any change, and also when every other member has been away for as
/// long as that takes. Waiting for one of them would mean that nobody ever lapses.
pub(crate) fn may_lapse(core: &Core, everybody_is_away: bool) -> bool {
    core.standing.check().is_ok() || everybody_is_away && catchup::synchronised(core)
}

impl Engine {
    /// The caller says that no member knows more of the member log than this node, since those that
    /// might are gone for good: until this engine stops, the founder signs without having met one. If
    /// that is wrong, the log forks: an alarm on every member that sees both sides, which does not end.
    pub fn vouch(&self) {
        self.core.standing.met();
    }
}
