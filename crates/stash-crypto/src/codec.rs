//! Reading and writing little-endian fields. Every decoder of this crate goes through [`Reader`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The input ended inside a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Truncated;

/// A cursor over untrusted bytes: nothing is allocated or trusted beyond what is there.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The next byte, which is not consumed.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Truncated> {
        let end = self.at.checked_add(len).ok_or(Truncated)?;
        let field = self.bytes.get(self.at..end).ok_or(Truncated)?;
        self.at = end;
        Ok(field)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Truncated> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Truncated> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Truncated> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Truncated> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// `None` inside means an address of an unknown family or with port 0.
    pub(crate) fn socket_addr(&mut self) -> Result<Option<SocketAddr>, Truncated> {
        let ip = match self.u8()? {
            4 => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            _ => return Ok(None),
        };
        let port = self.u16()?;
        Ok((port != 0).then_some(SocketAddr::new(ip, port)))
    }
}

/// Appends one address: family 4 or 6, the octets, the port. A scope id is of this machine only
/// and is left out.
pub(crate) fn put_socket_addr(out: &mut Vec<u8>, addr: &SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&addr.port().to_le_bytes());
}

/// A count that a limit has already bounded.
pub(crate) fn count_u8(len: usize) -> u8 {
    u8::try_from(len).expect("the limit of this list is below 256")
}

/// A length that a limit has already bounded.
pub(crate) fn len_u16(len: usize) -> u16 {
    u16::try_from(len).expect("the limit of this field is below 64 KiB")
}

/// A length that a limit has already bounded.
pub(crate) fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("the limit of this field is below 4 GiB")
}
