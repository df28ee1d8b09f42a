//! The root secret and the epoch keys: what members hold, and what derives from it.

use std::fmt;

use rand::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::chunk::seal::ChunkKeys;
use crate::codec::Reader;
use crate::contexts;
use crate::ids::{NodeId, StashId, WrapPublic};
use crate::keys::node::{NodeKeys, NoiseSecret, WrapSecret};
use crate::keys::sign::RootSigner;
use crate::member::label::LabelKeys;
use crate::random::random;
use crate::record::key::NameKey;
use crate::record::meta::MetaKeys;
use crate::siv::Siv;

/// S: the one secret of a stash. With it and one keeper's ciphertext, everything can be read.
pub struct RootSecret(Zeroizing<[u8; 32]>);

impl RootSecret {
    /// A new stash.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self(random(rng))
    }

    /// The root with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret bytes. Every use is a place where S can leak.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// A second copy, made on purpose.
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }

    /// The public name of this stash.
    pub fn stash_id(&self) -> StashId {
        self.root_signer().stash_id()
    }

    /// The key that signs the member log.
    pub fn root_signer(&self) -> RootSigner {
        RootSigner::from_seed(&contexts::derive(contexts::ROOT_SIGNING, &*self.0))
    }

    /// The root's Noise static, which members always accept.
    pub fn noise_static(&self) -> NoiseSecret {
        NoiseSecret::from_bytes(*contexts::derive(contexts::ROOT_NOISE, &*self.0))
    }

    /// The secret that opens what later epochs wrap to the root.
    pub fn wrap_secret(&self) -> WrapSecret {
        WrapSecret::from_bytes(*contexts::derive(contexts::ROOT_WRAP, &*self.0))
    }

    /// The public half of [`wrap_secret`](Self::wrap_secret).
    pub fn wrap_public(&self) -> WrapPublic {
        self.wrap_secret().public()
    }

    /// The node that speaks and opens wraps in the name of the root: a visitor, who may read what the
    /// root may and is no member.
    pub fn visitor(&self, node: NodeKeys) -> NodeKeys {
        node.speaking_by(self.noise_static(), self.wrap_secret())
    }

    /// N_0, the network key of epoch 0.
    pub fn network_key(&self) -> NetworkKey {
        NetworkKey::from_parts(0, *contexts::derive(contexts::NETWORK_0, &*self.0))
    }

    /// R_0, the read root of epoch 0.
    pub fn read_root(&self) -> ReadRoot {
        ReadRoot::from_parts(0, *contexts::derive(contexts::READ_0, &*self.0))
    }
}

impl fmt::Debug for RootSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootSecret(redacted)")
    }
}

macro_rules! epoch_key {
    ($( $(#[$doc:meta])* $name:ident; )*) => { $(
        $(#[$doc])*
        pub struct $name {
            epoch: u32,
            key: Zeroizing<[u8; 32]>,
        }

        impl $name {
            /// The key of an epoch, with these bytes.
            pub fn from_parts(epoch: u32, key: [u8; 32]) -> Self {
                Self { epoch, key: Zeroizing::new(key) }
            }

            /// A fresh key for a later epoch.
            pub fn generate(epoch: u32, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
                Self { epoch, key: random(rng) }
            }

            /// The epoch that this key belongs to.
            pub fn epoch(&self) -> u32 {
                self.epoch
            }

            /// The secret bytes.
            pub fn expose(&self) -> &[u8; 32] {
                &self.key
            }

            /// A second copy, made on purpose.
            pub fn duplicate(&self) -> Self {
                Self { epoch: self.epoch, key: self.key.clone() }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "(epoch {}, redacted)"), self.epoch)
            }
        }
    )* };
}

epoch_key! {
    /// N_i: with it, a node can start handshakes with members. It opens no content.
    NetworkKey;
    /// R_e: with it, all that was sealed in epoch e can be read and, through
    /// [`open_previous`](ReadRoot::open_previous), all before.
    ReadRoot;
}

/// Bytes of the tag by which members know a node on a local network.
pub const LAN_TAG_LEN: usize = 16;

impl NetworkKey {
    /// Key of the tag that precedes the first handshake message.
    pub fn peer_tag_key(&self) -> [u8; 32] {
        *contexts::derive(contexts::PEER_TAG, &*self.key)
    }

    /// The tag by which holders of this key know a node on a local network, in an hour since 1970. To anybody
    /// else it is random, and has nothing in common with that of another hour or node.
    pub fn lan_tag(&self, node: &NodeId, hour: u64) -> [u8; LAN_TAG_LEN] {
        let key = contexts::derive(contexts::LAN_TAG, &*self.key);
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher.update(node.as_bytes()).update(&hour.to_le_bytes());
        let mut tag = [0; LAN_TAG_LEN];
        tag.copy_from_slice(&hasher.finalize().as_bytes()[..LAN_TAG_LEN]);
        tag
    }

    /// The Noise static under which every member answers the root, which may know an address but
    /// not whose it is. Use the key of epoch 0, which every member holds and the root derives.
    pub fn meeting_static(&self) -> NoiseSecret {
        NoiseSecret::from_bytes(*contexts::derive(contexts::MEETING_NOISE, &*self.key))
    }

    /// The Noise psk between members.
    pub fn peer_psk(&self) -> Zeroizing<[u8; 32]> {
        contexts::derive(contexts::PEER_PSK, &*self.key)
    }
}

/// These bytes are not the sealed read root of the epoch before. The signer of the entry is at
/// fault, or the caller took the read root of another epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this is not the read root of the epoch before, sealed for this one")]
pub struct NotAPrevious;

impl ReadRoot {
    /// K_name. Use the one of epoch 0 for the life of the stash: with another, every name id
    /// changes.
    pub fn name_key(&self) -> NameKey {
        NameKey::from_bytes(contexts::derive(contexts::NAME, &*self.key))
    }

    /// Keys that seal chunks in this epoch.
    pub fn chunk_keys(&self) -> ChunkKeys {
        ChunkKeys::new(self.epoch, self.siv(contexts::CHUNK_MAC, contexts::CHUNK_ENC))
    }

    /// Keys that seal the meta of records in this epoch.
    pub fn meta_keys(&self) -> MetaKeys {
        MetaKeys::new(self.epoch, self.siv(contexts::META_MAC, contexts::META_ENC))
    }

    /// Keys that seal display names in this epoch.
    pub fn label_keys(&self) -> LabelKeys {
        LabelKeys::new(self.epoch, self.siv(contexts::LABEL_MAC, contexts::LABEL_ENC))
    }

    /// Seals the read root before, so that a holder of this one can read what is older.
    ///
    /// # Panics
    /// If `previous` is not of the epoch just before this one.
    pub fn seal_previous(&self, previous: &ReadRoot) -> Vec<u8> {
        assert_eq!(previous.epoch.checked_add(1), Some(self.epoch), "not the previous epoch");
        let siv = self.siv(contexts::PREVIOUS_MAC, contexts::PREVIOUS_ENC);
        siv.seal(&self.epoch.to_le_bytes(), previous.expose())
    }

    /// Opens what [`seal_previous`](Self::seal_previous) made.
    pub fn open_previous(&self, sealed: &[u8]) -> Result<ReadRoot, NotAPrevious> {
        let epoch = self.epoch.checked_sub(1).ok_or(NotAPrevious)?;
        let siv = self.siv(contexts::PREVIOUS_MAC, contexts::PREVIOUS_ENC);
        let plain = siv.open(&self.epoch.to_le_bytes(), sealed).ok_or(NotAPrevious)?;
        let mut reader = Reader::new(&plain);
        match reader.array() {
            Ok(key) if reader.is_empty() => Ok(ReadRoot::from_parts(epoch, key)),
            _ => Err(NotAPrevious),
        }
    }

    fn siv(&self, mac: &str, enc: &str) -> Siv {
        Siv::derive(mac, enc, &[&*self.key])
    }
}
