//! A confirmed connection.

use std::sync::Arc;

use crate::PublicKey;
use crate::cipher::Sealer;
use crate::gate::Purpose;
use crate::hello::Hello;
use crate::intake::Intake;
use crate::link::Link;
use crate::tasks::{ReadHalf, WriteHalf};

/// A confirmed connection, with what its tasks need.
pub(crate) struct Established {
    pub(crate) link: Arc<Link>,
    pub(crate) remote: PublicKey,
    pub(crate) hello: Hello,
    pub(crate) purpose: Purpose,
    pub(crate) read: ReadHalf,
    pub(crate) write: WriteHalf,
    pub(crate) sealer: Sealer,
    pub(crate) intake: Intake,
}
