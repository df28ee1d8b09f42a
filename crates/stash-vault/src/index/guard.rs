//! A redb database that may be damaged: what it says is checked, and a panic inside it is an
//! error.

use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{Builder, Database, Durability, ReadTransaction, ReadableDatabase, WriteTransaction};
use thiserror::Error;

/// Why a database cannot be used. The caller rebuilds it from what it was made of.
#[derive(Debug, Error)]
pub(crate) enum IndexFault {
    /// It contradicts itself, or redb gave up on it.
    #[error("the index is damaged: {0}")]
    Damaged(String),
    /// The disk failed, or the process may not use the file.
    #[error("the index cannot be used: {0}")]
    Io(std::io::Error),
}

impl IndexFault {
    pub(crate) fn damaged(what: &str) -> IndexFault {
        IndexFault::Damaged(what.to_owned())
    }
}

impl<E: Into<redb::Error>> From<E> for IndexFault {
    fn from(error: E) -> IndexFault {
        match error.into() {
            redb::Error::Io(error) => IndexFault::Io(error),
            error => IndexFault::Damaged(error.to_string()),
        }
    }
}

/// Runs `f`, which calls redb; a panic in it becomes [`IndexFault::Damaged`].
fn guarded<T>(f: impl FnOnce() -> Result<T, IndexFault>) -> Result<T, IndexFault> {
    catch_unwind(AssertUnwindSafe(f))
        .unwrap_or_else(|_| Err(IndexFault::damaged("the database panicked")))
}

/// A database whose every use is guarded. After a fault nobody should use it again, and even its
/// destructor, which may panic as well, is not run.
pub(crate) struct Guarded {
    db: Option<Database>,
    faulty: AtomicBool,
}

impl Guarded {
    /// Opens or creates the file, readable by its owner alone, and checks it through if it is at
    /// most `check_below` bytes.
    pub(crate) fn open(path: &Path, cache: usize, check_below: u64) -> Result<Self, IndexFault> {
        let file = open_private(path).map_err(IndexFault::Io)?;
        let len = file.metadata().map_err(IndexFault::Io)?.len();
        guarded(move || {
            let backend = FileBackend::new(file)?;
            let mut builder = Builder::new();
            let mut db = builder.set_cache_size(cache).create_with_backend(backend)?;
            if len > 0 && len <= check_below && !db.check_integrity()? {
                return Err(IndexFault::damaged("its own checksums do not match"));
            }
            Ok(Guarded { db: Some(db), faulty: AtomicBool::new(false) })
        })
    }

    fn db(&self) -> Result<&Database, IndexFault> {
        self.db.as_ref().ok_or_else(|| IndexFault::damaged("it is closed"))
    }

    fn watched<T>(&self, result: Result<T, IndexFault>) -> Result<T, IndexFault> {
        result.inspect_err(|_| self.faulty.store(true, Ordering::Relaxed))
    }

    /// Reads. Tables are used by [`with_table`].
    pub(crate) fn read<T>(
        &self,
        f: impl FnOnce(&ReadTransaction) -> Result<T, IndexFault>,
    ) -> Result<T, IndexFault> {
        let db = self.db()?;
        self.watched((|| {
            let transaction = ManuallyDrop::new(guarded(|| Ok(db.begin_read()?))?);
            let result = guarded(|| f(&transaction))?;
            guarded(move || {
                drop(ManuallyDrop::into_inner(transaction));
                Ok(result)
            })
        })())
    }

    /// Writes in one transaction. After a fault nothing is written.
    pub(crate) fn write<T>(
        &self,
        durability: Durability,
        f: impl FnOnce(&WriteTransaction) -> Result<T, IndexFault>,
    ) -> Result<T, IndexFault> {
        let db = self.db()?;
        self.watched((|| {
            let mut transaction = ManuallyDrop::new(guarded(|| Ok(db.begin_write()?))?);
            let result = guarded(|| {
                transaction.set_durability(durability)?;
                transaction.set_quick_repair(true);
                f(&transaction)
            })?;
            guarded(move || {
                ManuallyDrop::into_inner(transaction).commit()?;
                Ok(result)
            })
        })())
    }

    /// Closes the file.
    pub(crate) fn close(mut self) -> Result<(), IndexFault> {
        self.shut()
    }

    fn shut(&mut self) -> Result<(), IndexFault> {
        match self.db.take() {
            Some(db) if *self.faulty.get_mut() => {
                std::mem::forget(db);
                Ok(())
            }
            db => guarded(move || {
                drop(db);
                Ok(())
            }),
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Err(fault) = self.shut() {
            tracing::warn!(%fault, "an index was not closed cleanly");
        }
    }
}

/// Uses a table and drops it only if nothing panicked: a second panic in a destructor during
/// unwinding would end the process.
pub(crate) fn with_table<T, R>(
    table: T,
    f: impl FnOnce(&mut T) -> Result<R, IndexFault>,
) -> Result<R, IndexFault> {
    let mut table = ManuallyDrop::new(table);
    let result = f(&mut table);
    drop(ManuallyDrop::into_inner(table));
    result
}

fn open_private(path: &Path) -> std::io::Result<std::fs::File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(std::fs::File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?))
}
