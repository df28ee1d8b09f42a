//! Texts that people type: tickets, recovery texts, keys, ids.

use std::fmt::Display;
use std::path::{Component, Path};
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::record::MAX_KEY;
use crate::ticket::Typo;
use crate::ticket::text::{self, TextError};
use crate::{Incarnation, Key, NodeId, RecoveryText, Ticket, TicketId};

/// Bytes of a body at most: bech32m protects 1,023 characters of five bits.
const BODY: usize = 600;

/// A ticket as a text, and as the bytes behind a good checksum.
pub fn ticket(bytes: &[u8]) -> bool {
    both("stashticket", bytes, |text| text.parse::<Ticket>().map(|ticket| ticket.to_text()))
}

/// A recovery text, likewise.
pub fn recovery(bytes: &[u8]) -> bool {
    both("stashrecovery", bytes, |text| RecoveryText::parse(text).map(|read| read.to_text()))
}

/// The text of the value that was read.
type Again = Result<Zeroizing<String>, TextError>;

fn both(prefix: &'static str, bytes: &[u8], read: fn(&str) -> Again) -> bool {
    let typed = std::str::from_utf8(bytes).is_ok_and(|text| canonical(text, &read(text)));
    let text = text::encode(prefix, &bytes[..bytes.len().min(BODY)]);
    typed | complete(&text, &read(&text))
}

/// Case and white space aside, a value has one text.
fn canonical(text: &str, again: &Again) -> bool {
    match again {
        Ok(again) => assert_eq!(bare(text), bare(again)),
        Err(TextError::Mistyped(typo)) => {
            let chars = text.chars().count();
            let (Typo::Wrong { at, .. } | Typo::Swapped { at } | Typo::Extra { at }) = typo else {
                return false;
            };
            assert!((1..=chars).contains(at), "character {at} of {chars}");
        }
        Err(_) => {}
    }
    again.is_ok()
}

/// A text with a good checksum is refused for what stands in it, and for nothing else.
fn complete(text: &str, again: &Again) -> bool {
    match again {
        Ok(again) => assert_eq!(bare(text), bare(again)),
        Err(error) => assert!(
            matches!(
                error,
                TextError::Version { .. }
                    | TextError::Fields
                    | TextError::Count { .. }
                    | TextError::Address { .. }
            ),
            "{error}"
        ),
    }
    again.is_ok()
}

fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_lowercase()).collect()
}

/// A name: what is a key is a relative path that climbs nowhere.
pub fn key(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let Ok(key) = Key::new(text) else {
        return false;
    };
    assert_eq!(key.as_str(), text);
    assert!(text.len() <= MAX_KEY && !text.contains('\0'));
    let mut parts = 0;
    for part in Path::new(text).components() {
        assert!(matches!(part, Component::Normal(_)), "{text:?}");
        parts += 1;
    }
    assert_eq!(parts, text.split('/').count(), "{text:?}");
    true
}

/// Ids of every length.
pub fn id(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    one::<NodeId>(text) | one::<TicketId>(text) | one::<Incarnation>(text)
}

fn one<T: FromStr + Display>(text: &str) -> bool {
    let id = text.parse::<T>();
    if let Ok(id) = &id {
        assert_eq!(id.to_string(), text);
    }
    id.is_ok()
}
