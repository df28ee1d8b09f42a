//! Reading records back.

use super::{Open, READS};
use crate::entry::{HEADER, Header, record_bytes};
use crate::index::Located;
use crate::log::Unread;
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
        let (hash, place) = (found.hash, found.place);
        let damaged = |what: &str| ReadError::RecordDamaged { hash, what: what.to_owned() };
        let entry = self.ground.segments.read(place).map_err(|unread| match unread {
            Unread::Damaged(what) => damaged(what),
            Unread::Failed(error) => ReadError::Io(error),
        })?;
        Header::of_entry(&entry, &self.ground.format.log_key, place).map_err(damaged)?;
        let body = &entry[HEADER..];
        let skip = body.len() - usize::try_from(place.body().1).unwrap_or(0).min(body.len());
        let bytes =
            record_bytes(&body[skip..], &hash).ok_or_else(|| damaged("its entry is another's"))?;
        Ok(StoredRecord { sequence: found.sequence, hash, bytes: bytes.into() })
    }
}
