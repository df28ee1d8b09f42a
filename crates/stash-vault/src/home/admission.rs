//! Signing the member log: the one thing that needs the root secret while a node runs.

use stash_crypto::keys::{NoiseSecret, wrap};
use stash_crypto::member::{Confirmation, EntryError, LabelError, change_members};
use stash_crypto::{
    JoinRequest, KeyGrant, MemberChange, MemberEntry, MemberLog, NodeKeys, ReadRoot, Role,
    RootSecret, StashId, TicketId,
};
use stash_server::Admission;
use stash_server::members::SignFailure;
use thiserror::Error;

/// The ticket id of members that came without a ticket: the founder, and a recovered owner.
pub(crate) const NO_TICKET: TicketId = TicketId::from_bytes([0; 16]);

/// A member entry could not be made. The caller's input is wrong: nothing was signed.
#[derive(Debug, Error)]
pub enum AdmitError {
    /// The display name is too long or otherwise not allowed.
    #[error("the display name is not allowed: {0}")]
    Name(#[from] LabelError),
    /// The entry breaks a rule of the member log.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

/// Signs member entries with the root secret, and wraps to each member the keys of its role.
pub(crate) struct RootAdmission {
    root: RootSecret,
}

impl RootAdmission {
    pub(crate) fn new(root: &RootSecret) -> Self {
        RootAdmission { root: root.duplicate() }
    }

    /// The keys of every epoch: a keeper gets what it needs to talk; only those who may read get
    /// read roots.
    fn grant(&self, log: &MemberLog, role: Role) -> KeyGrant {
        let mut grant = root_keys(&self.root, log);
        if !role.reads() {
            grant.read.clear();
        }
        grant
    }
}

/// Every epoch's keys, as whoever holds the root secret has them from the log.
pub(crate) fn root_keys(root: &RootSecret, log: &MemberLog) -> KeyGrant {
    let secret = root.wrap_secret();
    let (mut network, mut read) = (vec![root.network_key()], vec![root.read_root()]);
    network.extend(log.network_keys(None, &secret));
    read.extend(log.read_roots(None, &secret, &read));
    KeyGrant { network, read }
}

impl Admission for RootAdmission {
    fn admit(
        &self,
        log: &MemberLog,
        request: &JoinRequest,
        role: Role,
    ) -> Result<(MemberEntry, Vec<u8>), SignFailure> {
        let entry = entry(&self.root, log, request, role)?;
        let grant = self.grant(log, role).encode()?;
        let stash = self.root.stash_id();
        Ok((entry, wrap(&request.identity.wrap, &stash, &grant, &mut rand::rng())?))
    }

    fn change(
        &self,
        log: &MemberLog,
        change: MemberChange,
    ) -> Result<Vec<MemberEntry>, SignFailure> {
        Ok(change_members(log, &self.root, change, &mut rand::rng())?)
    }

    fn confirm(&self, log: &MemberLog, counter: u64, time: u64) -> Option<Confirmation> {
        let whole = (log.len(), log.head());
        Some(Confirmation::sign(&self.root.root_signer(), whole, counter, time))
    }

    fn root_noise(&self) -> Option<NoiseSecret> {
        Some(self.root.noise_static())
    }
}

/// The entry that admits the author of `request` at the end of `log`. Its name is sealed with the
/// newest read root, so that nobody who was removed reads it.
pub(crate) fn entry(
    root: &RootSecret,
    log: &MemberLog,
    request: &JoinRequest,
    role: Role,
) -> Result<MemberEntry, AdmitError> {
    let label = match request.display_name.as_str() {
        "" => Vec::new(),
        name => {
            let roots = root_keys(root, log).read;
            let newest = roots.last().map_or_else(|| root.read_root(), ReadRoot::duplicate);
            newest.label_keys().seal(name, &request.identity.node)?
        }
    };
    let change = MemberChange::Admit {
        identity: request.identity,
        role,
        ticket: request.ticket,
        label,
        node_signature: request.signature,
    };
    Ok(MemberEntry::sign(&root.root_signer(), log.len(), log.head(), change)?)
}

/// The log of a new stash: the root's public keys, and its founder.
pub(crate) fn founding(
    root: &RootSecret,
    node: &NodeKeys,
    display_name: &str,
) -> Result<MemberLog, AdmitError> {
    let stash: StashId = root.stash_id();
    let mut log = MemberLog::new(stash);
    let keys = MemberChange::Root { noise: root.noise_static().public(), wrap: root.wrap_public() };
    let first = MemberEntry::sign(&root.root_signer(), 0, log.head(), keys)?;
    log.push(first).expect("the first entry of an empty log is valid");
    let request = JoinRequest::sign(node, &stash, NO_TICKET, display_name)?;
    let founder = entry(root, &log, &request, Role::Owner)?;
    log.push(founder).expect("a founder that was just generated is no member yet");
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stash_crypto::keys::unwrap;

    fn admission(root: &RootSecret) -> RootAdmission {
        RootAdmission::new(root)
    }

    fn admit(role: Role) -> (MemberLog, NodeKeys, KeyGrant) {
        let mut rng = rand::rng();
        let root = RootSecret::generate(&mut rng);
        let mut log = founding(&root, &NodeKeys::generate(&mut rng), "founder").unwrap();
        let joiner = NodeKeys::generate(&mut rng);
        let ticket = TicketId::from_bytes([5; 16]);
        let request = JoinRequest::sign(&joiner, &root.stash_id(), ticket, "joiner").unwrap();
        let (entry, wrapped) = admission(&root).admit(&log, &request, role).unwrap();
        log.push(entry).unwrap();
        let grant = unwrap(joiner.wrap_secret(), &root.stash_id(), &wrapped).unwrap();
        (log, joiner, KeyGrant::decode(&grant).unwrap())
    }

    #[test]
    fn an_admitted_member_stands_in_the_log_with_its_role() {
        let (log, joiner, _) = admit(Role::Reader);
        assert_eq!(log.member(&joiner.node_id()).unwrap().role, Role::Reader);
        assert_eq!(log.len(), 3, "the root's keys, the founder, the joiner");
        assert!(log.root_noise().is_some(), "the root can speak to members after a loss");
    }

    #[test]
    fn a_keeper_is_given_no_read_root() {
        let (_, _, grant) = admit(Role::Keeper);
        assert_eq!((grant.network.len(), grant.read.len()), (1, 0));
        for role in [Role::Reader, Role::Owner] {
            let (_, _, grant) = admit(role);
            assert_eq!((grant.network.len(), grant.read.len()), (1, 1));
        }
    }

    #[test]
    fn a_display_name_is_sealed_and_may_be_absent() {
        let root = RootSecret::generate(&mut rand::rng());
        let node = NodeKeys::generate(&mut rand::rng());
        let log = founding(&root, &node, "alice").unwrap();
        let label = &log.member(&node.node_id()).unwrap().label;
        assert!(!label.windows(5).any(|part| part == b"alice"));
        let keys = root.read_root().label_keys();
        assert_eq!(keys.open(label, &node.node_id()).unwrap(), "alice");
        let log = founding(&root, &node, "").unwrap();
        assert!(log.member(&node.node_id()).unwrap().label.is_empty());
    }
}
