//! The FORMAT file: what this directory is, and who may read it.

use std::path::Path;

use crate::{Nest, OpenError};

pub(crate) const FORMAT_LEN: usize = 128;
pub(crate) const FORMAT_MAGIC: &[u8; 16] = b"stash-store fmt\n";
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Features that a reader or writer may ignore.
const COMPATIBLE: u64 = 0;
/// Features that a reader may ignore, a writer not. This program cannot open a store without
/// writing to it, so it refuses unknown ones.
const READ_ONLY_COMPATIBLE: u64 = 0;
/// Features that nobody may ignore.
const INCOMPATIBLE: u64 = 0;

const LOG_KEY_CONTEXT: &str = "stash-store 2026-11 log header key";
const STORE_ID_CONTEXT: &str = "stash-store 2026-11 store id";

/// The decoded FORMAT file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) layout: Nest,
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
        Format { layout, store_id, log_key }
    }

    pub(crate) fn encode(&self) -> [u8; FORMAT_LEN] {
        let mut out = [0; FORMAT_LEN];
        out[..16].copy_from_slice(FORMAT_MAGIC);
        out[16..20].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[20] = self.layout.digits();
        out[21] = self.layout.levels();
        out[24..32].copy_from_slice(&COMPATIBLE.to_le_bytes());
        out[32..40].copy_from_slice(&READ_ONLY_COMPATIBLE.to_le_bytes());
        out[40..48].copy_from_slice(&INCOMPATIBLE.to_le_bytes());
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
            what: format!("{} is damaged: {what}", dir.join("FORMAT").display()),
        };
        let newer = |what: String| OpenError::NewerFormat { dir: dir.to_owned(), what };
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
        let version = u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
        if version > FORMAT_VERSION {
            return Err(newer(format!(
                "it has format version {version}, newest known {FORMAT_VERSION}"
            )));
        }
        let unknown = word(40) & !INCOMPATIBLE;
        if unknown != 0 {
            return Err(newer(format!("it uses unknown incompatible features {unknown:#x}")));
        }
        let unknown = word(32) & !READ_ONLY_COMPATIBLE;
        if unknown != 0 {
            return Err(newer(format!(
                "it uses unknown features {unknown:#x} that forbid writing"
            )));
        }
        if version == 0 || bytes[22..24] != [0, 0] {
            return Err(damaged("a reserved field is not zero"));
        }
        let layout = Nest::new(bytes[20], bytes[21]).map_err(|e| damaged(&e.to_string()))?;
        let mut store_id = [0; 16];
        store_id.copy_from_slice(&bytes[48..64]);
        let mut log_key = [0; 32];
        log_key.copy_from_slice(&bytes[64..96]);
        Ok(Format { layout, store_id, log_key })
    }
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
        let error = Format::decode(&bytes, Path::new("d")).unwrap_err();
        assert!(error.to_string().contains("features 0x10 that forbid writing"), "{error}");
    }
}
