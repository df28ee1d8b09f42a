//! Member entries, and the log that they make.

use arbitrary::Unstructured;

use super::{NODES, ROOT, block, stash};
use crate::codec::Reader;
use crate::keys::RootSigner;
use crate::{Cut, Dot, EntryHash, JoinRequest, MemberChange, MemberEntry, MemberLog, Writer};

/// Entries of one input: each is signed and verified, which takes a tenth of a millisecond.
const ENTRIES: usize = 12;

/// A member entry as a peer sends it.
pub fn member_entry(bytes: &[u8]) -> bool {
    let Ok(entry) = MemberEntry::decode(bytes) else {
        return false;
    };
    assert_eq!(entry.bytes(), bytes);
    let mut change = Vec::new();
    entry.change().encode(&mut change);
    assert_eq!(change, bytes[76..bytes.len() - 64], "the change has another encoding");
    let mut log = MemberLog::new(entry.stash());
    if log.push(entry.clone()).is_err() {
        assert!(log.is_empty());
    } else {
        assert_eq!(log.entries(), [entry]);
    }
    true
}

/// Any row of changes, all of them signed by the root: a log takes each whole or is as it was.
///
/// For each change: 1 byte of kind, 1 of place (0 is where it belongs), 1 of node, then its fields
/// with their length (u16) before them. The node's keys and signature are put right where the
/// change says which node it is about.
pub fn member_log(bytes: &[u8]) -> bool {
    let signer = ROOT.root_signer();
    let mut input = Unstructured::new(bytes);
    let mut log = MemberLog::new(stash());
    let mut refused = false;
    for _ in 0..ENTRIES {
        if input.is_empty() {
            break;
        }
        match next(&mut input, &log, &signer) {
            Some(entry) => refused |= !push(&mut log, entry),
            None => refused = true,
        }
    }
    let mut again = MemberLog::new(stash());
    for entry in log.entries() {
        let copy = MemberEntry::decode(entry.bytes()).expect("it is in the log");
        assert_eq!(again.push(copy), Ok(()));
    }
    assert_eq!(again, log);
    assert!(log.network_keys(None, &ROOT.wrap_secret()).len() <= log.entries().len());
    let roots = log.read_roots(None, &ROOT.wrap_secret(), &[ROOT.read_root()]);
    assert!(roots.windows(2).all(|pair| pair[0].epoch() < pair[1].epoch()));
    !refused
}

fn push(log: &mut MemberLog, entry: MemberEntry) -> bool {
    let before = log.clone();
    let pushed = log.push(entry.clone());
    match &pushed {
        Err(_) => assert_eq!(*log, before, "a refused entry changed the log"),
        Ok(()) if log.len() == before.len() => assert_eq!(*log, before),
        Ok(()) => {
            assert_eq!(log.len(), before.len() + 1);
            assert_eq!(log.head(), entry.hash());
            assert!(log.epoch() >= before.epoch());
        }
    }
    for removal in log.removals() {
        for cut in &removal.cuts {
            assert_eq!(Cut::from_bytes(&cut.to_bytes()), Some(*cut));
            let writer =
                Writer { node: removal.member.identity.node, incarnation: cut.incarnation };
            let n = log.cut_of(&writer).expect("it was cut").n;
            let past = Dot { writer, n: n + 1 };
            assert!(log.admits(&past, &cut.hash).is_err(), "past its cut");
        }
    }
    for member in log.members() {
        let node = member.identity.node;
        assert!(log.removal(&node).is_none(), "both a member and removed");
        assert_eq!(log.by_noise(&member.identity.noise), Some(member));
    }
    pushed.is_ok()
}

fn next(input: &mut Unstructured<'_>, log: &MemberLog, signer: &RootSigner) -> Option<MemberEntry> {
    let (code, place, node): (u8, u8, u8) = input.arbitrary().unwrap_or_default();
    let mut fields = Reader::new(block(input));
    let change = MemberChange::read(code, &mut fields).ok().filter(|_| fields.is_empty())?;
    let change = about(change, node);
    let (index, previous) = match place % 8 {
        1 => (log.len() + 1, log.head()),
        2 => (log.len().saturating_sub(1), log.head()),
        3 => (log.len(), EntryHash::ZERO),
        4 => {
            let held = log.entries().get(usize::from(place / 8));
            held.map_or((0, EntryHash::ZERO), |held| (held.index(), held.previous()))
        }
        _ => (log.len(), log.head()),
    };
    MemberEntry::sign(signer, index, previous, change).ok()
}

/// The same change about a node whose keys are known, with that node's signature.
fn about(change: MemberChange, node: u8) -> MemberChange {
    let keys = &NODES[usize::from(node) % NODES.len()];
    match change {
        MemberChange::Admit { role, ticket, label, .. } => {
            let request = JoinRequest::sign(keys, &stash(), ticket, "").expect("an empty name");
            let (identity, node_signature) = (request.identity, request.signature);
            MemberChange::Admit { identity, role, ticket, label, node_signature }
        }
        MemberChange::SetRole { role, cuts, .. } => {
            MemberChange::SetRole { node: keys.node_id(), role, cuts }
        }
        MemberChange::Remove { cuts, .. } => MemberChange::Remove { node: keys.node_id(), cuts },
        MemberChange::Cuts { count, list, .. } => {
            MemberChange::Cuts { node: keys.node_id(), count, list }
        }
        MemberChange::Lapse { lapsed, .. } => MemberChange::Lapse { node: keys.node_id(), lapsed },
        other => other,
    }
}
