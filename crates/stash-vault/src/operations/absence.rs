//! Why a name stands for no file.

use stash_crypto::Key;

use crate::lookup::{LookupError, bad_key};
use crate::model::scope::Scope;
use crate::operations::history::Names;
use crate::vault::Vault;

/// The reason why a name stands for no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Nothing is known of it.
    Nothing,
    /// It is a tree: files lie below it, or it is an empty directory.
    Tree,
    /// The file was removed.
    Removed {
        /// When, in seconds and nanoseconds since the Unix epoch by the clock of who removed it.
        written: Option<(i64, u32)>,
        /// The display name of who did; its id, if it has none.
        by: String,
        /// True if it can be brought back.
        restorable: bool,
    },
    /// Files lay below it, and all of them were removed.
    RemovedTree,
}

impl Vault {
    /// Looks why there is no file of this name.
    pub async fn absence(&self, name: &str) -> Result<Absence, LookupError> {
        let inner = &self.inner;
        let scope = Scope::named(name).map_err(bad_key(name))?;
        let key = Key::new(name.strip_suffix('/').unwrap_or(name)).map_err(bad_key(name))?;
        let versions = inner.versions_of(&key).await?;
        let is_directory = versions.head().is_some_and(|head| head.is_directory());
        if is_directory || !inner.page(&Scope::below(&key), None, 1).await?.is_empty() {
            return Ok(Absence::Tree);
        }
        if let Some(head) = versions.head().filter(|head| !head.is_put()) {
            let node = head.record.clear().dot.writer.node;
            let by = self.writer_names().remove(&node);
            return Ok(Absence::Removed {
                written: head.meta.written,
                by: by.unwrap_or_else(|| node.to_string().chars().take(10).collect()),
                restorable: versions.restorable().is_some(),
            });
        }
        match inner.keys_of(Names::Removed, &scope, None, 1).await?.is_empty() {
            true => Ok(Absence::Nothing),
            false => Ok(Absence::RemovedTree),
        }
    }
}
