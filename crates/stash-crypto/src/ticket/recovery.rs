//! The recovery text: the root secret and where to find members, for paper.

use std::net::SocketAddr;

use zeroize::Zeroizing;

use crate::codec::{Reader, count_u8};
use crate::ids::NoisePublic;
use crate::keys::secret::RootSecret;
use crate::member::addresses::{put_addresses, read_addresses};
use crate::ticket::text::{self, Case, TextError};

const PREFIX: &str = "stashrecovery";
const VERSION: u8 = 1;
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
    pub members: Vec<(NoisePublic, Vec<SocketAddr>)>,
}

impl RecoveryText {
    /// The text, in groups of five characters and lines of eight groups.
    ///
    /// # Panics
    /// If there are more than 3 members, or more than 4 addresses of one.
    pub fn to_text(&self) -> Zeroizing<String> {
        assert!(self.members.len() <= MAX_MEMBERS, "a recovery text names at most 3 members");
        let mut body = Zeroizing::new(Vec::with_capacity(512));
        body.push(VERSION);
        body.extend_from_slice(self.root.expose());
        body.push(count_u8(self.members.len()));
        for (noise, addresses) in &self.members {
            assert!(addresses.len() <= MAX_MEMBER_ADDRESSES, "at most 4 addresses a member");
            body.extend_from_slice(noise.as_bytes());
            put_addresses(&mut body, addresses);
        }
        grouped(&text::encode(PREFIX, &body))
    }

    /// Reads the text. White space and the case of letters do not matter.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let body = text::decode(PREFIX, Case::Any, text)?;
        let mut reader = Reader::new(&body);
        match reader.u8()? {
            VERSION => {}
            found => return Err(TextError::Version { found }),
        }
        let root = RootSecret::from_bytes(reader.array()?);
        let count = usize::from(reader.u8()?);
        if count > MAX_MEMBERS {
            return Err(TextError::Count { count });
        }
        let mut members = Vec::with_capacity(count);
        for _ in 0..count {
            let noise = NoisePublic::from_bytes(reader.array()?);
            members.push((noise, read_addresses(&mut reader, 0..=MAX_MEMBER_ADDRESSES)?));
        }
        if reader.is_empty() { Ok(Self { root, members }) } else { Err(TextError::Fields) }
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
