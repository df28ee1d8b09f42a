//! The root's statement of the length of the member log.

use thiserror::Error;

use crate::codec::{Reader, Truncated};
use crate::contexts;
use crate::ids::{EntryHash, StashId};
use crate::keys::sign::{self, RootSigner, SIGNATURE, SignatureError};

const MAGIC: [u8; 2] = *b"SF";
const FORMAT: u8 = 1;

/// Bytes of an encoded confirmation.
pub const CONFIRMATION: usize = 4 + 8 + 32 + 8 + 8 + SIGNATURE;

/// The length and head of the member log at a time when the root looked at it.
///
/// A member that is shown a shorter log knows that more exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// Entries of the member log: one at least.
    pub length: u64,
    /// Hash of the last of them.
    pub head: EntryHash,
    /// Grows with every confirmation of one length.
    pub counter: u64,
    /// Seconds since 1970 by the signer's clock. For people: nothing is ordered by it.
    pub time: u64,
    /// The root's signature over all fields.
    pub signature: [u8; SIGNATURE],
}

/// Why bytes are no confirmation. Whoever made them is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ConfirmationError {
    /// The bytes end inside a field.
    #[error("the confirmation ends inside a field")]
    Truncated,
    /// Bytes follow after the signature.
    #[error("{extra} bytes follow after the confirmation")]
    Trailing {
        /// Bytes too many.
        extra: usize,
    },
    /// Another kind of object.
    #[error("these bytes are no confirmation")]
    Magic,
    /// A format of a later version.
    #[error("format {found} of confirmations is not known")]
    Format {
        /// The format byte.
        found: u8,
    },
    /// The length is 0: an empty log is never confirmed.
    #[error("a confirmation of an empty log")]
    Empty,
}

impl From<Truncated> for ConfirmationError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl Confirmation {
    /// Signs the length and the head of the log.
    ///
    /// # Panics
    /// If `length` is 0.
    pub fn sign(
        root: &RootSigner,
        (length, head): (u64, EntryHash),
        counter: u64,
        time: u64,
    ) -> Self {
        assert_ne!(length, 0, "a log that is confirmed has an entry");
        let mut signed = Self { length, head, counter, time, signature: [0; SIGNATURE] };
        signed.signature = root.sign(contexts::TAG_CONFIRMATION, &signed.body());
        signed
    }

    /// Checks that the root of this stash signed it.
    pub fn verify(&self, stash: &StashId) -> Result<(), SignatureError> {
        let (tag, body) = (contexts::TAG_CONFIRMATION, self.body());
        sign::verify(stash.as_bytes(), tag, stash, &body, &self.signature)
    }

    /// True if it replaces `other`: its log is longer, or as long and its counter is higher.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.length, self.counter) > (other.length, other.counter)
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(CONFIRMATION);
        body.extend_from_slice(&MAGIC);
        body.extend_from_slice(&[FORMAT, 0]);
        body.extend_from_slice(&self.length.to_le_bytes());
        body.extend_from_slice(self.head.as_bytes());
        body.extend_from_slice(&self.counter.to_le_bytes());
        body.extend_from_slice(&self.time.to_le_bytes());
        body
    }

    /// Encodes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.body();
        out.extend_from_slice(&self.signature);
        out
    }

    /// Decodes: structure; not the signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, ConfirmationError> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != MAGIC {
            return Err(ConfirmationError::Magic);
        }
        match reader.array()? {
            [FORMAT, 0] => {}
            [FORMAT, found] | [found, _] => return Err(ConfirmationError::Format { found }),
        }
        let signed = Self {
            length: reader.u64()?,
            head: EntryHash::from_bytes(reader.array()?),
            counter: reader.u64()?,
            time: reader.u64()?,
            signature: reader.array()?,
        };
        match (reader.rest().len(), signed.length) {
            (0, 0) => Err(ConfirmationError::Empty),
            (0, _) => Ok(signed),
            (extra, _) => Err(ConfirmationError::Trailing { extra }),
        }
    }
}
