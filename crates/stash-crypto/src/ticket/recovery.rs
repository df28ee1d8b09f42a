//! The recovery text: the root secret and where to find members, for paper.

use zeroize::Zeroizing;

use crate::codec::{Reader, count_u8};
use crate::ids::NoisePublic;
use crate::keys::secret::RootSecret;
use crate::member::addresses::{put_places, read_places};
use crate::member::place::{Place, has_name, places_that_fit};
use crate::ticket::text::{self, Case, TextError};

const PREFIX: &str = "stashrecovery";
const VERSION: u8 = 1;
/// The version of a text with a host name.
const NAMED: u8 = 2;
/// Bytes for the places of one member: the longest text has room for three times as many.
const PLACES: usize = 160;
/// Most members that a recovery text names.
const MAX_MEMBERS: usize = 3;
/// Most addresses of one member in a recovery text.
const MAX_MEMBER_ADDRESSES: usize = 4;
/// Characters of a group, and groups of a line: people keep their place in groups of five.
const GROUP: usize = 5;
const GROUPS: usize = 8;

/// All that is needed to have everything again, given one living keeper.
#[derive(Debug)]
pub struct RecoveryText {
    /// S.
    pub root: RootSecret,
    /// Up to three members: their Noise statics and up to four addresses each.
    pub members: Vec<(NoisePublic, Vec<Place>)>,
}

impl RecoveryText {
    /// The first of a member's places that a text has room for.
    pub fn fitting<'a>(places: impl IntoIterator<Item = &'a Place>) -> Vec<Place> {
        places_that_fit(places, MAX_MEMBER_ADDRESSES, PLACES)
    }

    /// The text, in groups of five characters and lines of eight groups.
    ///
    /// # Panics
    /// If there are more than 3 members, or more than 4 addresses of one.
    pub fn to_text(&self) -> Zeroizing<String> {
        assert!(self.members.len() <= MAX_MEMBERS, "a recovery text names at most 3 members");
        let mut body = Zeroizing::new(Vec::with_capacity(512));
        let named = self.members.iter().any(|(_, places)| has_name(places));
        body.push(if named { NAMED } else { VERSION });
        body.extend_from_slice(self.root.expose());
        body.push(count_u8(self.members.len()));
        for (noise, addresses) in &self.members {
            assert!(addresses.len() <= MAX_MEMBER_ADDRESSES, "at most 4 addresses a member");
            body.extend_from_slice(noise.as_bytes());
            put_places(&mut body, addresses);
        }
        grouped(&text::encode(PREFIX, &body))
    }

    /// Reads the text. White space and the case of letters do not matter.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let body = text::decode(PREFIX, Case::Any, text)?;
        let mut reader = Reader::new(&body);
        let named = match reader.u8()? {
            VERSION => false,
            NAMED => true,
            found => return Err(TextError::Version { found }),
        };
        let root = RootSecret::from_bytes(reader.array()?);
        let count = usize::from(reader.u8()?);
        if count > MAX_MEMBERS {
            return Err(TextError::Count { count });
        }
        let mut members = Vec::with_capacity(count);
        for _ in 0..count {
            let noise = NoisePublic::from_bytes(reader.array()?);
            members.push((noise, read_places(&mut reader, 0..=MAX_MEMBER_ADDRESSES, named)?));
        }
        // One version for each.
        let has_names = members.iter().any(|(_, places)| has_name(places));
        let whole = reader.is_empty() && named == has_names;
        if whole { Ok(Self { root, members }) } else { Err(TextError::Fields) }
    }
}

fn grouped(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len() * 2));
    for (at, c) in text.chars().enumerate() {
        if at != 0 && at.is_multiple_of(GROUP * GROUPS) {
            out.push('\n');
        } else if at != 0 && at.is_multiple_of(GROUP) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}
