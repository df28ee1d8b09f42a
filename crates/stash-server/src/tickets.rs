//! The inviter's table of tickets: role, expiry, and who used them.
//!
//! A ticket that is used is answered to the node that used it, and to nobody else; one that has
//! expired unused to nobody. Both stay for [`REMEMBERED`]: the node may not have heard the answer, and
//! whoever invited may ask who used it.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use stash_crypto::{NodeId, Role, TicketId};
use stash_store::{Batch, ReadError, Store};

/// Seconds for which a used or expired ticket is remembered: 30 days.
pub(crate) const REMEMBERED: u64 = 30 * 24 * 3_600;

/// Open and remembered tickets at most: each costs one keyed hash per knock.
pub(crate) const MAX_TICKETS: usize = 256;

const TICKET: &[u8] = b"ticket/";

/// One ticket as its inviter remembers it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    #[serde(with = "serde_bytes")]
    pub id: [u8; 16],
    /// The ticket's text.
    pub ticket: String,
    pub role: String,
    /// Unix seconds.
    pub expires: u64,
    pub used: Option<Used>,
}

/// What the joiner got; the same joiner may ask again until the ticket expires.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Used {
    #[serde(with = "serde_bytes")]
    pub node: [u8; 32],
    pub grant: ByteBuf,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Row({}, redacted)", TicketId::from_bytes(self.id).short())
    }
}

/// A ticket as its inviter shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketUse {
    /// Which one: it also stands in the member entry of whoever used it.
    pub id: TicketId,
    /// The role that it gives.
    pub role: String,
    /// Until when it is good. Unix seconds.
    pub expires: u64,
    /// The node that used it, member or not any more.
    pub used_by: Option<NodeId>,
    /// Whether it still admits whoever comes first.
    pub is_open: bool,
}

/// To whom the door opens under one ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guest {
    /// To whoever comes first, until then. Unix seconds.
    Anybody { until: u64 },
    /// To the node that used the ticket, as long as it is a member.
    Only(NodeId),
}

/// What to do with a join request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Admit the joiner with this role.
    Admit(Role),
    /// The same joiner again: repeat what it got.
    Repeat(Vec<u8>),
    /// Another node has used the ticket.
    Used,
    /// The ticket's time is over.
    Expired,
}

impl Row {
    /// Decides on a join by `node` at `now` (Unix seconds).
    pub(crate) fn judge(&self, node: &NodeId, now: u64) -> Verdict {
        match (&self.used, self.role.parse()) {
            (Some(used), _) if used.node != *node.as_bytes() => Verdict::Used,
            _ if now >= self.expires => Verdict::Expired,
            (Some(used), _) => Verdict::Repeat(used.grant.to_vec()),
            (None, Ok(role)) => Verdict::Admit(role),
            // A row with no role cannot admit anybody.
            (None, Err(_)) => Verdict::Expired,
        }
    }

    /// To whom the door opens.
    pub(crate) fn guest(&self) -> Guest {
        match &self.used {
            Some(used) => Guest::Only(NodeId::from_bytes(used.node)),
            None => Guest::Anybody { until: self.expires },
        }
    }

    /// The row without its secrets, at `now` (Unix seconds).
    pub(crate) fn view(&self, now: u64) -> TicketUse {
        TicketUse {
            id: TicketId::from_bytes(self.id),
            role: self.role.clone(),
            expires: self.expires,
            used_by: self.used.as_ref().map(|used| NodeId::from_bytes(used.node)),
            is_open: self.used.is_none() && now < self.expires,
        }
    }

    /// Whether the row may be dropped at `now`.
    pub(crate) fn forgotten(&self, now: u64) -> bool {
        now >= self.expires.saturating_add(REMEMBERED)
    }

    /// Adds this row to a batch.
    pub(crate) fn put(&self, batch: Batch) -> Batch {
        let bytes = rmp_serde::to_vec_named(self).expect("a ticket row is a map of plain values");
        batch.row(&key(&self.id), Some(&bytes))
    }
}

fn key(id: &[u8; 16]) -> Vec<u8> {
    [TICKET, id].concat()
}

/// Removes a row.
pub(crate) fn remove(batch: Batch, id: &[u8; 16]) -> Batch {
    batch.row(&key(id), None)
}

/// All rows of the store. One that does not decode is left out: its ticket is void.
pub(crate) fn all(store: &Store) -> Result<Vec<Row>, ReadError> {
    let rows = store.rows(TICKET)?.into_iter();
    Ok(rows.filter_map(|(_, bytes)| rmp_serde::from_slice(&bytes).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            id: [1; 16],
            ticket: String::new(),
            role: "keeper".to_owned(),
            expires: 1_000,
            used: None,
        }
    }

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    // Fault cases 30 and 113.
    #[test]
    fn a_ticket_admits_one_node_until_it_expires() {
        let mut row = row();
        assert_eq!(row.judge(&node(1), 999), Verdict::Admit(Role::Keeper));
        assert_eq!(row.judge(&node(1), 1_000), Verdict::Expired);
        row.used = Some(Used { node: [1; 32], grant: ByteBuf::from(vec![9]) });
        assert_eq!(row.judge(&node(1), 999), Verdict::Repeat(vec![9]));
        assert_eq!(row.judge(&node(2), 999), Verdict::Used);
        assert_eq!(row.judge(&node(2), 1_000), Verdict::Used);
        assert_eq!(row.judge(&node(1), 1_000), Verdict::Expired);
    }

    #[test]
    fn a_used_or_expired_ticket_is_remembered_for_thirty_days() {
        assert!(!row().forgotten(1_000 + REMEMBERED - 1));
        assert!(row().forgotten(1_000 + REMEMBERED));
    }
}
