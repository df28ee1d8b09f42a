//! The founder's tickets.

use serde::{Deserialize, Serialize};

use crate::route::{Call, Get};

/// `GET /v1/tickets`: those of the node that made them; none elsewhere.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tickets {
    /// The oldest first.
    pub tickets: Vec<Ticket>,
}

impl Tickets {
    /// The tickets of the node.
    #[must_use]
    pub fn route() -> Get<Self> {
        Get::new("/v1/tickets")
    }
}

/// A ticket; never its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Its id, in hexadecimal digits.
    pub id: String,
    /// The role that it admits to.
    pub role: String,
    /// `open`, `used` or `expired`.
    pub state: String,
    /// Time at which it was made; null where an older version made it.
    pub made: Option<String>,
    /// Time until which it is good.
    pub expires: String,
    /// The id of the node that joined with it; null if none has.
    pub used_by: Option<String>,
    /// The display name of that node; null if it is unknown.
    pub used_by_name: Option<String>,
    /// Time at which it was used; null if it was not, or that is unknown.
    pub used_at: Option<String>,
}

/// `POST /v1/tickets/revoke`: on the node that founded the stash.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicketRevoke {
    /// A ticket id, or its beginning: eight digits at least.
    pub id: String,
}

impl Call for TicketRevoke {
    const ROUTE: &'static str = "/v1/tickets/revoke";
    type Answer = TicketRevoked;
}

/// A ticket was taken back.
#[derive(Debug, Serialize, Deserialize)]
pub struct TicketRevoked {
    /// Its id.
    pub id: String,
    /// The role that it would have admitted to.
    pub role: String,
}
