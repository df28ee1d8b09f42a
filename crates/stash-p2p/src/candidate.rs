//! Places at which a remote may be found, and where each of them comes from.

use std::fmt;
use std::net::SocketAddr;

/// A place at which a node may listen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// An address.
    Address(SocketAddr),
    /// A host name and a port. It is looked up at each dial, and may lead to several addresses.
    Name {
        /// The host name.
        host: String,
        /// The port.
        port: u16,
    },
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(addr) => addr.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// The ground on which a place is dialled. It decides what the place may cost others, if it is wrong or a lie:
/// nobody is asked whether the one who listens there wants to hear from us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The user of this node named it.
    Given,
    /// The remote answered there before.
    Met,
    /// The remote named it, or somebody else did. Dialled a few times, then seldom, until it answers.
    Told,
    /// Somebody on the local network named it, and may be anybody. Dialled if it is near
    /// ([`Gate::is_near`](crate::Gate::is_near)), and as seldom as what was told.
    Heard,
}

/// A place at which a remote may be found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Candidate {
    /// The place.
    pub way: Way,
    /// Where it comes from.
    pub source: Source,
}

impl Candidate {
    /// A place from a source.
    #[must_use]
    pub fn new(way: Way, source: Source) -> Self {
        Self { way, source }
    }
}

impl From<SocketAddr> for Candidate {
    /// One that the user named.
    fn from(addr: SocketAddr) -> Self {
        Self::new(Way::Address(addr), Source::Given)
    }
}
