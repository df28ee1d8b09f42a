//! The interface of the root secret, which is not in this crate.

use stash_crypto::keys::NoiseSecret;
use stash_crypto::member::{Confirmation, MAX_WRAPS};
use stash_crypto::{JoinRequest, MemberChange, MemberEntry, MemberLog, Role};

/// The stash has as many members as the keys of one epoch can be given to. Nothing changed; there
/// is room again when members are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the stash is full: it has room for {} owners and readers, two keepers in the place of one",
    MAX_WRAPS / 2 - 1
)]
pub struct Full;

/// Reason why an entry could not be signed: an error of the implementation of [`Admission`].
pub type SignFailure = Box<dyn std::error::Error + Send + Sync>;

/// Signs the member log. Implemented where the root secret is, which is not in this crate.
pub trait Admission: Send + Sync {
    /// The entry that admits the joiner at the end of `log`, and the keys of `role` wrapped to it.
    ///
    /// # Errors
    ///
    /// When the entry cannot be made.
    fn admit(
        &self,
        log: &MemberLog,
        request: &JoinRequest,
        role: Role,
    ) -> Result<(MemberEntry, Vec<u8>), SignFailure>;

    /// The entry that makes a change at the end of `log`, and the one that begins the next epoch of
    /// keys if the change calls for it ([`stash_crypto::member::change_members`]).
    ///
    /// # Errors
    ///
    /// When an entry cannot be made.
    fn change(
        &self,
        log: &MemberLog,
        change: MemberChange,
    ) -> Result<Vec<MemberEntry>, SignFailure>;

    /// The root's confirmation that the log goes as far as this one, with a counter and a time in
    /// seconds since 1970. `None` from an implementation that gives none.
    fn confirm(&self, _: &MemberLog, _counter: u64, _time: u64) -> Option<Confirmation> {
        None
    }

    /// The root's Noise secret, which members answer that are silent to this node. `None` from an
    /// implementation that does not ask them.
    fn root_noise(&self) -> Option<NoiseSecret> {
        None
    }
}
