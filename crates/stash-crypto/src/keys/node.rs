//! A node's own keys.

use std::fmt;

use ed25519_dalek::SigningKey;
use rand::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::contexts;
use crate::ids::{NodeId, NoisePublic, StashId, WrapPublic};
use crate::keys::sign::{self, SIGNATURE};
use crate::member::identity::Identity;
use crate::random::random;

macro_rules! x25519_secret {
    ($( $(#[$doc:meta])* $name:ident -> $public:ident; )*) => { $(
        $(#[$doc])*
        pub struct $name(Zeroizing<[u8; 32]>);

        impl $name {
            /// The secret with these bytes; X25519 clamps them on use.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(Zeroizing::new(bytes))
            }

            /// The public half.
            pub fn public(&self) -> $public {
                let secret = StaticSecret::from(*self.0);
                $public::from_bytes(PublicKey::from(&secret).to_bytes())
            }

            /// The secret bytes.
            pub fn expose(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    )* };
}

x25519_secret! {
    /// The X25519 static of a Noise handshake.
    NoiseSecret -> NoisePublic;
    /// The X25519 secret that opens keys wrapped to a node or to the root.
    WrapSecret -> WrapPublic;
}

/// A node's Ed25519 key: signs records, joins and addresses.
pub struct NodeSigner(SigningKey);

impl NodeSigner {
    /// The node that signs.
    pub fn node_id(&self) -> NodeId {
        NodeId::from_bytes(self.0.verifying_key().to_bytes())
    }

    pub(crate) fn sign(&self, tag: &str, stash: &StashId, body: &[u8]) -> [u8; SIGNATURE] {
        sign::sign(&self.0, tag, stash, body)
    }
}

impl fmt::Debug for NodeSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeSigner({})", self.node_id().short())
    }
}

/// Everything that makes a node itself: three keys from one seed.
pub struct NodeKeys {
    seed: Zeroizing<[u8; 32]>,
    signer: NodeSigner,
    noise: NoiseSecret,
    wrap: WrapSecret,
}

impl NodeKeys {
    /// A new node.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self::from_seed(*random(rng))
    }

    /// The node with this seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        let signing = contexts::derive(contexts::NODE_SIGNING, &*seed);
        Self {
            signer: NodeSigner(SigningKey::from_bytes(&signing)),
            noise: NoiseSecret::from_bytes(*contexts::derive(contexts::NODE_NOISE, &*seed)),
            wrap: WrapSecret::from_bytes(*contexts::derive(contexts::NODE_WRAP, &*seed)),
            seed,
        }
    }

    /// This node with other keys to speak by and to open wraps with.
    pub(crate) fn speaking_by(self, noise: NoiseSecret, wrap: WrapSecret) -> Self {
        Self { noise, wrap, ..self }
    }

    /// The seed, from which a node's own keys derive.
    pub fn expose(&self) -> &[u8; 32] {
        &self.seed
    }

    /// A second copy, made on purpose.
    pub fn duplicate(&self) -> Self {
        Self {
            noise: NoiseSecret::from_bytes(*self.noise.expose()),
            wrap: WrapSecret::from_bytes(*self.wrap.expose()),
            ..Self::from_seed(*self.seed)
        }
    }

    /// The node's public name.
    pub fn node_id(&self) -> NodeId {
        self.signer.node_id()
    }

    /// The signing key.
    pub fn signer(&self) -> &NodeSigner {
        &self.signer
    }

    /// The Noise static.
    pub fn noise_secret(&self) -> &NoiseSecret {
        &self.noise
    }

    /// The public half of the Noise static.
    pub fn noise_public(&self) -> NoisePublic {
        self.noise.public()
    }

    /// The secret that opens wrapped keys.
    pub fn wrap_secret(&self) -> &WrapSecret {
        &self.wrap
    }

    /// The key to which others wrap.
    pub fn wrap_public(&self) -> WrapPublic {
        self.wrap.public()
    }

    /// The three public keys, as a member entry binds them.
    pub fn identity(&self) -> Identity {
        Identity { node: self.node_id(), noise: self.noise_public(), wrap: self.wrap_public() }
    }
}

impl fmt::Debug for NodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKeys({}, redacted)", self.node_id().short())
    }
}
