//! The handshake as consuming typestates: bytes in, bytes out, no I/O, no clock, no randomness.
//!
//! Initiator: [`Dial::start`] gives the preamble and [`Dial::finish`] takes message 2. Responder:
//! [`Asked::read`] takes the preamble and says who asks for what; the driver then decides, and
//! [`Asked::answer`] gives message 2. Neither side has proven to the other that it is *live* until
//! its first transport message opens.

use std::fmt;

use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use crate::cipher::{Opener, Sealer};
use crate::preamble::{
    self, CHOICE_LEN, MSG1_LEN, MSG2_LEN, OFFER_LEN, Offer, PREAMBLE_LEN, TAG_LEN,
};
use crate::resolver::Resolver;
use crate::{PublicKey, Realm, StaticSecret};

/// The one suite.
pub(crate) const SUITE: &str = "Noise_IKpsk1_25519_AESGCM_SHA256";

/// Why a handshake ended. For logs: on the wire all of them are silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("no realm's tag fits")]
    Stranger,
    #[error("the noise message does not open")]
    Noise,
    #[error("the payload is malformed")]
    Payload,
    #[error("no common version")]
    Version,
    #[error("the remote is this node itself")]
    Reflection,
}

/// A session whose handshake is done.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
    pub(crate) remote: PublicKey,
    pub(crate) hash: [u8; 32],
    pub(crate) initiator: bool,
}

/// An initiator that waits for message 2.
pub(crate) struct Dial {
    noise: HandshakeState,
    remote: PublicKey,
}

/// A responder that has read message 1 and decides.
pub(crate) struct Asked {
    noise: HandshakeState,
    /// Label of the realm whose keys opened it.
    pub(crate) realm: [u8; 32],
    /// The initiator's static key.
    pub(crate) remote: PublicKey,
    /// The fields of its first message.
    pub(crate) offer: Offer,
    version: u16,
}

impl Dial {
    /// Starts a handshake: the bytes to send, and the state that takes the answer. `ephemeral` is
    /// 32 fresh random bytes.
    pub(crate) fn start(
        secret: &StaticSecret,
        remote: &PublicKey,
        realm: &Realm,
        offer: &Offer,
        ephemeral: Zeroizing<[u8; 32]>,
    ) -> Result<(Box<[u8; PREAMBLE_LEN]>, Self), HandshakeError> {
        let mut noise = builder(ephemeral, secret, realm)
            .and_then(|builder| builder.remote_public_key(remote.as_bytes()))
            .and_then(Builder::build_initiator)
            .map_err(|_| HandshakeError::Noise)?;
        let mut bytes = Box::new([0; PREAMBLE_LEN]);
        let written = noise.write_message(&offer.encode(), &mut bytes[TAG_LEN..]);
        if written != Ok(MSG1_LEN) {
            return Err(HandshakeError::Noise);
        }
        let tag = preamble::tag(realm, remote, &bytes[TAG_LEN..]);
        bytes[..TAG_LEN].copy_from_slice(&tag);
        Ok((bytes, Self { noise, remote: *remote }))
    }

    /// Takes message 2.
    pub(crate) fn finish(
        mut self,
        msg2: &[u8; MSG2_LEN],
        rekey_after: u64,
    ) -> Result<Session, HandshakeError> {
        let mut choice = [0; CHOICE_LEN];
        let read = self.noise.read_message(msg2, &mut choice);
        if read != Ok(CHOICE_LEN) {
            return Err(HandshakeError::Noise);
        }
        preamble::decode_choice(&choice).ok_or(HandshakeError::Payload)?;
        Ok(session(self.noise, self.remote, true, rekey_after))
    }
}

impl Asked {
    /// Reads a preamble. Nothing is computed but one hash per realm until a tag fits.
    pub(crate) fn read(
        secret: &StaticSecret,
        public: &PublicKey,
        realms: &[Realm],
        bytes: &[u8; PREAMBLE_LEN],
        ephemeral: Zeroizing<[u8; 32]>,
    ) -> Result<Self, HandshakeError> {
        let realm = preamble::find_realm(realms, public, bytes).ok_or(HandshakeError::Stranger)?;
        let mut noise = builder(ephemeral, secret, realm)
            .and_then(Builder::build_responder)
            .map_err(|_| HandshakeError::Noise)?;
        let mut payload = [0; OFFER_LEN];
        let read = noise.read_message(&bytes[TAG_LEN..], &mut payload);
        if read != Ok(OFFER_LEN) {
            return Err(HandshakeError::Noise);
        }
        let remote = noise.get_remote_static().and_then(|key| key.try_into().ok());
        let remote = PublicKey::from_bytes(remote.ok_or(HandshakeError::Noise)?);
        if remote == *public {
            return Err(HandshakeError::Reflection);
        }
        let offer = Offer::decode(&payload).ok_or(HandshakeError::Payload)?;
        let version = offer.common_version().ok_or(HandshakeError::Version)?;
        Ok(Self { noise, realm: realm.label, remote, offer, version })
    }

    /// Answers. The caller has checked membership and made the counter durable.
    pub(crate) fn answer(
        mut self,
        rekey_after: u64,
    ) -> Result<([u8; MSG2_LEN], Session), HandshakeError> {
        let mut msg2 = [0; MSG2_LEN];
        let choice = preamble::encode_choice(self.version);
        let written = self.noise.write_message(&choice, &mut msg2);
        if written != Ok(MSG2_LEN) {
            return Err(HandshakeError::Noise);
        }
        Ok((msg2, session(self.noise, self.remote, false, rekey_after)))
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asked({})", self.remote.short())
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dial({})", self.remote.short())
    }
}

fn builder<'a>(
    ephemeral: Zeroizing<[u8; 32]>,
    secret: &'a StaticSecret,
    realm: &'a Realm,
) -> Result<Builder<'a>, snow::Error> {
    let params = SUITE.parse()?;
    Builder::with_resolver(params, Box::new(Resolver::new(ephemeral)))
        .local_private_key(secret.expose())?
        .prologue(&realm.prologue)?
        .psk(1, &realm.psk)
}

fn session(
    mut noise: HandshakeState,
    remote: PublicKey,
    initiator: bool,
    rekey_after: u64,
) -> Session {
    let mut hash = [0; 32];
    hash.copy_from_slice(noise.get_handshake_hash());
    let (first, second) = noise.dangerously_get_raw_split();
    let (first, second) = (Zeroizing::new(first), Zeroizing::new(second));
    // The first key of Split() is the initiator's for sending.
    let (send, receive) = if initiator { (first, second) } else { (second, first) };
    Session {
        sealer: Sealer::new(&send, rekey_after),
        opener: Opener::new(&receive, rekey_after),
        remote,
        hash,
        initiator,
    }
}
