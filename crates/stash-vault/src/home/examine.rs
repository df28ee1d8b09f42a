//! Looking into a store while no node runs.

use std::path::Path;
use std::time::Duration;

use stash_server::store::check::CheckReport;
use stash_server::store::{CollectOptions, Options, RebuildReport, Store};

use super::directory::{Home, enter, enter_to_look, store_path};
use super::error::HomeError;
use super::opens::Opens;
use crate::blocking::blocking;

/// The result of checking a directory.
#[derive(Clone, Debug, Default)]
pub struct Examined {
    /// Damage that opening the store met: a sentence each.
    pub opening: Vec<String>,
    /// The findings of the check.
    pub report: CheckReport,
}

/// The result of rebuilding a directory's store, and a check of it.
#[derive(Clone, Debug, Default)]
pub struct Rebuilt {
    /// The report of the rebuild.
    pub rebuilt: RebuildReport,
    /// The findings of a check afterwards.
    pub report: CheckReport,
}

impl Home {
    /// Checks the store of a directory that no node serves, and changes nothing in it; with
    /// `read_data`, reads everything. Needs no passphrase: nothing is opened that is sealed.
    ///
    /// # Errors
    ///
    /// [`HomeError`]; [`HomeError::Locked`] while a node serves it.
    pub async fn examine(directory: &Path, read_data: bool) -> Result<Examined, HomeError> {
        let directory = directory.to_owned();
        blocking(move || {
            let _lock = enter_to_look(&directory)?;
            let options = Options { read_only: true, ..Options::default() };
            let store = Store::open(&store_path(&directory)?, &options)?;
            let opening = store.open_report().damage.clone();
            Ok(Examined { opening, report: store.check(read_data)? })
        })
        .await
    }

    /// Makes the index of a directory's store anew, from its log and its files, and checks the
    /// result; with `read_data`, reads everything in it. What the old index still knows of damaged
    /// parts of the log is saved first.
    ///
    /// # Errors
    ///
    /// [`HomeError`]; what was rebuilt until then is used, and the rebuild can be done again.
    pub async fn rebuild(directory: &Path, read_data: bool) -> Result<Rebuilt, HomeError> {
        let directory = directory.to_owned();
        blocking(move || {
            let _lock = enter(&directory)?;
            let path = store_path(&directory)?;
            let noted = |store: &Store| Opens::note(&directory, store).map(|_| ());
            salvage(&path, noted)?;
            let (store, rebuilt) = Store::rebuild(&path, &Options::default())?;
            noted(&store)?;
            Ok(Rebuilt { rebuilt, report: store.check(read_data)? })
        })
        .await
    }
}

/// Has the store write again what lies around damage, if it can still be opened.
fn salvage(path: &Path, noted: impl Fn(&Store) -> Result<(), HomeError>) -> Result<(), HomeError> {
    let Ok(store) = Store::open(path, &Options::default()) else {
        return Ok(());
    };
    noted(&store)?;
    // No blob is as old as that: nothing is given up.
    let options = CollectOptions { grace: Duration::MAX, ..CollectOptions::default() };
    if let Err(error) = store.collect(options) {
        tracing::warn!(%error, "what lies around damage was not saved before the rebuild");
    }
    Ok(())
}
