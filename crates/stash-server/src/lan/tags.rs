//! The tags by which members are recognised on a local network: those of every member, under every network key known here, in this hour
//! and the two beside it, since clocks differ.

use std::collections::BTreeMap;

use stash_crypto::{LAN_TAG_LEN, NetworkKey, NodeId};

/// Keys under which members are looked for, the newest ones: each removal makes one. A member that was away for more removals than that
/// is found in other ways.
const MAX_KEYS: usize = 64;

/// The table, and what it was made of.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    of: Of,
    members: BTreeMap<[u8; LAN_TAG_LEN], NodeId>,
}

/// What a table is made of. As long as it is the same, the table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Of {
    /// The hour in the middle, in hours since 1970.
    pub hour: u64,
    /// Entries of the member log.
    pub entries: u64,
    /// Network keys.
    pub keys: usize,
}

impl Tags {
    /// True if it is made of that.
    pub(crate) fn is_of(&self, of: &Of) -> bool {
        self.of == *of
    }

    /// The table of these members and keys, the newest last.
    pub(crate) fn new(of: Of, members: &[NodeId], keys: &[NetworkKey]) -> Tags {
        let mut table = Tags { of, members: BTreeMap::new() };
        for key in keys.iter().rev().take(MAX_KEYS) {
            for hour in [of.hour.saturating_sub(1), of.hour, of.hour.saturating_add(1)] {
                let tag = |node: &NodeId| (key.lan_tag(node, hour), *node);
                table.members.extend(members.iter().map(tag));
            }
        }
        table
    }

    /// The member that says this tag; `None` if it is nobody's.
    pub(crate) fn member(&self, tag: &[u8; LAN_TAG_LEN]) -> Option<NodeId> {
        self.members.get(tag).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn key(epoch: u32) -> NetworkKey {
        NetworkKey::from_parts(epoch, [u8::try_from(epoch % 256).unwrap(); 32])
    }

    fn table(hour: u64, members: &[NodeId], keys: &[NetworkKey]) -> Tags {
        Tags::new(Of { hour, entries: members.len() as u64, keys: keys.len() }, members, keys)
    }

    #[test]
    fn a_member_is_recognised_in_this_hour_and_those_beside_it() {
        let tags = table(500_000, &[node(1), node(2)], &[key(0)]);
        let found = |n, hour| tags.member(&key(0).lan_tag(&node(n), hour));
        for hour in 499_999..=500_001 {
            assert_eq!((found(1, hour), found(2, hour)), (Some(node(1)), Some(node(2))));
        }
        assert_eq!((found(1, 499_998), found(1, 500_002)), (None, None));
        assert_eq!(found(3, 500_000), None, "it is no member");
        assert_eq!(
            table(0, &[node(1)], &[key(0)]).member(&key(0).lan_tag(&node(1), 0)),
            Some(node(1))
        );
    }

    #[test]
    fn a_member_that_knows_only_an_older_key_is_recognised_and_one_of_another_stash_is_not() {
        let keys = [key(0), key(1), key(2)];
        let tags = table(500_000, &[node(1)], &keys);
        for epoch in 0..3 {
            assert_eq!(tags.member(&key(epoch).lan_tag(&node(1), 500_000)), Some(node(1)));
        }
        assert_eq!(tags.member(&key(3).lan_tag(&node(1), 500_000)), None);
    }

    #[test]
    fn of_very_many_keys_the_newest_count() {
        let keys: Vec<_> = (0..200).map(key).collect();
        let tags = table(500_000, &[node(1)], &keys);
        assert_eq!(tags.members.len(), 3 * MAX_KEYS);
        assert!(tags.member(&key(199).lan_tag(&node(1), 500_000)).is_some());
        assert!(tags.member(&key(0).lan_tag(&node(1), 500_000)).is_none());
    }

    #[test]
    fn the_tags_are_those_of_the_protocol_document() {
        let root = stash_crypto::RootSecret::from_bytes([1; 32]);
        let node = stash_crypto::NodeKeys::from_seed([2; 32]).node_id();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md");
        let text = std::fs::read_to_string(path).unwrap();
        for hour in [500_000, 500_001] {
            let tag = root.network_key().lan_tag(&node, hour);
            let tag: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(text.contains(&format!("h = {hour}   {tag}")), "{hour}: {tag}");
        }
    }

    #[test]
    fn a_table_is_made_anew_when_the_hour_the_members_or_the_keys_change() {
        let of = Of { hour: 5, entries: 2, keys: 1 };
        let tags = Tags::new(of, &[node(1)], &[key(0)]);
        assert!(tags.is_of(&of));
        let changed =
            [Of { hour: 6, ..of }, Of { entries: 3, ..of }, Of { keys: 2, ..of }, Of::default()];
        assert!(changed.iter().all(|other| !tags.is_of(other)));
    }
}
