//! Putting a new stash in the place of an old one, or of none, in a way that a crash cannot tear.
//!
//! A new stash is made whole in `new-<id>`. The file `swap` then names it: from that moment on the
//! change is decided, and whoever opens the directory next finishes it. What stood there before is
//! kept in `replaced-<id>`.

use std::io;
use std::path::Path;

use super::disk;
use crate::index::{OLD_NAMES, OLD_TAGS};

/// The parts of a stash, in the order in which they are moved. The keyring comes last: while it is
/// in `new-<id>`, the swap is not finished.
const PARTS: [&str; 3] = ["opens", "store", "keyring"];
/// Caches of the old stash. They hold names: they are removed, not kept.
const CACHES: [&str; 2] = ["names", "tags"];
/// The same, as older versions had them.
const OLD_CACHES: [&str; 2] = [OLD_NAMES, OLD_TAGS];
const MARK: &str = "swap";

/// Removes what lists names, and what derives from contents.
pub(super) fn remove_caches(directory: &Path) -> io::Result<()> {
    OLD_CACHES.iter().try_for_each(|cache| disk::remove(&directory.join(cache)))?;
    CACHES.iter().try_for_each(|cache| match std::fs::remove_dir_all(directory.join(cache)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })
}

/// Where a new stash is made before it takes its place.
pub(super) fn nursery(directory: &Path, id: &str) -> std::path::PathBuf {
    directory.join(format!("new-{id}"))
}

/// Decides the swap and carries it out. The nursery's content is durable already.
pub(super) fn begin(directory: &Path, id: &str) -> io::Result<()> {
    disk::sync_directory(directory)?;
    disk::write(&directory.join(MARK), id.as_bytes())?;
    finish(directory)
}

/// True if a decided swap is not finished yet.
pub(super) fn pending(directory: &Path) -> bool {
    directory.join(MARK).exists()
}

/// Finishes a swap that was decided; nothing to do if there is none. Idempotent at every step.
pub(super) fn finish(directory: &Path) -> io::Result<()> {
    let Some(id) = disk::read(&directory.join(MARK))? else {
        return Ok(());
    };
    let id = std::str::from_utf8(&id).ok().filter(|id| is_id(id));
    let id = id.ok_or_else(|| io::Error::other("the file 'swap' is damaged"))?;
    let new = nursery(directory, id);
    let replaced = directory.join(format!("replaced-{id}"));
    for part in PARTS {
        let (from, at, old) = (new.join(part), directory.join(part), replaced.join(part));
        if !from.try_exists()? {
            continue;
        }
        if at.try_exists()? && !old.try_exists()? {
            disk::make_directory(&replaced)?;
            std::fs::rename(&at, &old)?;
        }
        if part == "keyring" {
            remove_caches(directory)?;
        }
        std::fs::rename(&from, &at)?;
    }
    if replaced.try_exists()? {
        disk::sync_directory(&replaced)?;
    }
    disk::sync_directory(directory)?;
    disk::remove(&directory.join(MARK))?;
    match std::fs::remove_dir(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    disk::sync_directory(directory)
}

fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stash(path: &Path, what: &str) {
        std::fs::create_dir_all(path.join("store")).unwrap();
        std::fs::write(path.join("store/log"), what).unwrap();
        std::fs::write(path.join("keyring"), what).unwrap();
        std::fs::write(path.join("opens"), what).unwrap();
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    fn check(dir: &Path) {
        for part in ["keyring", "opens", "store/log"] {
            assert_eq!(read(&dir.join(part)), "new", "{part}");
            assert_eq!(read(&dir.join("replaced-ab").join(part)), "old", "{part}");
        }
        assert!(!pending(dir) && !nursery(dir, "ab").exists());
        for cache in ["names", "names.redb"] {
            assert!(!dir.join(cache).exists(), "names of the old stash are gone: {cache}");
        }
    }

    #[test]
    fn a_new_stash_takes_the_place_of_the_old_one_which_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        stash(dir.path(), "old");
        std::fs::write(dir.path().join("names.redb"), "names").unwrap();
        std::fs::create_dir(dir.path().join("names")).unwrap();
        std::fs::write(dir.path().join("names/head"), "names").unwrap();
        stash(&nursery(dir.path(), "ab"), "new");
        begin(dir.path(), "ab").unwrap();
        check(dir.path());
    }

    /// Fault case 88: stopped between any two renames, the swap is finished at the next open.
    #[test]
    fn a_swap_that_was_interrupted_anywhere_is_finished() {
        for steps in 0..=6 {
            let dir = tempfile::tempdir().unwrap();
            let (dir, new) = (dir.path(), nursery(dir.path(), "ab"));
            stash(dir, "old");
            stash(&new, "new");
            disk::write(&dir.join(MARK), b"ab").unwrap();
            let replaced = dir.join("replaced-ab");
            std::fs::create_dir(&replaced).unwrap();
            let renames = PARTS.iter().flat_map(|part| {
                [(dir.join(part), replaced.join(part)), (new.join(part), dir.join(part))]
            });
            for (from, to) in renames.take(steps) {
                std::fs::rename(from, to).unwrap();
            }
            finish(dir).unwrap();
            check(dir);
            finish(dir).unwrap();
        }
    }

    #[test]
    fn a_damaged_mark_moves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        stash(dir.path(), "old");
        disk::write(&dir.path().join(MARK), b"../../etc").unwrap();
        assert!(finish(dir.path()).is_err());
        assert_eq!(read(&dir.path().join("keyring")), "old");
    }
}
