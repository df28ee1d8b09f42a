//! Paths in a request: of the client, opened by the daemon.

use std::path::PathBuf;

use crate::error::{Class, Problem};
use crate::typed;

/// The daemon's working directory is not the client's.
pub(super) fn absolute(path: &str) -> Result<PathBuf, Problem> {
    let path = PathBuf::from(path);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(Problem::usage(format!("{} is not an absolute path", path.display())))
    }
}

/// Refuses paths that mean something else to the client. Off the runtime: a disk may be slow.
pub(super) async fn same_to_all<P>(paths: P) -> Result<P, Problem>
where
    P: AsRef<[PathBuf]> + Send + 'static,
{
    let check =
        move || paths.as_ref().iter().try_for_each(|path| typed::same_to_all(path)).map(|()| paths);
    let checked = tokio::task::spawn_blocking(check).await;
    checked.map_err(|error| Problem::new(Class::Failed, error.to_string()))?
}
