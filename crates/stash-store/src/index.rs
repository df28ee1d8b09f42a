//! The index: a checkpoint of the log in a redb file. Everything redb is behind this module.

mod pages;
mod read;
mod tables;
#[allow(dead_code, unused_imports, reason = "the tables move onto it in the change that follows")]
mod tree;
mod write;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{Builder, Database, Durability};

use crate::{DiskFile, ReadError};
use pages::Pages;
pub(crate) use read::Located;
pub(crate) use tables::{ChunkRow, State};
pub(crate) use write::Tables;

const KEY_CONTEXT: &str = "stash-store 2026-11 index block key";

/// The database is damaged, or failed: nothing it says can be used any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexError(pub(crate) String);

impl From<IndexError> for ReadError {
    fn from(error: IndexError) -> ReadError {
        ReadError::Index { what: error.0 }
    }
}

impl<E: Into<redb::Error>> From<E> for IndexError {
    fn from(error: E) -> IndexError {
        let error: redb::Error = error.into();
        IndexError(error.to_string())
    }
}

/// redb panics on some damage. An unwind out of it means that, and no more.
fn guard<T>(f: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result,
        Err(panic) => {
            let what = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(IndexError(format!("the database panicked: {}", what.unwrap_or("no message"))))
        }
    }
}

/// An open index.
pub(crate) struct Index {
    /// `None` only while it is dropped.
    database: Option<Database>,
    pages: Pages,
    store_id: [u8; 16],
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Index")
    }
}

impl Index {
    /// Opens the index in `file`, or makes one if the file is empty.
    pub(crate) fn open(
        file: Arc<dyn DiskFile>,
        log_key: &[u8; 32],
        store_id: [u8; 16],
        cache_bytes: usize,
    ) -> Result<Index, IndexError> {
        let key = blake3::derive_key(KEY_CONTEXT, log_key);
        let pages = Pages::open(file, key).map_err(|e| IndexError(e.to_string()))?;
        let backend = pages.clone();
        let database = guard(|| {
            let mut builder = Builder::new();
            builder.set_cache_size(cache_bytes);
            Ok(builder.create_with_backend(backend)?)
        });
        let database = database.inspect_err(|_| pages.kill())?;
        Ok(Index { database: Some(database), pages, store_id })
    }

    fn database(&self) -> &Database {
        self.database.as_ref().expect("the database is taken only by drop")
    }

    /// Runs `f` in one transaction, which becomes visible if `f` succeeds, and durable with
    /// `durable`. `f` decides what happens before that, such as the sync of the log.
    pub(crate) fn write<T, E: From<IndexError>>(
        &self,
        durable: bool,
        f: impl FnOnce(&mut Tables<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut refused = None;
        let result = guard(|| {
            let mut transaction = self.database().begin_write()?;
            if durable {
                transaction.set_quick_repair(true);
            } else {
                transaction
                    .set_durability(Durability::None)
                    .map_err(|e| IndexError(e.to_string()))?;
            }
            let result = f(&mut Tables::open(&transaction, &self.store_id)?);
            match result {
                Ok(value) => {
                    transaction.commit()?;
                    Ok(Some(value))
                }
                Err(error) => {
                    refused = Some(error);
                    transaction.abort()?;
                    Ok(None)
                }
            }
        });
        match (refused, result) {
            (Some(error), _) => Err(error),
            (None, Ok(Some(value))) => Ok(value),
            (None, Ok(None)) => Err(IndexError("a transaction had no result".into()).into()),
            (None, Err(error)) => Err(error.into()),
        }
    }

    /// Makes everything in the index durable.
    pub(crate) fn checkpoint(&self) -> Result<(), IndexError> {
        self.pages.drain().map_err(|e| IndexError(e.to_string()))?;
        self.write(true, |_| Ok(()))
    }

    /// True if a checkpoint would find room on the disk for what it has not found room for yet.
    pub(crate) fn has_room(&self) -> bool {
        self.pages.drain().is_ok()
    }

    /// Gives it up: from now on every answer is an error, and the file stays as it is.
    pub(crate) fn kill(&self) {
        self.pages.kill();
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let database = self.database.take();
        // A damaged database may panic while it is closed; there is nobody to tell.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(database)));
    }
}
