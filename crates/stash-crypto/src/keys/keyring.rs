//! The keyring file: everything secret that a node keeps, plain or under a passphrase.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use rand::CryptoRng;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::codec::{Reader, Truncated};
use crate::contexts;
use crate::ids::StashId;
use crate::keys::node::NodeKeys;
use crate::keys::secret::{NetworkKey, ReadRoot, RootSecret};
use crate::member::grant::{GrantError, encode_lists, read_lists};
use crate::member::identity::Role;
use crate::random::random;
use crate::siv::{Siv, TAG};

const MAGIC: [u8; 8] = *b"stashkey";
const FORMAT: u8 = 1;
const HEAD: usize = 16;
const SUM: usize = 32;
const PLAIN: u8 = 0;
const ARGON2ID: u8 = 1;
const SALT: usize = 16;

/// Cost of a passphrase: 64 MiB, three passes, one lane; some 150 ms on a machine of 2026.
const COST: Cost = Cost { memory_kib: 64 << 10, passes: 3, lanes: 1 };

/// The costs of Argon2id as the file names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
}

impl Cost {
    /// Bounds, checked before a byte is allocated: 8 MiB to 1 GiB, 1 to 16 passes, 1 to 8 lanes.
    fn check(self) -> Result<Self, KeyringError> {
        let fits = (8 << 10..=1 << 20).contains(&self.memory_kib)
            && (1..=16).contains(&self.passes)
            && (1..=8).contains(&self.lanes);
        let Self { memory_kib, passes, lanes } = self;
        if fits { Ok(self) } else { Err(KeyringError::Cost { memory_kib, passes, lanes }) }
    }
}

/// The protection of the file.
#[derive(Clone, Copy)]
pub enum Protection<'a> {
    /// By nothing but the file's mode.
    None,
    /// By Argon2id over these bytes, which are taken as they are.
    Passphrase(&'a [u8]),
}

impl fmt::Debug for Protection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Passphrase(_) => "Passphrase(redacted)",
        })
    }
}

/// Everything secret that a node keeps of one stash.
#[derive(Debug)]
pub struct Keyring {
    /// The node's own keys.
    pub node: NodeKeys,
    /// The stash.
    pub stash: StashId,
    /// The role in which the node was admitted; the member log has the last word.
    pub role: Role,
    /// The root secret S, on the node that founded the stash.
    pub root: Option<RootSecret>,
    /// Network keys by ascending epoch: at least one.
    pub network: Vec<NetworkKey>,
    /// Read roots by ascending epoch: none for a keeper, else at least one.
    pub read: Vec<ReadRoot>,
}

/// Why a keyring cannot be decoded or encoded. The file on disk is never changed by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyringError {
    /// Another kind of file.
    #[error("this file is no keyring")]
    NotAKeyring,
    /// A format or protection of a later version.
    #[error("keyring format {found} is not known")]
    Version {
        /// The byte that is not known.
        found: u8,
    },
    /// The checksum does not match: the disk, or an editor of the file, is at fault. Restore it
    /// from a backup.
    #[error("the keyring file is damaged: its checksum does not match")]
    Damaged,
    /// The checksum matches, but the fields contradict the format: the writer of the file is at
    /// fault.
    #[error("the keyring's fields do not fit: {0}")]
    Fields(&'static str),
    /// The epoch keys break a rule.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The file is protected and no passphrase was given: ask for it and retry.
    #[error("the keyring is protected by a passphrase")]
    NeedsPassphrase,
    /// The passphrase is not the one: ask again.
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// Costs out of bounds; nothing was allocated.
    #[error("Argon2id costs out of bounds: {memory_kib} KiB, {passes} passes, {lanes} lanes")]
    Cost {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// The machine has not the memory that the passphrase's cost needs.
    #[error("not enough memory for the passphrase: {memory_kib} KiB")]
    Memory {
        /// Memory in KiB.
        memory_kib: u32,
    },
}

impl From<Truncated> for KeyringError {
    fn from(_: Truncated) -> Self {
        Self::Fields("a field ends too early")
    }
}

impl Keyring {
    /// Encodes the file. The salt comes from `rng`.
    pub fn encode(
        &self,
        protection: &Protection<'_>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        self.encode_with(protection, COST, rng)
    }

    pub(crate) fn encode_with(
        &self,
        protection: &Protection<'_>,
        cost: Cost,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        self.check()?;
        let body = self.body()?;
        let mut out = Zeroizing::new(Vec::with_capacity(128 + body.len()));
        out.extend_from_slice(&MAGIC);
        match protection {
            Protection::None => {
                out.extend_from_slice(&[FORMAT, PLAIN, 0, 0, 0, 0, 0, 0]);
                out.extend_from_slice(&body);
            }
            Protection::Passphrase(passphrase) => {
                out.extend_from_slice(&[FORMAT, ARGON2ID, 0, 0, 0, 0, 0, 0]);
                out.extend_from_slice(&cost.memory_kib.to_le_bytes());
                out.extend_from_slice(&cost.passes.to_le_bytes());
                out.extend_from_slice(&cost.lanes.to_le_bytes());
                let salt = random::<SALT>(rng);
                out.extend_from_slice(&*salt);
                let sealed = stretch(passphrase, &salt, cost)?.seal(&out, &body);
                out.extend_from_slice(&sealed);
            }
        }
        let sum = checksum(&out);
        out.extend_from_slice(&sum);
        Ok(out)
    }

    /// Bytes at the beginning of a file that tell whether it is a keyring, and how it is protected.
    pub const HEAD: usize = MAGIC.len() + 2;

    /// True of the beginning of a keyring, of any version, that no passphrase protects.
    #[must_use]
    pub fn is_unprotected(head: &[u8; Self::HEAD]) -> bool {
        head.starts_with(&MAGIC) && head[MAGIC.len() + 1] == PLAIN
    }

    /// Decodes the file. The passphrase is ignored if the file is not protected.
    pub fn decode(bytes: &[u8], passphrase: Option<&[u8]>) -> Result<Self, KeyringError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(KeyringError::NotAKeyring);
        }
        let (file, sum) = bytes.split_last_chunk::<SUM>().ok_or(KeyringError::Damaged)?;
        if file.len() < HEAD || checksum(file) != *sum {
            return Err(KeyringError::Damaged);
        }
        let mut reader = Reader::new(&file[MAGIC.len()..]);
        let [format, protection] = reader.array()?;
        if format != FORMAT {
            return Err(KeyringError::Version { found: format });
        }
        if reader.array()? != [0; 6] {
            return Err(KeyringError::Fields("a reserved byte is not zero"));
        }
        match protection {
            PLAIN => Self::read_body(reader.rest()),
            ARGON2ID => {
                let passphrase = passphrase.ok_or(KeyringError::NeedsPassphrase)?;
                Self::read_body(&open(file, reader, passphrase)?)
            }
            found => Err(KeyringError::Version { found }),
        }
    }

    fn body(&self) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        let keys = self.network.len() + self.read.len();
        let mut out = Zeroizing::new(Vec::with_capacity(128 + 36 * keys));
        out.push(self.role.code());
        out.extend_from_slice(self.stash.as_bytes());
        out.extend_from_slice(self.node.expose());
        out.push(u8::from(self.root.is_some()));
        if let Some(root) = &self.root {
            out.extend_from_slice(root.expose());
        }
        encode_lists(&self.network, &self.read, &mut out)?;
        Ok(out)
    }

    fn read_body(body: &[u8]) -> Result<Self, KeyringError> {
        let mut reader = Reader::new(body);
        let role = Role::from_code(reader.u8()?).ok_or(KeyringError::Fields("unknown role"))?;
        let stash = StashId::from_bytes(reader.array()?);
        let node = NodeKeys::from_seed(reader.array()?);
        let root = match reader.u8()? {
            0 => None,
            1 => Some(RootSecret::from_bytes(reader.array()?)),
            _ => return Err(KeyringError::Fields("a flag is neither 0 nor 1")),
        };
        let (network, read) = read_lists(&mut reader)?;
        if !reader.is_empty() {
            return Err(KeyringError::Fields("bytes follow after the keys"));
        }
        let keyring = Self { node, stash, role, root, network, read };
        keyring.check()?;
        Ok(keyring)
    }

    /// Checks that the keys fit the stash and the role.
    fn check(&self) -> Result<(), KeyringError> {
        let wrong_root = self.root.as_ref().is_some_and(|root| root.stash_id() != self.stash);
        let rules = [
            (wrong_root, "the root secret is of another stash"),
            (self.root.is_some() && self.role != Role::Owner, "only an owner keeps the root"),
            (self.network.is_empty(), "no network key"),
            (self.role.reads() && self.read.is_empty(), "no read root for a role that reads"),
            (!self.role.reads() && !self.read.is_empty(), "a keeper has no read root"),
        ];
        match rules.into_iter().find(|(broken, _)| *broken) {
            Some((_, rule)) => Err(KeyringError::Fields(rule)),
            None => Ok(()),
        }
    }
}

pub(crate) fn checksum(file: &[u8]) -> [u8; SUM] {
    blake3::derive_key(contexts::KEYRING_SUM, file)
}

fn open(
    file: &[u8],
    mut reader: Reader<'_>,
    passphrase: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    let cost = Cost { memory_kib: reader.u32()?, passes: reader.u32()?, lanes: reader.u32()? };
    let salt = reader.array::<SALT>()?;
    let ad = &file[..MAGIC.len() + reader.position()];
    let sealed = reader.rest();
    if sealed.len() < TAG {
        return Err(Truncated.into());
    }
    let siv = stretch(passphrase, &salt, cost)?;
    siv.open(ad, sealed).ok_or(KeyringError::WrongPassphrase)
}

/// Argon2id to two keys. The memory is asked for, not assumed, and wiped afterwards.
fn stretch(passphrase: &[u8], salt: &[u8; SALT], cost: Cost) -> Result<Siv, KeyringError> {
    let Cost { memory_kib, passes, lanes } = cost.check()?;
    let params = Params::new(memory_kib, passes, lanes, Some(32))
        .map_err(|_| KeyringError::Cost { memory_kib, passes, lanes })?;
    let mut blocks: Vec<Block> = Vec::new();
    blocks
        .try_reserve_exact(params.block_count())
        .map_err(|_| KeyringError::Memory { memory_kib })?;
    blocks.resize(params.block_count(), Block::default());
    let mut stretched = Zeroizing::new([0; 32]);
    let result = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(passphrase, salt, &mut *stretched, &mut blocks);
    blocks.zeroize();
    result.map_err(|_| KeyringError::Fields("the passphrase is longer than 4 GiB"))?;
    Ok(Siv::derive(contexts::KEYRING_MAC, contexts::KEYRING_ENC, &[&*stretched]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A protected file with these costs and a good checksum, whatever it holds.
    fn file(memory_kib: u32, passes: u32, lanes: u32) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(&[FORMAT, ARGON2ID, 0, 0, 0, 0, 0, 0]);
        for cost in [memory_kib, passes, lanes] {
            file.extend_from_slice(&cost.to_le_bytes());
        }
        file.extend_from_slice(&[0; SALT + TAG]);
        resum(&file)
    }

    fn resum(file: &[u8]) -> Vec<u8> {
        [file, &checksum(file)].concat()
    }

    fn decode(file: &[u8]) -> KeyringError {
        Keyring::decode(file, Some(b"x")).unwrap_err()
    }

    // Fault case 31: what a file asks for is checked before it is allocated.
    #[test]
    fn costs_out_of_bounds_are_refused_before_anything_is_allocated() {
        let bad = [
            (8191, 3, 1),
            (u32::MAX, 3, 1),
            (8192, 0, 1),
            (8192, 17, 1),
            (8192, 3, 0),
            (8192, 3, 9),
        ];
        for (memory_kib, passes, lanes) in bad {
            let error = KeyringError::Cost { memory_kib, passes, lanes };
            assert_eq!(decode(&file(memory_kib, passes, lanes)), error);
        }
        assert_eq!(decode(&file(8192, 1, 1)), KeyringError::WrongPassphrase);
    }

    #[test]
    fn a_file_of_a_later_version_says_so() {
        let head = |format, protection, last| {
            resum(&[&MAGIC[..], &[format, protection, 0, 0, 0, 0, 0, last]].concat())
        };
        assert_eq!(decode(&head(2, 0, 0)), KeyringError::Version { found: 2 });
        assert_eq!(decode(&head(1, 2, 0)), KeyringError::Version { found: 2 });
        assert_eq!(decode(&head(1, 0, 1)), KeyringError::Fields("a reserved byte is not zero"));
        assert_eq!(decode(&head(1, 0, 0)), KeyringError::Fields("a field ends too early"));
        assert_eq!(decode(&head(1, 1, 0)), KeyringError::Fields("a field ends too early"));
    }
}
