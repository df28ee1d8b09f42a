//! The epoch keys that a member is given.

use thiserror::Error;
use zeroize::Zeroizing;

use crate::codec::{Reader, Truncated, len_u16};
use crate::keys::secret::{NetworkKey, ReadRoot};

/// Most epochs whose keys travel or are kept together: more than a removal a week for 19 years.
pub const MAX_EPOCHS: usize = 1000;
const FORMAT: u8 = 1;

/// Keys for a member: a keeper gets no read roots.
#[derive(Debug, Default)]
pub struct KeyGrant {
    /// Network keys, by ascending epoch.
    pub network: Vec<NetworkKey>,
    /// Read roots, by ascending epoch.
    pub read: Vec<ReadRoot>,
}

/// Why bytes are no grant, or a grant has no encoding. Its maker is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum GrantError {
    /// The bytes end inside a field.
    #[error("the key grant ends inside a field")]
    Truncated,
    /// Bytes follow after the grant.
    #[error("{extra} bytes follow after the key grant")]
    Trailing {
        /// Bytes too many.
        extra: usize,
    },
    /// A format of a later version.
    #[error("key grant format {found} is not known")]
    Format {
        /// The format byte.
        found: u8,
    },
    /// More than [`MAX_EPOCHS`] keys in one list.
    #[error("{count} keys in one list, the limit is {MAX_EPOCHS}")]
    TooMany {
        /// Keys claimed.
        count: usize,
    },
    /// Epochs out of order or doubled.
    #[error("epoch {epoch} is out of order")]
    Order {
        /// The epoch that does not follow.
        epoch: u32,
    },
}

impl From<Truncated> for GrantError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl KeyGrant {
    /// Encodes, for wrapping.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, GrantError> {
        let len = 5 + 36 * (self.network.len() + self.read.len());
        let mut out = Zeroizing::new(Vec::with_capacity(len));
        out.push(FORMAT);
        encode_lists(&self.network, &self.read, &mut out)?;
        Ok(out)
    }

    /// Decodes what was unwrapped.
    pub fn decode(bytes: &[u8]) -> Result<Self, GrantError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            FORMAT => {}
            found => return Err(GrantError::Format { found }),
        }
        let (network, read) = read_lists(&mut reader)?;
        match reader.rest().len() {
            0 => Ok(Self { network, read }),
            extra => Err(GrantError::Trailing { extra }),
        }
    }
}

/// Both lists as grant and keyring have them: count, then (epoch, key) by ascending epoch.
pub(crate) fn encode_lists(
    network: &[NetworkKey],
    read: &[ReadRoot],
    out: &mut Vec<u8>,
) -> Result<(), GrantError> {
    let network: Vec<_> = network.iter().map(|key| (key.epoch(), key.expose())).collect();
    let read: Vec<_> = read.iter().map(|key| (key.epoch(), key.expose())).collect();
    for list in [network, read] {
        if list.len() > MAX_EPOCHS {
            return Err(GrantError::TooMany { count: list.len() });
        }
        if let Some(pair) = list.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            return Err(GrantError::Order { epoch: pair[1].0 });
        }
        out.extend_from_slice(&len_u16(list.len()).to_le_bytes());
        for (epoch, key) in list {
            out.extend_from_slice(&epoch.to_le_bytes());
            out.extend_from_slice(key);
        }
    }
    Ok(())
}

pub(crate) fn read_lists(
    reader: &mut Reader<'_>,
) -> Result<(Vec<NetworkKey>, Vec<ReadRoot>), GrantError> {
    let network = read_list(reader, NetworkKey::from_parts, NetworkKey::epoch)?;
    let read = read_list(reader, ReadRoot::from_parts, ReadRoot::epoch)?;
    Ok((network, read))
}

fn read_list<K>(
    reader: &mut Reader<'_>,
    make: fn(u32, [u8; 32]) -> K,
    epoch_of: fn(&K) -> u32,
) -> Result<Vec<K>, GrantError> {
    let count = usize::from(reader.u16()?);
    if count > MAX_EPOCHS {
        return Err(GrantError::TooMany { count });
    }
    let mut keys: Vec<K> = Vec::new();
    for _ in 0..count {
        let epoch = reader.u32()?;
        if keys.last().is_some_and(|last| epoch_of(last) >= epoch) {
            return Err(GrantError::Order { epoch });
        }
        keys.push(make(epoch, reader.array()?));
    }
    Ok(keys)
}
