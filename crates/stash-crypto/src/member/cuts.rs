//! Lists of cuts that are too long for a member entry, which names them by count and hash.

use std::sync::Arc;

use crate::codec::{Reader, len_u32};
use crate::contexts;
use crate::ids::{CutsHash, Incarnation};
use crate::member::change::{Cut, EntryError, check_listed, check_order};

/// A list of cuts of one node's incarnations. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutList {
    cuts: Arc<[Cut]>,
    hash: CutsHash,
}

impl CutList {
    /// A list of 1 to [`MAX_LISTED`](crate::member::MAX_LISTED) cuts, their incarnations strictly ascending.
    ///
    /// # Errors
    ///
    /// [`EntryError`]: the caller's list breaks one of these rules.
    pub fn new(cuts: Vec<Cut>) -> Result<Self, EntryError> {
        check_listed(cuts.len())?;
        check_order(&cuts)?;
        let hash = CutsHash::from_bytes(blake3::derive_key(contexts::CUTS_HASH, &encode(&cuts)));
        Ok(Self { cuts: cuts.into(), hash })
    }

    /// The reverse of [`encode`](Self::encode): one encoding per list.
    ///
    /// # Errors
    ///
    /// [`EntryError`]: the node that sent or kept the bytes is at fault.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        check_listed(bytes.len().div_ceil(Cut::ENCODED))?;
        let mut reader = Reader::new(bytes);
        let mut cuts = Vec::with_capacity(bytes.len() / Cut::ENCODED);
        while !reader.is_empty() {
            cuts.push(Cut::read(&mut reader)?);
        }
        Self::new(cuts)
    }

    /// The cuts, 48 bytes each.
    pub fn encode(&self) -> Vec<u8> {
        encode(&self.cuts)
    }

    /// The cuts, by ascending incarnation.
    pub fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    /// The number of cuts, which an entry states together with the hash.
    pub fn count(&self) -> u32 {
        len_u32(self.cuts.len())
    }

    /// The name of the list.
    pub fn hash(&self) -> CutsHash {
        self.hash
    }

    /// The cuts without the list's name.
    pub(crate) fn shared(&self) -> Arc<[Cut]> {
        Arc::clone(&self.cuts)
    }
}

/// The cut of this incarnation in a sorted list.
pub(crate) fn find<'a>(cuts: &'a [Cut], incarnation: &Incarnation) -> Option<&'a Cut> {
    let at = cuts.binary_search_by_key(incarnation, |cut| cut.incarnation).ok()?;
    cuts.get(at)
}

fn encode(cuts: &[Cut]) -> Vec<u8> {
    cuts.iter().flat_map(Cut::to_bytes).collect()
}
