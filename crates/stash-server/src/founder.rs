//! Work that only the holder of the root secret does: invite, admit, change, end.

pub(crate) mod admit;
pub(crate) mod change;
pub(crate) mod invite;
pub(crate) mod tickets;
pub(crate) mod writers;

use std::sync::Arc;

use crate::core::Core;
use crate::membership::Membership;
use crate::replication::Replication;

/// The state of signing the member log.
#[derive(Debug)]
pub(crate) struct Founder {
    pub core: Arc<Core>,
    pub membership: Arc<Membership>,
    pub replication: Arc<Replication>,
    /// Held while members or tickets are changed: one change at a time, since an entry of the
    /// member log follows the one before.
    pub admitting: tokio::sync::Mutex<()>,
}
