//! The other end of a request, and what its role allows.

use stash_crypto::{NodeId, Role};

use crate::core::Core;

/// The sender of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    /// A member.
    Member(NodeId, Role),
    /// The holder of the root secret, which admits itself again after a loss.
    Root,
    /// A member that was removed while it was connected.
    Nobody,
}

impl Asker {
    /// The account that the answer is charged to. The holder of the root secret has one of its own.
    pub(crate) fn account(self) -> NodeId {
        match self {
            Asker::Member(node, _) => node,
            Asker::Root | Asker::Nobody => NodeId::from_bytes([0; 32]),
        }
    }

    /// The same with the role that the member log gives now.
    pub(crate) fn now(self, core: &Core) -> Asker {
        match self {
            Asker::Member(node, _) => {
                core.roster.role(&node).map_or(Asker::Nobody, |role| Asker::Member(node, role))
            }
            other => other,
        }
    }
}
