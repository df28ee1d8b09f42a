//! The FORMAT file: what this directory is, and who may read it.

use std::path::Path;

use crate::{Nest, OpenError};

pub(crate) const FORMAT_LEN: usize = 128;
pub(crate) const FORMAT_MAGIC: &[u8; 16] = b"stash-store fmt\n";
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Incompatible: the log may have entries of kinds 13 to 18. Every store has it once this program
/// has opened it for writing.
pub(crate) const LIFECYCLE: u64 = 1;

/// Incompatible: records may be of formats that are signed over their hash. The store reads no
/// record; a program that knows only older ones would take them for damaged.
pub(crate) const SIGNED_HASH: u64 = 2;

/// Features that a reader may ignore, a writer not, as far as this program knows them.
const READ_ONLY_COMPATIBLE: u64 = 0;
/// Features that nobody may ignore, as far as this program knows them.
const INCOMPATIBLE: u64 = LIFECYCLE | SIGNED_HASH;

const LOG_KEY_CONTEXT: &str = "stash-store 2026-11 log header key";
const STORE_ID_CONTEXT: &str = "stash-store 2026-11 store id";

/// Features that a store makes use of: a bit for each, in three fields by who may ignore it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// A reader or writer may ignore these, and must keep them.
    pub(crate) compatible: u64,
    pub(crate) read_only: u64,
    pub(crate) incompatible: u64,
}

impl Features {
    /// Features that a store has at least, once this program writes to it.
    pub(crate) const NEEDED: Features =
        Features { compatible: 0, read_only: 0, incompatible: LIFECYCLE | SIGNED_HASH };

    /// The features of both.
    #[must_use]
    pub(crate) fn and(self, other: Features) -> Features {
        Features {
            compatible: self.compatible | other.compatible,
            read_only: self.read_only | other.read_only,
            incompatible: self.incompatible | other.incompatible,
        }
    }
}

/// The decoded FORMAT file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) layout: Nest,
    pub(crate) features: Features,
    pub(crate) store_id: [u8; 16],
    /// Keys the tags of log entry headers, so that stored bytes cannot pass for entries.
    pub(crate) log_key: [u8; 32],
}

impl Format {
    pub(crate) fn from_seed(seed: &[u8; 32], layout: Nest) -> Format {
        let id = blake3::derive_key(STORE_ID_CONTEXT, seed);
        let mut store_id = [0; 16];
        store_id.copy_from_slice(&id[..16]);
        let log_key = blake3::derive_key(LOG_KEY_CONTEXT, seed);
        Format { layout, features: Features::NEEDED, store_id, log_key }
    }

    pub(crate) fn encode(&self) -> [u8; FORMAT_LEN] {
        let mut out = [0; FORMAT_LEN];
        out[..16].copy_from_slice(FORMAT_MAGIC);
        out[16..20].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[20] = self.layout.digits();
        out[21] = self.layout.levels();
        out[24..32].copy_from_slice(&self.features.compatible.to_le_bytes());
        out[32..40].copy_from_slice(&self.features.read_only.to_le_bytes());
        out[40..48].copy_from_slice(&self.features.incompatible.to_le_bytes());
        out[48..64].copy_from_slice(&self.store_id);
        out[64..96].copy_from_slice(&self.log_key);
        let checksum = blake3::hash(&out[..96]);
        out[96..].copy_from_slice(checksum.as_bytes());
        out
    }

    /// The checksum is looked at before version and features: a damaged file does not pass for a
    /// newer one. Every version keeps magic, version, features and checksum where they are.
    pub(crate) fn decode(bytes: &[u8], dir: &Path) -> Result<Format, OpenError> {
        let damaged = |what: &str| OpenError::Damaged {
            what: format!(
                "{} is damaged: {what}; a rebuild restores it from the log",
                dir.join("FORMAT").display()
            ),
        };
        if bytes.len() != FORMAT_LEN {
            return Err(damaged(&format!("it has {} bytes, not {FORMAT_LEN}", bytes.len())));
        }
        if &bytes[..16] != FORMAT_MAGIC {
            return Err(damaged("it does not begin as a FORMAT file does"));
        }
        if blake3::hash(&bytes[..96]).as_bytes() != &bytes[96..] {
            return Err(damaged("its checksum does not match"));
        }
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let features =
            Features { compatible: word(24), read_only: word(32), incompatible: word(40) };
        let version = u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
        refuse_newer(version, &features, dir)?;
        if version == 0 || bytes[22..24] != [0, 0] {
            return Err(damaged("a reserved field is not zero"));
        }
        let layout = Nest::new(bytes[20], bytes[21]).map_err(|e| damaged(&e.to_string()))?;
        let mut store_id = [0; 16];
        store_id.copy_from_slice(&bytes[48..64]);
        let mut log_key = [0; 32];
        log_key.copy_from_slice(&bytes[64..96]);
        Ok(Format { layout, features, store_id, log_key })
    }

    /// Refuses a store that must not be written to by a program that does not know all of it.
    pub(crate) fn may_write(&self, dir: &Path) -> Result<(), OpenError> {
        let unknown = self.features.read_only & !READ_ONLY_COMPATIBLE;
        if unknown == 0 {
            return Ok(());
        }
        let what = format!(
            "it uses unknown features {unknown:#x} that forbid writing, but not opening it to read"
        );
        Err(OpenError::NewerFormat { dir: dir.to_owned(), what })
    }

    /// True if both are of one store, whatever features they have.
    pub(crate) fn is_of_same_store(&self, other: &Format) -> bool {
        let identity = |format: &Format| (format.layout, format.store_id, format.log_key);
        identity(self) == identity(other)
    }
}

fn refuse_newer(version: u32, features: &Features, dir: &Path) -> Result<(), OpenError> {
    let newer = |what: String| Err(OpenError::NewerFormat { dir: dir.to_owned(), what });
    if version > FORMAT_VERSION {
        return newer(format!("it has format version {version}, newest known {FORMAT_VERSION}"));
    }
    let unknown = features.incompatible & !INCOMPATIBLE;
    if unknown != 0 {
        return newer(format!("it uses unknown incompatible features {unknown:#x}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reseal(bytes: &mut [u8; FORMAT_LEN]) {
        let checksum = blake3::hash(&bytes[..96]);
        bytes[96..].copy_from_slice(checksum.as_bytes());
    }

    #[test]
    fn the_format_file_survives_a_round_trip() {
        let format = Format::from_seed(&[7; 32], Nest::SEED);
        assert_eq!(Format::decode(&format.encode(), Path::new("d")).unwrap(), format);
    }

    #[test]
    fn every_flipped_bit_is_named_as_damage() {
        // Fault case 78.
        let good = Format::from_seed(&[7; 32], Nest::default()).encode();
        for bit in 0..FORMAT_LEN * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = Format::decode(&bytes, Path::new("d")).unwrap_err();
            assert!(matches!(error, OpenError::Damaged { .. }), "bit {bit}: {error}");
        }
    }

    #[test]
    fn newer_versions_and_unknown_incompatible_features_are_refused() {
        // Fault case 91.
        let mut bytes = Format::from_seed(&[7; 32], Nest::default()).encode();
        bytes[16] = 2;
        reseal(&mut bytes);
        let error = Format::decode(&bytes, Path::new("d")).unwrap_err();
        assert!(error.to_string().contains("format version 2"), "{error}");
        bytes[16] = 1;
        bytes[40] = 0x10;
        reseal(&mut bytes);
        let error = Format::decode(&bytes, Path::new("d")).unwrap_err();
        assert!(error.to_string().contains("unknown incompatible features 0x10"), "{error}");
        bytes[40] = 0;
        bytes[24] = 0x10;
        reseal(&mut bytes);
        assert!(Format::decode(&bytes, Path::new("d")).is_ok(), "compatible features are ignored");
        bytes[32] = 0x10;
        reseal(&mut bytes);
        let format = Format::decode(&bytes, Path::new("d")).unwrap();
        assert_eq!(format.encode(), bytes, "what is not known is kept");
        let error = format.may_write(Path::new("d")).unwrap_err();
        assert!(error.to_string().contains("features 0x10 that forbid writing"), "{error}");
    }
}
