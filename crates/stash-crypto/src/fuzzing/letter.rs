//! The messages of nodes to each other: join requests, addresses, grants, wraps, labels.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{NODES, ROOT, stash};
use crate::keys::WRAP_OVERHEAD;
use crate::member::{SignedAddresses, Statement, label_epoch};
use crate::{JoinRequest, KeyGrant};

/// A join request.
pub fn join(bytes: &[u8]) -> bool {
    let Ok(request) = JoinRequest::decode(bytes) else {
        return false;
    };
    assert_eq!(request.encode(), bytes);
    request.verify(&stash()).is_ok()
}

/// Signed addresses.
pub fn addresses(bytes: &[u8]) -> bool {
    let Ok(signed) = SignedAddresses::decode(bytes) else {
        return false;
    };
    assert_eq!(signed.encode(), bytes);
    signed.verify(&stash()).is_ok()
}

/// What a node says of itself.
pub fn statement(bytes: &[u8]) -> bool {
    let Ok(signed) = Statement::decode(bytes) else {
        return false;
    };
    assert_eq!(signed.encode(), bytes);
    signed.verify(&stash()).is_ok()
}

/// The keys that a member is given.
pub fn grant(bytes: &[u8]) -> bool {
    let Ok(grant) = KeyGrant::decode(bytes) else {
        return false;
    };
    assert_eq!(grant.encode().as_deref().map(Vec::as_slice), Ok(bytes));
    true
}

/// A wrap that a stranger made; then the same bytes as what is wrapped.
pub fn wrap(bytes: &[u8]) -> bool {
    let (to, secret) = (NODES[0].wrap_public(), NODES[0].wrap_secret());
    let strange = crate::keys::unwrap(secret, &stash(), bytes);
    if let Ok(plain) = &strange {
        assert_eq!(plain.len() + WRAP_OVERHEAD, bytes.len());
    }
    let wrapped = crate::keys::wrap(&to, &stash(), bytes, &mut StdRng::seed_from_u64(1));
    let opened = crate::keys::unwrap(secret, &stash(), &wrapped.expect("the key is a good one"));
    assert_eq!(opened.as_deref().map(Vec::as_slice), Ok(bytes));
    strange.is_ok()
}

/// A sealed display name; then the same bytes as a name.
pub fn label(bytes: &[u8]) -> bool {
    let (keys, node) = (ROOT.read_root().label_keys(), NODES[0].node_id());
    if let Ok(name) = keys.open(bytes, &node) {
        assert_eq!(label_epoch(bytes), Some(keys.epoch()));
        assert_eq!(keys.seal(&name, &node).as_deref(), Ok(bytes));
        return true;
    }
    let Ok(name) = std::str::from_utf8(bytes) else {
        return false;
    };
    let label = keys.seal(name, &node);
    if let Ok(label) = &label {
        assert_eq!(keys.open(label, &node).as_deref(), Ok(name));
    }
    label.is_ok()
}
