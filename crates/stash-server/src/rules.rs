//! Which records a node accepts. Pure: no store, no network, no clock.
//!
//! Records apply in any order and a gap in a writer's numbers blocks nothing, so every rule looks
//! at one record and the member log alone.

use stash_crypto::{NodeId, Record, RecordKind, Role, StashId};

/// Why a record is not accepted. Its sender or author is at fault; nothing was kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// The bytes are no record.
    #[error("the record is malformed: {0}")]
    Malformed(String),
    /// The record belongs to another stash.
    #[error("the record belongs to stash {}", .0.short())]
    OtherStash(StashId),
    /// The writer is no member, or one that was removed.
    #[error("the writer {} is no member", .0.short())]
    NotMember(NodeId),
    /// The writer may not write.
    #[error("the writer {} is a {role}, and only owners write", .node.short())]
    NotOwner {
        /// The writer.
        node: NodeId,
        /// Its role.
        role: Role,
    },
    /// The epoch is one that the member log has not opened.
    #[error("the record is of epoch {got}, and the stash is at epoch {current}")]
    FutureEpoch {
        /// The record's epoch.
        got: u32,
        /// The latest epoch of the member log.
        current: u32,
    },
    /// Forget records need the retention rules, which this version does not carry out.
    #[error("forget records are not accepted by this version")]
    Forget,
    /// The signature does not verify.
    #[error("the record's signature is not the writer's")]
    Signature,
}

/// Checks one record; the signature, the dearest test, comes last.
///
/// # Errors
///
/// The first rule that the record breaks.
pub fn accept(
    record: &Record,
    stash: &StashId,
    epoch: u32,
    role_of: impl Fn(&NodeId) -> Option<Role>,
) -> Result<(), Unacceptable> {
    let clear = record.clear();
    if clear.stash != *stash {
        return Err(Unacceptable::OtherStash(clear.stash));
    }
    let node = clear.dot.writer.node;
    let role = role_of(&node).ok_or(Unacceptable::NotMember(node))?;
    if !role.writes() {
        return Err(Unacceptable::NotOwner { node, role });
    }
    if clear.epoch > epoch {
        return Err(Unacceptable::FutureEpoch {
            got: clear.epoch,
            current: epoch,
        });
    }
    if matches!(clear.kind, RecordKind::Forget(_)) {
        return Err(Unacceptable::Forget);
    }
    record.verify().map_err(|_| Unacceptable::Signature)
}
