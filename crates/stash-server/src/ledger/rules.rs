//! Rules by which a node accepts records. Pure: no store, no network, no clock.
//!
//! Records apply in any order and a gap in a writer's numbers blocks nothing, so every rule looks
//! at one record and the member log alone.

use stash_crypto::member::{Barred, Misnamed};
use stash_crypto::record::Verifier;
use stash_crypto::{Dot, Record, RecordHash, StashId, Vector};

/// Reason why a record is not accepted. Its sender or author is at fault; nothing was kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// The bytes are no record.
    #[error("the record is malformed: {0}")]
    Malformed(String),
    /// The record belongs to another stash.
    #[error("the record belongs to stash {}", .0.short())]
    OtherStash(StashId),
    /// The member log does not let it count: its writer may not write, or its records end before
    /// it.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// The member log does not let its vector stand.
    #[error(transparent)]
    Misnamed(#[from] Misnamed),
    /// The epoch is one that the member log has not opened.
    #[error("the record is of epoch {got}, and the stash is at epoch {current}")]
    FutureEpoch {
        /// The record's epoch.
        got: u32,
        /// The latest epoch of the member log.
        current: u32,
    },
    /// The signature does not verify.
    #[error("the record's signature is not the writer's")]
    Signature,
}

impl Unacceptable {
    /// True if a longer member log may accept it: it is asked for again once there is one.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Unacceptable::Misnamed(why) => why.is_passing(),
            Unacceptable::FutureEpoch { .. } => true,
            Unacceptable::Barred(why) => !matches!(why, Barred::PastCut { .. }),
            _ => false,
        }
    }
}

/// Checks one record; `names` is what the member log says of its vector
/// ([`MemberLog::names`](stash_crypto::MemberLog::names)), and `admits` is what the member log says
/// of its dot and hash ([`MemberLog::admits`](stash_crypto::MemberLog::admits)). The signature, the
/// dearest test, comes last; without a verifier it is taken as verified before.
///
/// # Errors
///
/// The first rule that the record breaks.
pub fn accept(
    record: &Record,
    stash: &StashId,
    epoch: u32,
    admits: impl Fn(&Dot, &RecordHash) -> Result<(), Barred>,
    names: impl Fn(&Vector) -> Result<(), Misnamed>,
    verifier: Option<&mut Verifier>,
) -> Result<(), Unacceptable> {
    let clear = record.clear();
    if clear.stash != *stash {
        return Err(Unacceptable::OtherStash(clear.stash));
    }
    admits(&clear.dot, &record.hash())?;
    names(&clear.seen)?;
    if clear.epoch > epoch {
        return Err(Unacceptable::FutureEpoch { got: clear.epoch, current: epoch });
    }
    verifier.map_or(Ok(()), |verifier| verifier.verify(record)).map_err(|_| Unacceptable::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    use stash_crypto::{
        Clear, ForgetKind, Incarnation, Key, Manifest, Meta, NodeKeys, ReadRoot, RecordDraft,
        RecordKind, Role, RootSecret, Writer,
    };

    const ROOT: [u8; 32] = [1; 32];

    const OWNER: [u8; 32] = [2; 32];

    fn stash() -> StashId {
        RootSecret::from_bytes(ROOT).stash_id()
    }

    fn clear() -> Clear {
        let writer = Writer {
            node: NodeKeys::from_seed(OWNER).node_id(),
            incarnation: Incarnation::from_bytes([3; 8]),
        };
        Clear {
            stash: stash(),
            kind: RecordKind::Put,
            name: stash_crypto::NameId::from_bytes([4; 32]),
            dot: Dot { writer, n: 2 },
            previous: RecordHash::from_bytes([0; 32]),
            height: 1,
            epoch: 0,
            seen: Vector::new(),
            manifest: Manifest::Direct(Vec::new()),
        }
    }

    /// Signs whatever is said; the keys that seal the meta play no part in the rules.
    fn signed(clear: Clear) -> Record {
        let key = Key::new("k").unwrap();
        let inline = (clear.kind == RecordKind::Put).then(Vec::new);
        let meta = clear.kind.is_version().then(|| Meta { inline, ..Meta::new(key, 0) });
        let keys = ReadRoot::from_parts(clear.epoch, [5; 32]).meta_keys();
        let draft = RecordDraft { clear, meta };
        draft.sign(NodeKeys::from_seed(OWNER).signer(), &keys).unwrap()
    }

    /// Judges a record at an epoch, with its writer in a role.
    fn judged(record: &Record, epoch: u32, role: Option<Role>) -> Result<(), Unacceptable> {
        let admits = |dot: &Dot, _: &RecordHash| match role {
            Some(Role::Owner) => Ok(()),
            Some(role) => Err(Barred::NotOwner { node: dot.writer.node, role }),
            None => Err(Barred::NotMember(dot.writer.node)),
        };
        accept(record, &stash(), epoch, admits, |_| Ok(()), Some(&mut Verifier::default()))
    }

    fn by_owner(record: &Record) -> Result<(), Unacceptable> {
        judged(record, 0, Some(Role::Owner))
    }

    fn flipped(record: &Record, at: usize) -> Record {
        let mut bytes = record.bytes().to_vec();
        bytes[at] ^= 1;
        Record::decode(&bytes).unwrap()
    }

    #[test]
    fn puts_and_tombstones_of_owners_are_accepted() {
        for kind in [RecordKind::Put, RecordKind::Tombstone] {
            assert_eq!(by_owner(&signed(Clear { kind, ..clear() })), Ok(()), "{kind:?}");
        }
    }

    // Fault case 8.
    #[test]
    fn a_record_of_another_stash_is_not_accepted() {
        let other = RootSecret::from_bytes([9; 32]).stash_id();
        let record = signed(Clear { stash: other, ..clear() });
        assert_eq!(by_owner(&record), Err(Unacceptable::OtherStash(other)));
    }

    // Fault cases 23 and 25.
    #[test]
    fn only_members_that_write_now_are_accepted() {
        let (record, node) = (signed(clear()), clear().dot.writer.node);
        assert_eq!(judged(&record, 0, None), Err(Barred::NotMember(node).into()));
        for role in [Role::Reader, Role::Keeper] {
            let refused = Err(Barred::NotOwner { node, role }.into());
            assert_eq!(judged(&record, 0, Some(role)), refused);
        }
    }

    // Fault case 23.
    #[test]
    fn an_epoch_is_accepted_from_when_the_member_log_opens_it() {
        let record = signed(Clear { epoch: 3, ..clear() });
        let refused = Err(Unacceptable::FutureEpoch { got: 3, current: 2 });
        assert_eq!(judged(&record, 2, Some(Role::Owner)), refused);
        for current in [3, 4] {
            assert_eq!(judged(&record, current, Some(Role::Owner)), Ok(()));
        }
    }

    // Fault case 26: keepers and readers forget nothing.
    #[test]
    fn forgets_of_owners_are_accepted_and_of_nobody_else() {
        let mut seen = Vector::new();
        let writer = Writer { incarnation: Incarnation::from_bytes([8; 8]), ..clear().dot.writer };
        seen.insert(Dot { writer, n: 1 }).unwrap();
        for kind in [ForgetKind::Covered, ForgetKind::Dead] {
            let kind = RecordKind::Forget(kind);
            let record = signed(Clear { kind, seen: seen.clone(), ..clear() });
            assert_eq!(by_owner(&record), Ok(()), "{kind:?}");
            let node = clear().dot.writer.node;
            for role in [Role::Reader, Role::Keeper] {
                let refused = Err(Barred::NotOwner { node, role }.into());
                assert_eq!(judged(&record, 0, Some(role)), refused, "{kind:?}");
            }
        }
    }

    // Fault case 23. Offsets are those of `docs/format.md` A.7.
    #[test]
    fn every_part_of_a_record_stands_under_the_signature() {
        let record = signed(clear());
        let len = record.bytes().len();
        let places = [
            ("name", 36),
            ("incarnation", 100),
            ("n", 108),
            ("height", 148),
            ("sealed meta", len - 65),
            ("signature, first half", len - 64),
            ("signature, second half", len - 32),
        ];
        for (what, at) in places {
            let refused = by_owner(&flipped(&record, at));
            assert_eq!(refused, Err(Unacceptable::Signature), "{what}");
        }
        let epoch = judged(&flipped(&record, 156), 1, Some(Role::Owner));
        assert_eq!(epoch, Err(Unacceptable::Signature), "an epoch that is open");
    }

    // Fault case 23.
    #[test]
    fn what_a_longer_log_may_accept_is_refused_for_now_and_the_rest_for_good() {
        let (record, node) = (signed(clear()), clear().dot.writer.node);
        let cases = [
            (Misnamed::Unknown(node), true),
            (Misnamed::Early { index: 7, len: 7 }, true),
            (Misnamed::NotRemoved { node, index: 1 }, false),
        ];
        for (why, passing) in cases {
            let names = |_: &Vector| Err(why);
            let refused = accept(&record, &stash(), 0, |_, _| Ok(()), names, None).unwrap_err();
            assert_eq!(refused, Unacceptable::Misnamed(why));
            assert_eq!(refused.is_passing(), passing, "{why}");
        }
        let barred = |why: Barred| Unacceptable::from(why).is_passing();
        assert!(barred(Barred::NotMember(node)), "it may have been admitted");
        let writer = clear().dot.writer;
        assert!(!barred(Barred::PastCut { writer, n: 1 }), "of two cuts the first stands");
        assert!(!Unacceptable::Signature.is_passing());
    }

    // Fault case 24.
    #[test]
    fn a_number_at_the_cap_is_accepted() {
        let dot = Dot { n: stash_crypto::record::N_MAX, ..clear().dot };
        assert_eq!(by_owner(&signed(Clear { dot, ..clear() })), Ok(()));
    }
}
