//! The sealed part of a record: true name, size, times, attributes, inline bytes.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::chunk::manifest::{ChunkRef, Manifest};
use crate::chunk::padme::last_chunk_padding;
use crate::chunk::seal::{CHUNK_OVERHEAD, MAX_CHUNK_PLAIN};
use crate::codec::{Reader, Truncated, count_u8, len_u16, len_u32};
use crate::record::clear::{Clear, RecordKind};
use crate::record::file_type::FileType;
use crate::record::key::{Key, KeyError, MAX_KEY};
use crate::record::runs::{ChunkRuns, RUNS_MAX};
use crate::siv::{Siv, TAG};

/// Largest content in bytes that lives inside its record: one message, one sync, no inode.
pub const INLINE_MAX: usize = 4096;
/// Most attributes of one file.
pub const MAX_ATTRIBUTES: usize = 32;
/// Longest attribute name in bytes.
pub const MAX_ATTRIBUTE_NAME: usize = 255;
/// Longest attribute value in bytes.
pub const MAX_ATTRIBUTE_VALUE: usize = 1024;
/// Smallest and largest chunk size in bytes; each is a power of two.
const CHUNK_SIZES: std::ops::RangeInclusive<u32> = 4096..=(4 << 20);

const FORMAT: u8 = 1;
const STEP: usize = 256;
const FLAG_MODIFIED: u8 = 1;
const FLAG_MODE: u8 = 2;
const FLAG_INLINE: u8 = 4;
const FLAG_WRITTEN: u8 = 8;
const FLAG_LINK: u8 = 16;
const FLAG_DIRECTORY: u8 = 32;
const FLAG_HOLES: u8 = 64;
/// Bit 128 is kept for flags to come: a second byte of them.
const FLAGS: u8 = FLAG_MODIFIED
    | FLAG_MODE
    | FLAG_INLINE
    | FLAG_WRITTEN
    | FLAG_LINK
    | FLAG_DIRECTORY
    | FLAG_HOLES;
const NANOS: u32 = 1_000_000_000;

/// Longest encoded meta before padding. Inline bytes and runs never stand in one meta.
const LONGEST: usize = 4
    + MAX_KEY
    + 12
    + 12
    + 4
    + 12
    + 1
    + MAX_ATTRIBUTES * (3 + MAX_ATTRIBUTE_NAME + MAX_ATTRIBUTE_VALUE)
    + 2
    + INLINE_MAX;
/// Largest sealed meta: T and the padded plaintext.
pub(crate) const MAX_SEALED_META: usize = TAG + LONGEST.next_multiple_of(STEP);

/// The part of a version that only members with read keys know. `Debug` shows no name and no
/// content.
#[derive(Clone, PartialEq, Eq)]
pub struct Meta {
    /// The true name.
    pub key: Key,
    /// True size in bytes; 0 for a tombstone.
    pub size: u64,
    /// Plaintext bytes of each chunk but the last: a power of two from 4 KiB to 4 MiB. 0 is allowed
    /// where there are no chunks.
    pub chunk_size: u32,
    /// Seconds and nanoseconds since the Unix epoch, as the file system said.
    pub modified: Option<(i64, u32)>,
    /// Unix permission bits.
    pub mode: Option<u32>,
    /// Seconds and nanoseconds since the Unix epoch at which this version was written, by its
    /// writer's clock: shown and counted by, never compared to find the head. Absent in records of
    /// older programs.
    pub written: Option<(i64, u32)>,
    /// Further attributes, at most 32, names of 1 to 255 bytes, values of at most 1,024.
    pub attributes: BTreeMap<String, Vec<u8>>,
    /// The content itself, if it stands here: at most [`INLINE_MAX`] bytes. An empty file is
    /// `Some` of nothing. The target of a link.
    pub inline: Option<Vec<u8>>,
    /// What it is: a file, unless a flag says otherwise.
    pub file_type: FileType,
    /// The chunks that are stored of a file with holes, without inline bytes; `None` if all are.
    pub runs: Option<ChunkRuns>,
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meta")
            .field("key", &self.key)
            .field("size", &self.size)
            .field("chunk_size", &self.chunk_size)
            .field("inline", &self.inline.as_ref().map(Vec::len))
            .field("file_type", &self.file_type)
            .finish_non_exhaustive()
    }
}

/// A fault of a meta. On opening, its author is at fault; on signing, the caller.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MetaError {
    /// The plaintext ends inside a field.
    #[error("the meta ends inside a field")]
    Truncated,
    /// A format of a later version.
    #[error("meta format {found} is not known")]
    Format {
        /// The format byte.
        found: u8,
    },
    /// A flag of a later version.
    #[error("meta flags {found:#04x} are not known")]
    Flags {
        /// The flag byte.
        found: u8,
    },
    /// The name is no key.
    #[error("the meta's name is no key: {0}")]
    Key(#[from] KeyError),
    /// A text is not UTF-8.
    #[error("a text in the meta is not UTF-8")]
    Utf8,
    /// Nanoseconds of a second or more.
    #[error("{nanos} nanoseconds are a second or more")]
    Nanos {
        /// The nanoseconds claimed.
        nanos: u32,
    },
    /// Attributes beyond a limit, with an empty name, or not sorted.
    #[error("attribute {at} is out of bounds or out of order")]
    Attribute {
        /// Its position.
        at: usize,
    },
    /// More inline bytes than [`INLINE_MAX`].
    #[error("{len} inline bytes are too many")]
    InlineLength {
        /// Bytes given.
        len: usize,
    },
    /// Padding that is not zero, or not up to the next step of 256 bytes.
    #[error("the meta's padding is wrong")]
    Padding,
    /// A chunk size that is no power of two from 4 KiB to 4 MiB.
    #[error("chunk size {chunk_size} is not allowed")]
    ChunkSize {
        /// The chunk size claimed.
        chunk_size: u32,
    },
    /// Size, chunk size, inline bytes and manifest do not agree.
    #[error("a size of {size} does not agree with {chunks} chunks")]
    Size {
        /// The true size claimed.
        size: u64,
        /// File chunks in the clear manifest.
        chunks: u64,
    },
    /// A chunk's sealed length is not what size and chunk size demand.
    #[error("chunk {at} has sealed length {got}, expected {expected}")]
    ChunkLength {
        /// Its position in the manifest.
        at: usize,
        /// The sealed length that follows from size and chunk size.
        expected: u32,
        /// The sealed length in the manifest.
        got: u32,
    },
    /// A link, a directory, or holes, with a content that they cannot have.
    #[error("a {file_type:?} cannot have this content")]
    FileType {
        /// What it claims to be.
        file_type: FileType,
    },
    /// A list of chunks that is out of order, too long, or not in its one encoding.
    #[error("the list of stored chunks is none")]
    Runs,
    /// A tombstone with a size or content.
    #[error("a tombstone has no content")]
    Tombstone,
}

/// Why the meta of a record cannot be opened. Nothing of it was released.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenMetaError {
    /// A forget has no meta: the caller asked for the wrong thing.
    #[error("this record has no sealed part")]
    NoMeta,
    /// The caller used the keys of another epoch: retry with the right ones.
    #[error("sealed in epoch {sealed}, but the keys are of epoch {keys}")]
    Epoch {
        /// Epoch that the record names.
        sealed: u32,
        /// Epoch of the keys.
        keys: u32,
    },
    /// The tag differs: other keys, or another record's meta. The signer of the record is at fault.
    #[error("the sealed part is not authentic: its tag does not match")]
    NotAuthentic,
    /// The sealed part is authentic and yet against the rules: its author is at fault.
    #[error("the sealed part breaks the format: {0}")]
    Meta(#[from] MetaError),
}

impl From<Truncated> for MetaError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl Meta {
    /// A meta with this name and size, and nothing else.
    pub fn new(key: Key, size: u64) -> Self {
        Self {
            key,
            size,
            chunk_size: 0,
            modified: None,
            mode: None,
            written: None,
            attributes: BTreeMap::new(),
            inline: None,
            file_type: FileType::Regular,
            runs: None,
        }
    }

    /// Checks that the meta and the clear part agree.
    pub(crate) fn check(&self, clear: &Clear) -> Result<(), MetaError> {
        self.check_limits()?;
        if clear.kind == RecordKind::Tombstone {
            let plain = self.file_type == FileType::Regular && self.runs.is_none();
            let empty = self.size == 0 && self.inline.is_none() && plain;
            return if empty { Ok(()) } else { Err(MetaError::Tombstone) };
        }
        if !self.file_type.admits(self.inline.as_deref(), self.runs.is_some()) {
            return Err(MetaError::FileType { file_type: self.file_type });
        }
        let chunks = clear.manifest.file_chunks();
        let wrong = MetaError::Size { size: self.size, chunks };
        if let Some(inline) = &self.inline {
            let agrees = chunks == 0 && self.size == inline.len() as u64;
            return if agrees { Ok(()) } else { Err(wrong) };
        }
        if self.chunk_size == 0 || !self.has_chunks(chunks) {
            return Err(wrong);
        }
        match &clear.manifest {
            Manifest::Direct(refs) => self.check_lengths(refs, 0),
            Manifest::Indirect { .. } => Ok(()),
        }
    }

    /// True if a file of this size has so many stored chunks. The chunk size is not 0.
    fn has_chunks(&self, chunks: u64) -> bool {
        let places = self.size.div_ceil(u64::from(self.chunk_size));
        match &self.runs {
            None => chunks > 0 && chunks == places,
            Some(runs) => runs.chunks() == chunks && runs.leave_holes_in(places),
        }
    }

    /// Checks the sealed lengths of file chunks against size and chunk size. `first` is the
    /// number of the first of them among those that are stored. For references from manifest chunks: those in the record
    /// itself have been checked.
    pub fn check_lengths(&self, refs: &[ChunkRef], first: u64) -> Result<(), MetaError> {
        let mut places: Box<dyn Iterator<Item = u64> + '_> = match &self.runs {
            None => Box::new(first..),
            Some(runs) => Box::new(runs.places(first)),
        };
        for (at, chunk) in refs.iter().enumerate() {
            let expected = places.next().map_or(0, |place| self.sealed_len(place));
            if chunk.sealed_len != expected {
                return Err(MetaError::ChunkLength { at, expected, got: chunk.sealed_len });
            }
        }
        Ok(())
    }

    /// Sealed length of the chunk at the place `index` of the file; 0 past the end.
    fn sealed_len(&self, index: u64) -> u32 {
        let left = index
            .checked_mul(u64::from(self.chunk_size))
            .and_then(|start| self.size.checked_sub(start))
            .unwrap_or(0)
            .min(u64::from(self.chunk_size));
        match u32::try_from(left) {
            Ok(0) | Err(_) => 0,
            Ok(left) => len_u32(CHUNK_OVERHEAD) + last_chunk_padding(left, self.chunk_size),
        }
    }

    fn check_limits(&self) -> Result<(), MetaError> {
        let size = self.chunk_size;
        if size != 0 && !(CHUNK_SIZES.contains(&size) && size.is_power_of_two()) {
            return Err(MetaError::ChunkSize { chunk_size: size });
        }
        for (_, nanos) in [self.modified, self.written].into_iter().flatten() {
            if nanos >= NANOS {
                return Err(MetaError::Nanos { nanos });
            }
        }
        if let Some(len) = self.inline.as_ref().map(Vec::len).filter(|len| *len > INLINE_MAX) {
            return Err(MetaError::InlineLength { len });
        }
        if self.attributes.len() > MAX_ATTRIBUTES {
            return Err(MetaError::Attribute { at: MAX_ATTRIBUTES });
        }
        let bad = self.attributes.iter().position(|(name, value)| {
            !(1..=MAX_ATTRIBUTE_NAME).contains(&name.len()) || value.len() > MAX_ATTRIBUTE_VALUE
        });
        bad.map_or(Ok(()), |at| Err(MetaError::Attribute { at }))
    }

    /// The padded plaintext.
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(self.encoded_bound()));
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.push(FORMAT);
        out.push(
            flag(self.modified.is_some(), FLAG_MODIFIED)
                | flag(self.mode.is_some(), FLAG_MODE)
                | flag(self.inline.is_some(), FLAG_INLINE)
                | flag(self.written.is_some(), FLAG_WRITTEN)
                | flag(self.file_type == FileType::Link, FLAG_LINK)
                | flag(self.file_type == FileType::Directory, FLAG_DIRECTORY)
                | flag(self.runs.is_some(), FLAG_HOLES),
        );
        put_bytes(&mut out, self.key.as_str().as_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.chunk_size.to_le_bytes());
        put_time(&mut out, self.modified);
        if let Some(mode) = self.mode {
            out.extend_from_slice(&mode.to_le_bytes());
        }
        put_time(&mut out, self.written);
        out.push(count_u8(self.attributes.len()));
        for (name, value) in &self.attributes {
            out.push(count_u8(name.len()));
            out.extend_from_slice(name.as_bytes());
            put_bytes(&mut out, value);
        }
        if let Some(inline) = &self.inline {
            put_bytes(&mut out, inline);
        }
        if let Some(runs) = &self.runs {
            put_bytes(&mut out, &runs.encode());
        }
        let padded = out.len().next_multiple_of(STEP);
        out.resize(padded, 0);
        out
    }

    /// Room for the padded plaintext, so that it is never moved and left behind in freed memory.
    fn encoded_bound(&self) -> usize {
        let attributes: usize =
            self.attributes.iter().map(|(name, value)| 3 + name.len() + value.len()).sum();
        let inline = self.inline.as_ref().map_or(0, Vec::len);
        // At most twice ten bytes each.
        let runs = self.runs.as_ref().map_or(0, |runs| 20 * runs.runs().len());
        (64 + self.key.as_str().len() + attributes + inline + runs).next_multiple_of(STEP)
    }

    /// Reads the padded plaintext. The limits are left to [`Meta::check`].
    pub(crate) fn decode(plain: &[u8]) -> Result<Self, MetaError> {
        let mut reader = Reader::new(plain);
        match reader.u8()? {
            FORMAT => {}
            found => return Err(MetaError::Format { found }),
        }
        let flags = reader.u8()?;
        let file_type = match (flags & FLAG_LINK != 0, flags & FLAG_DIRECTORY != 0) {
            (false, false) => FileType::Regular,
            (true, false) => FileType::Link,
            (false, true) => FileType::Directory,
            (true, true) => return Err(MetaError::Flags { found: flags }),
        };
        if flags & !FLAGS != 0 {
            return Err(MetaError::Flags { found: flags });
        }
        let mut meta = Self::new(Key::new(text(read_bytes(&mut reader)?)?)?, 0);
        meta.file_type = file_type;
        meta.size = reader.u64()?;
        meta.chunk_size = reader.u32()?;
        if flags & FLAG_MODIFIED != 0 {
            meta.modified = Some(read_time(&mut reader)?);
        }
        if flags & FLAG_MODE != 0 {
            meta.mode = Some(reader.u32()?);
        }
        if flags & FLAG_WRITTEN != 0 {
            meta.written = Some(read_time(&mut reader)?);
        }
        meta.attributes = read_attributes(&mut reader)?;
        if flags & FLAG_INLINE != 0 {
            meta.inline = Some(read_bytes(&mut reader)?.to_vec());
        }
        if flags & FLAG_HOLES != 0 {
            let runs = ChunkRuns::decode(read_bytes(&mut reader)?).ok_or(MetaError::Runs)?;
            meta.runs = Some(runs);
        }
        let padding = reader.rest();
        let minimal = padding.len() < STEP && plain.len().is_multiple_of(STEP);
        if !minimal || padding.iter().any(|byte| *byte != 0) {
            return Err(MetaError::Padding);
        }
        Ok(meta)
    }
}

fn put_time(out: &mut Vec<u8>, time: Option<(i64, u32)>) {
    if let Some((seconds, nanos)) = time {
        out.extend_from_slice(&seconds.to_le_bytes());
        out.extend_from_slice(&nanos.to_le_bytes());
    }
}

fn read_time(reader: &mut Reader<'_>) -> Result<(i64, u32), Truncated> {
    Ok((i64::from_le_bytes(reader.array()?), reader.u32()?))
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&len_u16(bytes.len()).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn read_bytes<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Truncated> {
    let len = reader.u16()?;
    reader.take(usize::from(len))
}

fn text(bytes: &[u8]) -> Result<&str, MetaError> {
    std::str::from_utf8(bytes).map_err(|_| MetaError::Utf8)
}

fn read_attributes(reader: &mut Reader<'_>) -> Result<BTreeMap<String, Vec<u8>>, MetaError> {
    let count = usize::from(reader.u8()?);
    let mut attributes = BTreeMap::new();
    for at in 0..count {
        let len = usize::from(reader.u8()?);
        let name = text(reader.take(len)?)?;
        let value = read_bytes(reader)?;
        if attributes.last_key_value().is_some_and(|(last, _)| name <= String::as_str(last)) {
            return Err(MetaError::Attribute { at });
        }
        attributes.insert(name.to_owned(), value.to_vec());
    }
    Ok(attributes)
}

/// Seals and opens the meta of records of one epoch.
pub struct MetaKeys {
    epoch: u32,
    siv: Siv,
}

impl MetaKeys {
    pub(crate) fn new(epoch: u32, siv: Siv) -> Self {
        Self { epoch, siv }
    }

    /// The epoch of the read root that these keys derive from.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Puts an encoded meta, sealed for the clear part that a record begins with, behind the rest.
    pub(crate) fn seal(&self, record: &mut Vec<u8>, clear_len: usize, plain: &[u8]) {
        let tag = self.siv.tag_of(&record[..clear_len], plain);
        self.siv.seal_behind(record, &tag, plain);
    }

    /// Authenticates the sealed bytes for this clear part, then decodes.
    pub(crate) fn open(&self, clear: &[u8], sealed: &[u8]) -> Result<Meta, OpenMetaError> {
        let plain = self.siv.open(clear, sealed).ok_or(OpenMetaError::NotAuthentic)?;
        Ok(Meta::decode(&plain)?)
    }
}

impl fmt::Debug for MetaKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MetaKeys(epoch {}, redacted)", self.epoch)
    }
}

const _: () = assert!(*CHUNK_SIZES.end() as usize == MAX_CHUNK_PLAIN);
const _: () = assert!(RUNS_MAX <= INLINE_MAX, "a record would grow");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::secret::RootSecret;

    fn keys() -> MetaKeys {
        RootSecret::from_bytes([1; 32]).read_root().meta_keys()
    }

    fn full() -> Meta {
        Meta {
            modified: Some((-1, 5)),
            mode: Some(0o600),
            attributes: [("a".to_owned(), vec![1]), ("b".to_owned(), vec![])].into(),
            inline: Some(b"hello".to_vec()),
            ..Meta::new(Key::new("k").unwrap(), 5)
        }
    }

    /// The result of opening a plaintext that an author with the right keys sealed.
    fn open(plain: &[u8]) -> Result<Meta, OpenMetaError> {
        keys().open(b"clear", &keys().siv.seal(b"clear", plain))
    }

    #[test]
    fn a_meta_is_padded_and_read_back() {
        let plain = full().encode();
        assert_eq!(plain.len(), STEP);
        assert_eq!(open(&plain), Ok(full()));
    }

    /// Decision 0016: what older programs wrote keeps its one encoding, and the time of writing
    /// stands where format.md says.
    #[test]
    fn the_time_of_writing_adds_a_flag_and_twelve_bytes_and_no_more() {
        let (without, with) = (full(), Meta { written: Some((7, 9)), ..full() });
        let (old, new) = (without.encode(), with.encode());
        assert_eq!((old[1], new[1]), (7, 15));
        let at = 4 + 1 + 12 + 12 + 4;
        assert_eq!(new[at..at + 12], [7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0]);
        assert_eq!(new[at + 12..], old[at..old.len() - 12]);
        assert_eq!((open(&old), open(&new)), (Ok(without), Ok(with)));
    }

    /// Decision 0050: programs before the types refuse every flag but the first four, and so set these
    /// records aside instead of writing a link's target, or half of a file, as a file.
    #[test]
    fn what_an_older_program_would_misread_has_a_flag_that_it_refuses() {
        const KNOWN_BEFORE: u8 = FLAG_MODIFIED | FLAG_MODE | FLAG_INLINE | FLAG_WRITTEN;
        let link = Meta { file_type: FileType::Link, ..full() };
        let directory = Meta { file_type: FileType::Directory, ..full() };
        let holes = Meta { runs: Some(ChunkRuns::default()), ..full() };
        for (meta, flags) in [(link, 16 | 7), (directory, 32 | 7), (holes, 64 | 7)] {
            let plain = meta.encode();
            assert_eq!(plain[1], flags);
            assert_ne!(plain[1] & !KNOWN_BEFORE, 0);
            assert_eq!(open(&plain), Ok(meta));
        }
        assert_eq!(full().encode()[1] & !KNOWN_BEFORE, 0, "a plain file is read by all");
        let mut both = full().encode().to_vec();
        both[1] |= FLAG_LINK | FLAG_DIRECTORY;
        let refused = OpenMetaError::Meta(MetaError::Flags { found: both[1] });
        assert_eq!(open(&both), Err(refused));
    }

    #[test]
    fn the_list_of_runs_stands_behind_the_content_in_its_one_encoding() {
        let runs = ChunkRuns::new(vec![0..1, 300..302]);
        let plain = Meta { inline: None, runs, ..full() }.encode();
        let at = 4 + 1 + 12 + 12 + 4 + 1 + 5 + 4;
        assert_eq!(plain[at..at + 8], [5, 0, 0, 1, 0xab, 2, 2, 0]);
        for (offset, byte) in [(0, 4), (2, 1), (3, 0), (4, 0)] {
            let mut other = plain.to_vec();
            other[at + offset] = byte;
            let wrong = open(&other);
            let runs = matches!(wrong, Err(OpenMetaError::Meta(MetaError::Runs)));
            assert!(runs || offset == 2, "{offset}: {wrong:?}");
        }
    }

    #[test]
    fn every_rule_binds_what_an_author_sealed() {
        // Offsets of docs/format.md for the meta above.
        let edits: [(usize, &[u8], MetaError); 9] = [
            (0, &[2], MetaError::Format { found: 2 }),
            (1, &[0x80], MetaError::Flags { found: 0x80 }),
            (2, &[0xff, 0xff], MetaError::Truncated),
            (2, &[0, 0], MetaError::Key(KeyError::Empty)),
            (4, b"/", MetaError::Key(KeyError::EmptySegment { at: 0 })),
            (4, &[0xff], MetaError::Utf8),
            (35, b"b", MetaError::Attribute { at: 1 }),
            (40, b"a", MetaError::Attribute { at: 1 }),
            (255, &[1], MetaError::Padding),
        ];
        for (at, new, error) in edits {
            let mut plain = full().encode().to_vec();
            let before = plain.clone();
            plain[at..at + new.len()].copy_from_slice(new);
            assert_ne!(plain, before, "offset {at} changes nothing");
            assert_eq!(open(&plain), Err(OpenMetaError::Meta(error)), "offset {at}");
        }
    }

    #[test]
    fn padding_is_no_longer_and_no_shorter_than_it_must_be() {
        let padding = Err(OpenMetaError::Meta(MetaError::Padding));
        let plain = full().encode();
        assert_eq!(open(&[&plain[..], &[0; STEP]].concat()), padding);
        assert_eq!(open(&plain[..STEP - 1]), padding);
    }

    #[test]
    fn a_tag_of_one_meta_fits_no_other_clear_part() {
        let mut record = b"clear".to_vec();
        keys().seal(&mut record, 5, &full().encode());
        assert_eq!(keys().open(b"clear", &record[5..]), Ok(full()));
        assert_eq!(keys().open(b"other", &record[5..]), Err(OpenMetaError::NotAuthentic));
    }
}
