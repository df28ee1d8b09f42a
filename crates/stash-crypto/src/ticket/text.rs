//! Secrets as text that people copy: bech32m (BIP-350), and where a typing mistake lies.

use bech32::primitives::checksum::Checksum;
use bech32::primitives::gf32::Fe32;
use bech32::{Bech32m, Hrp};
use thiserror::Error;
use zeroize::Zeroizing;

/// Most characters that a checksum of bech32m protects.
const LONGEST: usize = 1023;
const CHECKSUM: usize = 6;

/// A single typing mistake that explains a wrong checksum. Positions count characters of the text
/// as given, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typo {
    /// A wrong character.
    Wrong {
        /// Its position.
        at: usize,
        /// The character that stands there.
        found: char,
        /// The character that should stand there.
        expected: char,
    },
    /// Two neighbours are exchanged.
    Swapped {
        /// The position of the first of the two.
        at: usize,
    },
    /// A character too many (in a run of equal ones, any of them).
    Extra {
        /// Its position.
        at: usize,
    },
    /// A missing character.
    Missing {
        /// The character before which it belongs; one past the end if it was the last.
        at: usize,
        /// The character that is missing.
        expected: char,
    },
    /// More than one mistake.
    Several,
}

impl std::fmt::Display for Typo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Wrong { at, found, expected } => {
                write!(f, "character {at} is '{found}' and should be '{expected}'")
            }
            Self::Swapped { at } => {
                write!(f, "character {at} and the next one are exchanged")
            }
            Self::Extra { at } => write!(f, "character {at} is one too many"),
            Self::Missing { at, expected } => {
                write!(f, "'{expected}' is missing before character {at}")
            }
            Self::Several => f.write_str("more than one character is wrong"),
        }
    }
}

/// Why a text is no ticket or recovery text. Whoever typed or copied it is at fault. Positions
/// count characters of the text as given, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TextError {
    /// The text does not begin as it must.
    #[error("the text must begin with '{expected}1'; it differs at character {at}")]
    Prefix {
        /// The first character that differs, or one past the end.
        at: usize,
        /// The beginning that it must have, before the `1`.
        expected: &'static str,
    },
    /// Capital and small letters are mixed.
    #[error("capital and small letters are mixed at character {at}")]
    MixedCase {
        /// The first letter of the case that is rarer.
        at: usize,
    },
    /// A character that never occurs.
    #[error("character {at}, '{found}', never occurs in such a text")]
    Character {
        /// Its position.
        at: usize,
        /// The character that stands there.
        found: char,
    },
    /// Longer than any such text.
    #[error("a text of {len} characters is too long")]
    TooLong {
        /// Characters given.
        len: usize,
    },
    /// So short that it has no checksum.
    #[error("the text ends too early: {len} characters")]
    TooShort {
        /// Characters given.
        len: usize,
    },
    /// The checksum is wrong.
    #[error("mistyped: {0}")]
    Mistyped(Typo),
    /// A version of a later release.
    #[error("version {found} of this text is not known")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// The checksum holds, but the fields do not fill the text exactly.
    #[error("the text is complete, but its fields do not fit")]
    Fields,
    /// The checksum holds, but the number of addresses or members is out of bounds.
    #[error("{count} addresses or members are not allowed")]
    Count {
        /// The number claimed.
        count: usize,
    },
    /// The checksum holds, but an address is of an unknown family or has port 0.
    #[error("address {at} is not usable")]
    Address {
        /// Its position, from 0.
        at: usize,
    },
}

impl From<crate::codec::Truncated> for TextError {
    fn from(_: crate::codec::Truncated) -> Self {
        Self::Fields
    }
}

/// The rule for capital and small letters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// As bech32 has it: all the same.
    Uniform,
    /// Any: the text was copied by hand.
    Any,
}

/// Encodes bytes that the caller keeps below bech32m's limit.
pub(crate) fn encode(prefix: &'static str, bytes: &[u8]) -> Zeroizing<String> {
    let hrp = Hrp::parse(prefix).expect("prefixes are short lower-case words");
    let text = bech32::encode::<Bech32m>(hrp, bytes).expect("bounded fields fit bech32m");
    Zeroizing::new(text)
}

/// A character of the text, folded, with its position.
struct Place {
    at: usize,
    found: char,
    value: u8,
}

/// Decodes and checks everything but the fields. White space is ignored.
pub(crate) fn decode(
    prefix: &'static str,
    case: Case,
    text: &str,
) -> Result<Zeroizing<Vec<u8>>, TextError> {
    let chars: Vec<(usize, char)> =
        text.chars().enumerate().filter(|(_, c)| !c.is_whitespace()).take(LONGEST + 1).collect();
    if chars.len() > LONGEST {
        return Err(TextError::TooLong { len: text.chars().count() });
    }
    if case == Case::Uniform {
        check_case(&chars)?;
    }
    let data = after_prefix(prefix, &chars)?;
    let places = data.iter().map(|&(at, c)| place(at, c)).collect::<Result<Vec<_>, _>>()?;
    if places.len() < CHECKSUM {
        return Err(TextError::TooShort { len: chars.len() });
    }
    let values = Zeroizing::new(places.iter().map(|place| place.value).collect::<Vec<_>>());
    if residue(prefix, &values) != Bech32m::TARGET_RESIDUE {
        return Err(TextError::Mistyped(locate(prefix, &places, &values)));
    }
    to_bytes(&values[..values.len() - CHECKSUM])
}

fn check_case(chars: &[(usize, char)]) -> Result<(), TextError> {
    let letters = |upper: bool| {
        chars.iter().filter(
            move |(_, c)| {
                if upper { c.is_ascii_uppercase() } else { c.is_ascii_lowercase() }
            },
        )
    };
    let rarer_is_upper = letters(true).count() <= letters(false).count();
    match (letters(rarer_is_upper).next(), letters(!rarer_is_upper).next()) {
        (Some((at, _)), Some(_)) => Err(TextError::MixedCase { at: at + 1 }),
        _ => Ok(()),
    }
}

fn after_prefix<'a>(
    prefix: &'static str,
    chars: &'a [(usize, char)],
) -> Result<&'a [(usize, char)], TextError> {
    let wanted = prefix.chars().chain(['1']);
    for (index, wanted) in wanted.enumerate() {
        match chars.get(index) {
            Some((_, c)) if c.to_ascii_lowercase() == wanted => {}
            Some((at, _)) => {
                return Err(TextError::Prefix { at: at + 1, expected: prefix });
            }
            None => {
                let at = chars.last().map_or(1, |(at, _)| at + 2);
                return Err(TextError::Prefix { at, expected: prefix });
            }
        }
    }
    Ok(&chars[prefix.len() + 1..])
}

fn place(at: usize, found: char) -> Result<Place, TextError> {
    let folded = found.to_ascii_lowercase();
    match Fe32::from_char(folded) {
        Ok(fe) => Ok(Place { at: at + 1, found, value: fe.to_u8() }),
        Err(_) => Err(TextError::Character { at: at + 1, found }),
    }
}

/// Five-bit values to bytes; the bits left over must be fewer than five and zero.
fn to_bytes(values: &[u8]) -> Result<Zeroizing<Vec<u8>>, TextError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(values.len() * 5 / 8));
    let (mut bits, mut filled) = (0u16, 0u32);
    for value in values {
        bits = (bits << 5) | u16::from(*value);
        filled += 5;
        if filled >= 8 {
            filled -= 8;
            bytes.push((bits >> filled).to_le_bytes()[0]);
            bits &= (1 << filled) - 1;
        }
    }
    if filled >= 5 || bits != 0 {
        return Err(TextError::Fields);
    }
    Ok(bytes)
}

/// A step of the checksum: the polynomial times x plus the value.
fn step(residue: u32, value: u8) -> u32 {
    let top = residue >> 25;
    let mut next = ((residue & 0x01ff_ffff) << 5) ^ u32::from(value);
    for (bit, generator) in Bech32m::GENERATOR_SH.iter().enumerate() {
        if top >> bit & 1 == 1 {
            next ^= generator;
        }
    }
    next
}

fn start(prefix: &str) -> u32 {
    let high = prefix.bytes().map(|byte| byte >> 5);
    let low = prefix.bytes().map(|byte| byte & 31);
    high.chain([0]).chain(low).fold(1, step)
}

fn residue(prefix: &str, values: &[u8]) -> u32 {
    values.iter().copied().fold(start(prefix), step)
}

/// Tries every single mistake. The checksum has 30 bits and a text some hundred characters, so a
/// false hit is a matter of one in ten thousand; nothing is accepted on the strength of it.
fn locate(prefix: &str, places: &[Place], values: &[u8]) -> Typo {
    let start = start(prefix);
    let holds =
        |values: &mut dyn Iterator<Item = u8>| values.fold(start, step) == Bech32m::TARGET_RESIDUE;
    wrong(start, places, values)
        .or_else(|| swapped(places, values, &holds))
        .or_else(|| extra(places, values, &holds))
        .or_else(|| missing(places, values, &holds))
        .unwrap_or(Typo::Several)
}

type Holds<'a> = dyn Fn(&mut dyn Iterator<Item = u8>) -> bool + 'a;

/// The checksum is linear: a changed value `k` characters before the end changes the residue by
/// that difference times x to the k.
fn wrong(start: u32, places: &[Place], values: &[u8]) -> Option<Typo> {
    let syndrome = values.iter().copied().fold(start, step) ^ Bech32m::TARGET_RESIDUE;
    for delta in 1..32u8 {
        let mut effect = u32::from(delta);
        for place in places.iter().rev() {
            if effect == syndrome {
                let expected = letter(place.value ^ delta);
                return Some(Typo::Wrong { at: place.at, found: place.found, expected });
            }
            effect = step(effect, 0);
        }
    }
    None
}

fn swapped(places: &[Place], values: &[u8], holds: &Holds<'_>) -> Option<Typo> {
    let mut values = Zeroizing::new(values.to_vec());
    for (at, pair) in places.windows(2).enumerate() {
        values.swap(at, at + 1);
        if holds(&mut values.iter().copied()) {
            return Some(Typo::Swapped { at: pair[0].at });
        }
        values.swap(at, at + 1);
    }
    None
}

fn extra(places: &[Place], values: &[u8], holds: &Holds<'_>) -> Option<Typo> {
    let without = |at: usize| holds(&mut values[..at].iter().chain(&values[at + 1..]).copied());
    (0..values.len()).find(|at| without(*at)).map(|at| Typo::Extra { at: places[at].at })
}

fn missing(places: &[Place], values: &[u8], holds: &Holds<'_>) -> Option<Typo> {
    for at in 0..=values.len() {
        for value in 0..32 {
            let (before, after) = values.split_at(at);
            if holds(&mut before.iter().copied().chain([value]).chain(after.iter().copied())) {
                let end = places.last().map_or(1, |place| place.at + 1);
                let at = places.get(at).map_or(end, |place| place.at);
                return Some(Typo::Missing { at, expected: letter(value) });
            }
        }
    }
    None
}

fn letter(value: u8) -> char {
    Fe32::try_from(value).expect("values have five bits").to_char()
}
