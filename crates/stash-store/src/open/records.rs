//! Reading records back.

use std::io;

use super::{Open, READS};
use crate::entry::{HEADER, HEADER_U32, Header, record_bytes};
use crate::index::Located;
use crate::{ReadError, StoredRecord};

impl Open {
    /// See [`crate::Store::record`].
    pub(crate) fn record(&self, hash: &[u8; 32]) -> Result<Option<StoredRecord>, ReadError> {
        let found = self.ask(|index| index.record(hash))?;
        Ok(found.map(|found| self.load(found)).transpose()?.flatten())
    }

    /// A record of a list. One that was dropped and stored again meanwhile has moved to its end.
    pub(crate) fn load_listed(&self, found: Located) -> Result<Option<StoredRecord>, ReadError> {
        Ok(self.load(found)?.filter(|record| record.sequence == found.sequence))
    }

    /// Reads a record from the log. An entry that is written again elsewhere while it is read is
    /// looked up again; `None` if the record was dropped meanwhile.
    fn load(&self, mut found: Located) -> Result<Option<StoredRecord>, ReadError> {
        let hash = found.hash;
        for _ in 0..READS {
            match self.load_once(&found) {
                Ok(record) => return Ok(Some(record)),
                Err(ReadError::RecordDamaged { what, .. }) => {
                    match self.ask(|index| index.record(&hash))? {
                        None => return Ok(None),
                        Some(again) if again == found => {
                            self.health.note_broken(hash);
                            return Err(ReadError::RecordDamaged { hash, what });
                        }
                        Some(again) => found = again,
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(ReadError::RecordDamaged { hash, what: "it changes all the time".to_owned() })
    }

    fn load_once(&self, found: &Located) -> Result<StoredRecord, ReadError> {
        let hash = found.hash;
        let damaged = |what: &str| ReadError::RecordDamaged { hash, what: what.to_owned() };
        let place = found.place;
        let mut entry = Vec::new();
        let len = place.len.saturating_add(HEADER_U32);
        match self.read_log(place.segment, u64::from(place.offset), len, &mut entry) {
            Err(e) if e.source.kind() == io::ErrorKind::NotFound => {
                return Err(damaged("its segment of the log is missing"));
            }
            Err(e) if e.source.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damaged("its segment of the log is too short"));
            }
            Err(error) if error.is_unreadable() => {
                return Err(damaged("the disk cannot read it"));
            }
            result => result?,
        }
        let offset = u64::from(place.offset);
        let header = Header::decode(&entry, &self.ground.format.log_key, place.segment, offset)
            .ok_or_else(|| damaged("the header of its log entry does not match its tag"))?;
        let body = &entry[HEADER..];
        if header.len != place.len || crc32fast::hash(body) != header.crc {
            return Err(damaged("the checksum of its log entry does not match"));
        }
        let skip = body.len() - usize::try_from(place.body().1).unwrap_or(0).min(body.len());
        let bytes =
            record_bytes(&body[skip..], &hash).ok_or_else(|| damaged("its entry is another's"))?;
        Ok(StoredRecord { sequence: found.sequence, hash, bytes: bytes.into() })
    }
}
