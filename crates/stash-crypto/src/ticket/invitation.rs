//! Tickets: what an inviter hands over so that another node can join once.

use std::fmt;
use std::str::FromStr;

use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::codec::Reader;
use crate::contexts;
use crate::ids::{NoisePublic, StashId, TicketId};
use crate::member::addresses::{MAX_ADDRESSES, put_places, read_places};
use crate::member::place::{Place, has_name, places_that_fit};
use crate::random::random;
use crate::ticket::text::{self, Case, TextError};

/// Why a text is no ticket.
pub type TicketError = TextError;

const PREFIX: &str = "stashticket";
const VERSION: u8 = 1;
/// The version of a ticket with a host name.
const NAMED: u8 = 2;
/// Bytes for places: the longest text has room for 630 bytes, of which 106 are the other fields.
const PLACES: usize = 500;
const SECRET: usize = 16;

/// The one-time secret of a ticket: 128 random bits, useful until it is used or expires.
pub struct TicketSecret(Zeroizing<[u8; SECRET]>);

impl TicketSecret {
    /// A fresh secret.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self(random(rng))
    }

    /// The secret with these bytes.
    pub fn from_bytes(bytes: [u8; SECRET]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret bytes.
    pub fn expose(&self) -> &[u8; SECRET] {
        &self.0
    }

    /// A second copy, made on purpose.
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret(redacted)")
    }
}

/// An invitation, as text `stashticket1…`. The text holds the one-time secret: `Display` shows it,
/// `Debug` does not. Scope ids of IPv6 addresses are not carried.
#[derive(Debug)]
pub struct Ticket {
    /// The stash to join.
    pub stash: StashId,
    /// The node that invites.
    pub inviter: NoisePublic,
    /// The places at which it listens: 1 to 8, none with port 0.
    pub addresses: Vec<Place>,
    /// Names the ticket in the inviter's table.
    pub id: TicketId,
    /// Known to inviter and joiner only.
    pub secret: TicketSecret,
    /// Seconds since the Unix epoch, after which the inviter refuses it.
    pub expires: u64,
}

impl Ticket {
    /// The first of these places that a ticket has room for.
    pub fn fitting<'a>(places: impl IntoIterator<Item = &'a Place>) -> Vec<Place> {
        places_that_fit(places, MAX_ADDRESSES, PLACES)
    }

    /// Key of the tag that precedes the first handshake message of the join.
    pub fn join_tag_key(&self) -> [u8; 32] {
        *self.derive(contexts::JOIN_TAG)
    }

    /// The Noise psk of the join.
    pub fn join_psk(&self) -> Zeroizing<[u8; 32]> {
        self.derive(contexts::JOIN_PSK)
    }

    /// A second copy, made on purpose.
    pub fn duplicate(&self) -> Self {
        Self { addresses: self.addresses.clone(), secret: self.secret.duplicate(), ..*self }
    }

    fn derive(&self, context: &str) -> Zeroizing<[u8; 32]> {
        let parts: [&[u8]; 3] = [self.stash.as_bytes(), self.id.as_bytes(), self.secret.expose()];
        contexts::derive_parts(context, &parts)
    }

    /// The text form.
    ///
    /// # Panics
    /// If there is no place, or there are more than [`fitting`](Self::fitting) gives.
    pub fn to_text(&self) -> Zeroizing<String> {
        let count = self.addresses.len();
        assert!((1..=MAX_ADDRESSES).contains(&count), "a ticket has 1 to 8 addresses");
        let mut body = Zeroizing::new(Vec::with_capacity(106 + 19 * count));
        body.push(if has_name(&self.addresses) { NAMED } else { VERSION });
        body.extend_from_slice(self.stash.as_bytes());
        body.extend_from_slice(self.inviter.as_bytes());
        body.extend_from_slice(self.id.as_bytes());
        body.extend_from_slice(self.secret.expose());
        body.extend_from_slice(&self.expires.to_le_bytes());
        put_places(&mut body, &self.addresses);
        text::encode(PREFIX, &body)
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let body = text::decode(PREFIX, Case::Uniform, text)?;
        let mut reader = Reader::new(&body);
        let named = match reader.u8()? {
            VERSION => false,
            NAMED => true,
            found => return Err(TextError::Version { found }),
        };
        let ticket = Self {
            stash: StashId::from_bytes(reader.array()?),
            inviter: NoisePublic::from_bytes(reader.array()?),
            id: TicketId::from_bytes(reader.array()?),
            secret: TicketSecret::from_bytes(reader.array()?),
            expires: reader.u64()?,
            addresses: read_places(&mut reader, 1..=MAX_ADDRESSES, named)?,
        };
        // One version for each.
        let whole = reader.is_empty() && named == has_name(&ticket.addresses);
        if whole { Ok(ticket) } else { Err(TextError::Fields) }
    }
}
