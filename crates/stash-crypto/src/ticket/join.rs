//! The request of a node to be admitted.

use thiserror::Error;

use crate::codec::{Reader, Truncated, count_u8};
use crate::contexts;
use crate::ids::{StashId, TicketId};
use crate::keys::node::NodeKeys;
use crate::keys::sign::{self, SIGNATURE, SignatureError};
use crate::member::identity::Identity;
use crate::member::label::{LabelError, check_display_name};

const MAGIC: [u8; 2] = *b"SJ";
const FORMAT: u8 = 1;

/// A node's wish to join, signed by it: it holds the signing key, and agrees to be a member of this
/// stash with these keys. The same signature goes into the member entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The joiner's keys.
    pub identity: Identity,
    /// The ticket it came with.
    pub ticket: TicketId,
    /// The name that it would like to have; not signed, and sealed before it enters the log.
    pub display_name: String,
    /// The joiner's signature over identity and ticket id.
    pub signature: [u8; 64],
}

/// Why bytes are no join request. The joiner is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JoinError {
    /// The bytes end inside a field.
    #[error("the join request ends inside a field")]
    Truncated,
    /// Bytes follow after the signature.
    #[error("{extra} bytes follow after the join request")]
    Trailing {
        /// Bytes too many.
        extra: usize,
    },
    /// Another kind of object.
    #[error("these bytes are no join request")]
    Magic,
    /// A format of a later version.
    #[error("join request format {found} is not known")]
    Format {
        /// The format byte.
        found: u8,
    },
    /// The display name breaks a rule.
    #[error(transparent)]
    DisplayName(#[from] LabelError),
    /// The display name is not UTF-8.
    #[error("the display name is not UTF-8")]
    Utf8,
}

impl From<Truncated> for JoinError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

fn body(identity: &Identity, ticket: &TicketId) -> Vec<u8> {
    let mut body = Vec::with_capacity(112);
    identity.put(&mut body);
    body.extend_from_slice(ticket.as_bytes());
    body
}

pub(crate) fn verify(
    stash: &StashId,
    identity: &Identity,
    ticket: &TicketId,
    signature: &[u8; SIGNATURE],
) -> Result<(), SignatureError> {
    identity.check()?;
    let body = body(identity, ticket);
    sign::verify(identity.node.as_bytes(), contexts::TAG_JOIN, stash, &body, signature)
}

impl JoinRequest {
    /// Asks to join this stash with this ticket. A founder signs with a ticket id of zeros.
    pub fn sign(
        keys: &NodeKeys,
        stash: &StashId,
        ticket: TicketId,
        display_name: &str,
    ) -> Result<Self, LabelError> {
        check_display_name(display_name)?;
        let identity = keys.identity();
        let body = body(&identity, &ticket);
        let signature = keys.signer().sign(contexts::TAG_JOIN, stash, &body);
        Ok(Self { identity, ticket, display_name: display_name.to_owned(), signature })
    }

    /// Checks that the node signed for this stash. The inviter decides if the ticket is good.
    pub fn verify(&self, stash: &StashId) -> Result<(), SignatureError> {
        verify(stash, &self.identity, &self.ticket, &self.signature)
    }

    /// Encodes.
    ///
    /// # Panics
    /// If a field was changed so that the display name has 256 bytes or more.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[FORMAT, 0]);
        out.extend_from_slice(&body(&self.identity, &self.ticket));
        out.push(count_u8(self.display_name.len()));
        out.extend_from_slice(self.display_name.as_bytes());
        out.extend_from_slice(&self.signature);
        out
    }

    /// Decodes: structure and limits; not the signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, JoinError> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != MAGIC {
            return Err(JoinError::Magic);
        }
        match reader.array()? {
            [FORMAT, 0] => {}
            [FORMAT, found] | [found, _] => return Err(JoinError::Format { found }),
        }
        let identity = Identity::read(&mut reader)?;
        let ticket = TicketId::from_bytes(reader.array()?);
        let len = usize::from(reader.u8()?);
        let name = std::str::from_utf8(reader.take(len)?).map_err(|_| JoinError::Utf8)?;
        check_display_name(name)?;
        let display_name = name.to_owned();
        let signature = reader.array()?;
        match reader.rest().len() {
            0 => Ok(Self { identity, ticket, display_name, signature }),
            extra => Err(JoinError::Trailing { extra }),
        }
    }
}
