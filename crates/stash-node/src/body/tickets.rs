//! The founder's tickets.

use serde::{Deserialize, Serialize};

/// `GET /v1/tickets`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Tickets {
    /// The oldest first.
    pub(crate) tickets: Vec<Ticket>,
}

/// One ticket; never its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ticket {
    pub(crate) id: String,
    pub(crate) role: String,
    /// `open`, `used` or `expired`.
    pub(crate) state: String,
    /// RFC 3339, UTC; null where an older version made it.
    pub(crate) made: Option<String>,
    /// RFC 3339, UTC.
    pub(crate) expires: String,
    /// Who joined with it.
    pub(crate) used_by: Option<String>,
    /// The display name of that node; null if it is unknown.
    pub(crate) used_by_name: Option<String>,
    /// RFC 3339, UTC.
    pub(crate) used_at: Option<String>,
}

/// `POST /v1/tickets/revoke`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TicketRevoke {
    /// A ticket id, or its beginning: eight digits at least.
    pub(crate) id: String,
}

/// A ticket was taken back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TicketRevoked {
    pub(crate) id: String,
    pub(crate) role: String,
}
