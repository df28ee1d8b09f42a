//! Members: who belongs to a stash, in which role, and which epoch keys each was given.
//!
//! Start with [`MemberLog`], which takes [`MemberEntry`]s one by one.

pub(crate) mod addresses;
pub(crate) mod change;
pub(crate) mod confirmation;
pub(crate) mod cuts;
pub(crate) mod entry;
pub(crate) mod epoch;
pub(crate) mod grant;
pub(crate) mod identity;
pub(crate) mod label;
pub(crate) mod log;
pub(crate) mod place;
pub(crate) mod statement;

pub use crate::ids::CutsHash;
pub use addresses::{
    AddressKind, AddressesError, Announced, MAX_ADDRESSES, MAX_SEQUENCE, SignedAddresses,
};
pub use change::{
    Cut, EntryError, EpochWrap, MAX_CUTS, MAX_EPOCH_WRAP, MAX_LISTED, MAX_WRAPS, MemberChange,
    WrapKind,
};
pub use confirmation::{CONFIRMATION, Confirmation, ConfirmationError};
pub use cuts::CutList;
pub use entry::{MAX_ENTRY, MemberEntry};
pub use epoch::{ChangeError, EpochError, change_members, next_epoch};
pub use grant::{GrantError, KeyGrant, MAX_EPOCHS};
pub use identity::{Identity, Role, RoleError};
pub use label::{LabelError, LabelKeys, MAX_DISPLAY_NAME, OpenLabelError, label_epoch};
pub use log::{Barred, Member, MemberError, MemberLog, Misnamed, Removal};
pub use place::{HostName, Place, PlaceError, places_that_fit};
pub use statement::{Figures, RecordSum, STATEMENT, Statement, StatementError};
