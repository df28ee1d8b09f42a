//! Scrubbing a tree.

use crate::error::TreeError;
use crate::head::Head;
use crate::sync::Arc;
use crate::tree::Tree;

/// Place that [`Tree::verify`] has come to; the default is the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TreeCursor {
    /// The run, by its id; zero is HEAD, which comes first.
    run: u64,
    offset: u64,
}

impl Tree {
    /// Reads and verifies about `max_bytes` of the files from a cursor on: how far it came, and
    /// how many bytes that were. `None`: there is nothing more.
    pub fn verify(
        &self,
        cursor: TreeCursor,
        max_bytes: u64,
    ) -> Result<Option<(TreeCursor, u64)>, TreeError> {
        let below = self.below();
        let (mut cursor, mut done, enough) = (cursor, 0, max_bytes.max(1));
        if cursor == TreeCursor::default() && below.words.is_some() {
            let head = Head::read(&self.directory, &self.keys)?;
            let missing =
                || TreeError::Damaged(format!("{} has no head", self.directory.path.display()));
            done += head.ok_or_else(missing)?.1;
            cursor.run = 1;
        }
        // New runs have higher numbers: however runs come and go, the end is reached.
        let mut runs: Vec<_> =
            below.runs.iter().filter(|r| r.layout.id >= cursor.run).map(Arc::clone).collect();
        runs.sort_unstable_by_key(|run| run.layout.id);
        for run in runs {
            if done >= enough {
                break;
            }
            let from = if run.layout.id == cursor.run { cursor.offset } else { 0 };
            let at = run.verify(from, enough - done)?;
            done += at - from;
            cursor = TreeCursor { run: run.layout.id, offset: at };
            if at == run.len {
                cursor = TreeCursor { run: run.layout.id + 1, offset: 0 };
            }
        }
        Ok((done > 0).then_some((cursor, done)))
    }
}
