//! Places at which a node can be reached: addresses, and host names with a port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

use crate::codec::{Reader, Truncated, count_u8, put_socket_addr};

/// Longest host name, in bytes (RFC 1035, section 2.3.4, in its written form).
const MAX_HOST: usize = 253;
/// Longest part of it between dots.
const MAX_LABEL: usize = 63;
/// Stands where an address has its family.
const NAME: u8 = 1;

/// A host name: ASCII letters in lower case, digits, hyphens and underscores, in parts between dots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

impl HostName {
    /// The name; letters of upper case become lower case.
    fn new(text: &str) -> Option<Self> {
        let name = text.to_ascii_lowercase();
        let fits = |label: &str| {
            let of_label = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            (1..=MAX_LABEL).contains(&label.len())
                && label.bytes().all(of_label)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A last part of digits makes it an address, or a mistyped one (WHATWG URL, "ends in a number").
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_number = last.bytes().all(|b| b.is_ascii_digit());
        let whole = name.len() <= MAX_HOST && !is_number && name.split('.').all(fits);
        whole.then_some(Self(name))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place at which a node can be reached. Scope ids of IPv6 addresses are not carried.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// An address.
    Address(SocketAddr),
    /// A host name and a port. Whoever dials looks it up, each time.
    Name(HostName, u16),
}

/// A text is no place. Whoever wrote it is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PlaceError {
    /// The host is neither an address nor a name.
    #[error("the host is neither an address nor a name of letters, digits, hyphens and dots")]
    Host,
    /// The port is not one.
    #[error("a port is a number from 1 to 65535")]
    Port,
}

impl Place {
    /// The place that a text means: `192.0.2.7:7979`, `[2001:db8::1]:7979`, `nas.example.org:7979`. One
    /// without a port has the given one.
    pub fn parse(text: &str, default: u16) -> Result<Self, PlaceError> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Address(SocketAddr::new(ip, default)));
        }
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return Ok(Self::Address(addr));
        }
        let (host, port) = match text.rsplit_once(':') {
            None => (text, default),
            Some((host, port)) => {
                let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
                let port = digits.then(|| port.parse().ok()).flatten().filter(|port| *port > 0);
                (host, port.ok_or(PlaceError::Port)?)
            }
        };
        HostName::new(host).map(|host| Self::Name(host, port)).ok_or(PlaceError::Host)
    }

    /// The address, unless it is a name.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(addr) => Some(*addr),
            Self::Name(..) => None,
        }
    }

    fn port(&self) -> u16 {
        match self {
            Self::Address(addr) => addr.port(),
            Self::Name(_, port) => *port,
        }
    }

    /// Bytes that it takes in a list.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Address(SocketAddr::V4(_)) => 7,
            Self::Address(SocketAddr::V6(_)) => 19,
            Self::Name(host, _) => 4 + host.0.len(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(addr) => addr.fmt(f),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    /// As [`Place::parse`], with the port in the text.
    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let place = Self::parse(text, 0)?;
        if place.port() == 0 { Err(PlaceError::Port) } else { Ok(place) }
    }
}

impl From<SocketAddr> for Place {
    fn from(addr: SocketAddr) -> Self {
        Self::Address(addr)
    }
}

/// As many of these as there may be, and as fit into so many bytes, in their order.
pub fn places_that_fit<'a>(
    places: impl IntoIterator<Item = &'a Place>,
    most: usize,
    mut bytes: usize,
) -> Vec<Place> {
    let fits = |place: &&Place| {
        let rest = bytes.checked_sub(place.encoded_len());
        bytes = rest.unwrap_or(bytes);
        rest.is_some()
    };
    places.into_iter().filter(fits).take(most).cloned().collect()
}

/// The position of the first place that nobody can dial.
pub(crate) fn unusable<'a>(places: impl IntoIterator<Item = &'a Place>) -> Option<usize> {
    places.into_iter().position(|place| place.port() == 0)
}

/// True if a place is a name, which older programs cannot read.
pub(crate) fn has_name(places: &[Place]) -> bool {
    places.iter().any(|place| place.address().is_none())
}

pub(crate) fn put_place(out: &mut Vec<u8>, place: &Place) {
    match place {
        Place::Address(addr) => put_socket_addr(out, addr),
        Place::Name(host, port) => {
            out.extend_from_slice(&[NAME, count_u8(host.0.len())]);
            out.extend_from_slice(host.0.as_bytes());
            out.extend_from_slice(&port.to_le_bytes());
        }
    }
}

/// `None` inside means a place that is not usable, or not written as it has to be.
pub(crate) fn read_place(reader: &mut Reader<'_>, names: bool) -> Result<Option<Place>, Truncated> {
    if !names || reader.peek() != Some(NAME) {
        return Ok(reader.socket_addr()?.map(Place::Address));
    }
    let [_, len] = reader.array()?;
    let name = reader.take(usize::from(len))?;
    let port = reader.u16()?;
    let host = std::str::from_utf8(name).ok().and_then(HostName::new);
    let host = host.filter(|host| host.0.as_bytes() == name && port > 0);
    Ok(host.map(|host| Place::Name(host, port)))
}
