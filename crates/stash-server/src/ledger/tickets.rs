//! The inviter's table of tickets: role, expiry, and who used them.
//!
//! A ticket that is used is answered to the node that used it, and to nobody else; one that has
//! expired unused to nobody. Both stay for [`REMEMBERED`]: the node may not have heard the answer,
//! and the inviter may ask who used it.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use stash_crypto::{NodeId, Role, TicketId};
use stash_store::{Batch, ReadError, Store};

use crate::ledger::error::LedgerError;
use crate::ledger::{clock, rows};

/// Seconds for which a used or expired ticket is remembered: 30 days.
pub(crate) const REMEMBERED: u64 = 30 * 24 * 3_600;

/// Open and remembered tickets at most: each costs one keyed hash per knock.
pub(crate) const MAX_TICKETS: usize = 256;

/// A ticket as its inviter remembers it.
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
    /// Unix seconds at which it was made; 0 in rows of older programs, which do not say.
    #[serde(default)]
    pub made: u64,
    /// The uptime of the inviter's store then, in seconds.
    #[serde(default)]
    pub made_at_uptime: Option<u64>,
    /// It was seen expired: no clock that is turned back makes it good again.
    #[serde(default)]
    pub struck: bool,
}

/// The joiner and the grant that it got; it may ask again until the ticket expires.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Used {
    #[serde(with = "serde_bytes")]
    pub node: [u8; 32],
    pub grant: ByteBuf,
    /// Unix seconds; 0 in rows of older programs.
    #[serde(default)]
    pub at: u64,
}

/// The time as the inviter knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// The wall clock, Unix seconds.
    pub wall: u64,
    /// A time that has certainly come, Unix seconds: the wall clock, or what it said when it was
    /// last believed; 0 if it never was.
    pub certain: u64,
    /// Seconds that the store has been open in all its life.
    pub uptime: u64,
}

impl Now {
    /// Looks at the clock of a node, and at whether it is to be believed.
    pub(crate) fn of(store: &Store, wall: u64) -> Result<Now, ReadError> {
        let uptime = store.stats().uptime;
        let certain = clock::certain(store, wall, uptime)?;
        Ok(Now { wall, certain, uptime })
    }
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Row({}, redacted)", TicketId::from_bytes(self.id).short())
    }
}

/// The node to which the door opens under one ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guest {
    /// The node that comes first, until then. Unix seconds.
    Anybody { until: u64 },
    /// The node that used the ticket, as long as it is a member.
    Only(NodeId),
    /// No node: the ticket was seen expired, whatever the clock says now.
    Nobody,
}

/// Answer to a join request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Admit the joiner with this role.
    Admit(Role),
    /// The same joiner again: repeat what it got.
    Repeat(Vec<u8>),
    /// The member log says that this joiner was admitted, and the row, which is older, does not.
    Anew,
    /// Another node has used the ticket.
    Used,
    /// The ticket's time is over.
    Expired,
}

impl Row {
    /// The node that used it: by the row, or by the member log, which a store that was put back
    /// from a copy has learned again.
    fn user(&self, admitted: Option<NodeId>) -> Option<NodeId> {
        self.used.as_ref().map(|used| NodeId::from_bytes(used.node)).or(admitted)
    }

    /// Decides on a join by `node`. `admitted` came with this ticket, by the member log.
    pub(crate) fn judge(&self, node: &NodeId, admitted: Option<NodeId>, now: &Now) -> Verdict {
        let user = self.user(admitted);
        if user.is_some_and(|user| user != *node) {
            return Verdict::Used;
        }
        match (&self.used, self.role.parse()) {
            _ if self.is_over(now) => Verdict::Expired,
            (Some(used), _) => Verdict::Repeat(used.grant.to_vec()),
            (None, _) if user.is_some() => Verdict::Anew,
            (None, Ok(role)) => Verdict::Admit(role),
            // A row with no role cannot admit anybody.
            (None, Err(_)) => Verdict::Expired,
        }
    }

    /// The node to which the door opens. `admitted` came with this ticket, by the member log.
    pub(crate) fn guest(&self, admitted: Option<NodeId>) -> Guest {
        match self.user(admitted) {
            Some(user) => Guest::Only(user),
            None if self.struck => Guest::Nobody,
            None => Guest::Anybody { until: self.expires },
        }
    }

    /// True if it admits nobody now. A clock that is not believed also ends it, though not for
    /// good.
    pub(crate) fn is_over(&self, now: &Now) -> bool {
        now.wall >= self.expires || self.is_over_for_good(now)
    }

    /// True if it admits nobody ever again: by a clock that is believed, or since the inviter has
    /// run for as long as it was to live.
    fn is_over_for_good(&self, now: &Now) -> bool {
        let lived = self.made_at_uptime.map(|made| now.uptime.saturating_sub(made));
        let outlived = lived.is_some_and(|lived| lived >= self.expires.saturating_sub(self.made));
        self.struck || now.certain >= self.expires || outlived
    }

    /// Strikes it if it is over and that is not noted yet; true if it did.
    pub(crate) fn strike(&mut self, now: &Now) -> bool {
        let new = !self.struck && self.is_over_for_good(now);
        self.struck |= new;
        new
    }

    /// True if the row may be dropped at `now`.
    pub(crate) fn forgotten(&self, now: u64) -> bool {
        now >= self.expires.saturating_add(REMEMBERED)
    }

    /// Adds this row to a batch.
    pub(crate) fn put(&self, batch: Batch) -> Batch {
        let bytes = rmp_serde::to_vec_named(self).expect("a ticket row is a map of plain values");
        batch.row(&rows::ticket(&self.id), Some(&bytes))
    }
}

/// Removes a row.
pub(crate) fn remove(batch: Batch, id: &[u8; 16]) -> Batch {
    batch.row(&rows::ticket(id), None)
}

/// All rows of the store. One that does not decode is left out: its ticket is void.
pub(crate) fn all(store: &Store) -> Result<Vec<Row>, ReadError> {
    let rows = store.rows(rows::TICKET)?.into_iter();
    Ok(rows.filter_map(|(_, bytes)| rmp_serde::from_slice(&bytes).ok()).collect())
}

/// Strikes every ticket that is over; true if one was. Each is looked at before a clock can be
/// turned back behind its end, if the inviter runs then.
pub(crate) fn strike(store: &Store, now: &Now) -> Result<bool, LedgerError> {
    let mut batch = Batch::new();
    for mut row in all(store)? {
        if row.strike(now) {
            batch = row.put(batch);
        }
    }
    let struck = !batch.is_empty();
    if struck {
        store.commit(batch.even_if_full())?;
    }
    Ok(struck)
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
            made: 900,
            made_at_uptime: Some(50),
            struck: false,
        }
    }

    /// The verdict on a node that comes with a ticket with which the log admits nobody.
    fn judge(row: &Row, n: u8, now: &Now) -> Verdict {
        row.judge(&node(n), None, now)
    }

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    /// A clock that says so and is not believed, on a node that has run for so long.
    fn at(wall: u64, uptime: u64) -> Now {
        Now { wall, certain: 0, uptime }
    }

    // Fault cases 30 and 113.
    #[test]
    fn a_ticket_admits_one_node_until_it_expires() {
        let mut row = row();
        assert_eq!(judge(&row, 1, &at(999, 60)), Verdict::Admit(Role::Keeper));
        assert_eq!(judge(&row, 1, &at(1_000, 60)), Verdict::Expired);
        row.used = Some(Used { node: [1; 32], grant: ByteBuf::from(vec![9]), at: 950 });
        assert_eq!(judge(&row, 1, &at(999, 60)), Verdict::Repeat(vec![9]));
        assert_eq!(judge(&row, 2, &at(999, 60)), Verdict::Used);
        assert_eq!(judge(&row, 2, &at(1_000, 60)), Verdict::Used);
        assert_eq!(judge(&row, 1, &at(1_000, 60)), Verdict::Expired);
    }

    #[test]
    fn who_used_a_ticket_is_known_from_the_member_log_where_the_row_does_not_say() {
        let row = row();
        let (one, late) = (Some(node(1)), at(1_000, 60));
        assert_eq!(row.judge(&node(1), one, &at(999, 60)), Verdict::Anew);
        assert_eq!(row.judge(&node(2), one, &at(999, 60)), Verdict::Used);
        assert_eq!(row.judge(&node(1), one, &late), Verdict::Expired);
        assert_eq!(row.guest(one), Guest::Only(node(1)));
        assert_eq!(row.guest(None), Guest::Anybody { until: 1_000 });
        let struck = Row { struck: true, ..row };
        assert_eq!((struck.guest(None), struck.guest(one)), (Guest::Nobody, Guest::Only(node(1))));
    }

    #[test]
    fn a_ticket_ends_with_the_uptime_of_its_inviter_whatever_the_clock_says() {
        let row = row();
        assert_eq!(judge(&row, 1, &at(0, 149)), Verdict::Admit(Role::Keeper));
        assert_eq!(judge(&row, 1, &at(0, 150)), Verdict::Expired);
        let old = Row { made: 0, made_at_uptime: None, ..row };
        assert_eq!(judge(&old, 1, &at(0, 5_000)), Verdict::Admit(Role::Keeper));
        assert_eq!(judge(&old, 1, &at(1_000, 0)), Verdict::Expired);
    }

    #[test]
    fn a_ticket_that_was_seen_expired_never_comes_back() {
        let believed = Now { wall: 1_000, certain: 1_000, uptime: 60 };
        for seen in [believed, at(0, 150), Now { wall: 0, ..believed }] {
            let mut row = row();
            assert!(row.strike(&seen) && !row.strike(&seen), "{seen:?}");
            assert_eq!(judge(&row, 1, &at(0, 60)), Verdict::Expired, "{seen:?}");
        }
        // By a clock that is not believed it only rests.
        let mut row = row();
        assert!(!row.strike(&at(5_000, 60)));
        assert_eq!(judge(&row, 1, &at(5_000, 60)), Verdict::Expired);
        assert_eq!(judge(&row, 1, &at(950, 60)), Verdict::Admit(Role::Keeper));
    }

    #[test]
    fn rows_of_older_programs_are_read() {
        #[derive(Serialize)]
        struct Old {
            #[serde(with = "serde_bytes")]
            id: [u8; 16],
            ticket: String,
            role: String,
            expires: u64,
            used: Option<OldUsed>,
        }
        #[derive(Serialize)]
        struct OldUsed {
            #[serde(with = "serde_bytes")]
            node: [u8; 32],
            grant: ByteBuf,
        }
        let used = Some(OldUsed { node: [3; 32], grant: ByteBuf::from(vec![4]) });
        let (ticket, role) = ("text".to_owned(), "owner".to_owned());
        let bytes =
            rmp_serde::to_vec_named(&Old { id: [1; 16], ticket, role, expires: 7, used }).unwrap();
        let row: Row = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!((row.expires, row.made, row.made_at_uptime, row.struck), (7, 0, None, false));
        assert_eq!(row.used.map(|used| (used.node, used.at)), Some(([3; 32], 0)));
    }

    #[test]
    fn a_used_or_expired_ticket_is_remembered_for_thirty_days() {
        assert!(!row().forgotten(1_000 + REMEMBERED - 1));
        assert!(row().forgotten(1_000 + REMEMBERED));
    }
}
