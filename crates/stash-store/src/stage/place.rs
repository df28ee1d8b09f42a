//! Moving new files into the place of their blobs.

use std::io;
use std::path::PathBuf;

use crate::disk::DiskFile;
use crate::files::Files;
use crate::sync::Arc;
use crate::{Away, IoError};

/// Moves files into place, while that is the store's own. It is looked at before and after: what was
/// moved into another directory in between is not announced.
fn into_place(
    files: &Files,
    moves: &[(PathBuf, PathBuf)],
) -> Result<Vec<Result<(), IoError>>, IoError> {
    let outcomes = match files.chunks.look() {
        Ok(()) => files.settle(moves)?,
        Err(away) => return Ok(all_away(&away, moves)),
    };
    match files.chunks.look() {
        Ok(()) => Ok(outcomes),
        Err(away) => Ok(all_away(&away, moves)),
    }
}

fn all_away(away: &Away, moves: &[(PathBuf, PathBuf)]) -> Vec<Result<(), IoError>> {
    let lost = |(_, to): &(PathBuf, PathBuf)| {
        let source = io::Error::new(io::ErrorKind::NotFound, away.to_string());
        Err(IoError::new("rename", to, source))
    };
    moves.iter().map(lost).collect()
}

/// Makes new files durable under their names. What a full disk did not take is told apart for each: it
/// is announced by nobody, so that its bytes and its name may be there or not.
pub(super) fn settle(
    files: &Files,
    open: &[(PathBuf, Arc<dyn DiskFile>)],
    moves: &[(PathBuf, PathBuf)],
) -> Result<Vec<Result<(), IoError>>, IoError> {
    let mut outcomes = files.sync_files(open)?;
    let whole: Vec<usize> = (0..moves.len()).filter(|at| outcomes[*at].is_ok()).collect();
    let synced: Vec<_> = whole.iter().map(|at| moves[*at].clone()).collect();
    match into_place(files, &synced) {
        Ok(settled) => {
            whole.into_iter().zip(settled).for_each(|(at, outcome)| outcomes[at] = outcome);
        }
        Err(error) if error.is_full() => {
            for at in whole {
                // It is taken for a stray, or overwritten, if it stays.
                let _ = files.disk.remove(&moves[at].1);
                outcomes[at] = Err(error.again());
            }
        }
        Err(error) => return Err(error),
    }
    Ok(outcomes)
}
