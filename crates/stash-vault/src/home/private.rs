//! Files that hold secrets are for their owner alone, as ssh has it for its keys.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::error::HomeError;

/// The bits of group and others.
const OTHERS: u32 = 0o077;
/// The bits without which group and others do not get through a directory.
const THROUGH: u32 = 0o011;

/// Shuts a data directory and its keyring to everybody but their owner, where they are open, and says
/// so. A file system that does not do as it is told (one of Windows, a network's) is no reason to
/// refuse as long as a directory above lets nobody through.
pub(super) fn shut(directory: &Path) -> Result<(), HomeError> {
    let keyring = directory.join("keyring");
    for path in [directory, &keyring] {
        match mend(path) {
            Ok(Some(mode)) => tracing::warn!(
                path = %path.display(),
                was = format!("{mode:o}"),
                "other users of this machine could look into it: it is shut now. If one of them did \
                 and the keyring has no passphrase, they have this node's keys"
            ),
            Ok(None) => {}
            // The look below decides.
            Err(error) => tracing::warn!(path = %path.display(), %error, "cannot be shut"),
        }
    }
    match std::fs::symlink_metadata(&keyring) {
        Ok(found) if found.is_file() && is_open(&found) && !is_sheltered(&keyring) => {
            Err(HomeError::Exposed { path: keyring, mode: found.mode() & 0o777 })
        }
        _ => Ok(()),
    }
}

/// Takes the bits of group and others away; `None` if there are none, or there is no such file.
fn mend(path: &Path) -> io::Result<Option<u32>> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    // A keyring that is a link is refused where it is read; a directory may be one.
    if !is_open(&found) || found.is_symlink() && !path.is_dir() {
        return Ok(None);
    }
    let file = File::open(path)?;
    let mode = file.metadata()?.mode() & 0o777;
    if mode & OTHERS == 0 {
        return Ok(None);
    }
    file.set_permissions(Permissions::from_mode(mode & !OTHERS))?;
    Ok(Some(mode))
}

fn is_open(found: &Metadata) -> bool {
    found.mode() & OTHERS != 0
}

/// True of a path that group and others do not reach, whatever its own mode is.
fn is_sheltered(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    path.ancestors()
        .skip(1)
        .any(|above| std::fs::metadata(above).is_ok_and(|found| found.mode() & THROUGH == 0))
}

/// True of a file with a secret that others can read, or change: the mode says so, and no directory
/// above keeps them away. The group of a file that is another's, root's above all, is how this process
/// was given it.
#[must_use]
pub fn is_exposed(path: &Path, found: &Metadata) -> bool {
    let ours = found.uid() == rustix::process::geteuid().as_raw();
    let bits = if ours { OTHERS } else { 0o007 };
    found.is_file() && found.mode() & bits != 0 && !is_sheltered(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_directory_and_its_keyring_that_others_could_read_are_shut() {
        let temp = tempfile::tempdir().unwrap();
        let (data, keyring) = (temp.path().join("data"), temp.path().join("data/keyring"));
        std::fs::create_dir(&data).unwrap();
        chmod(&data, 0o755);
        shut(&data).unwrap();
        assert_eq!(mode(&data), 0o700, "also before there is a keyring");
        std::fs::write(&keyring, "k").unwrap();
        for open in [0o644, 0o640, 0o604, 0o660] {
            chmod(&keyring, open);
            shut(&data).unwrap();
            assert_eq!(mode(&keyring), 0o600, "{open:o}");
        }
    }

    #[test]
    fn a_secret_is_exposed_unless_a_directory_above_keeps_others_away() {
        let temp = tempfile::tempdir().unwrap();
        let (outer, file) = (temp.path().join("outer"), temp.path().join("outer/file"));
        std::fs::create_dir(&outer).unwrap();
        std::fs::write(&file, "s").unwrap();
        // The directory of the test itself shelters all in it.
        for directory in [temp.path(), &outer] {
            chmod(directory, 0o755);
        }
        for (bits, exposed) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            chmod(&file, bits);
            let found = std::fs::metadata(&file).unwrap();
            assert_eq!(is_exposed(&file, &found), exposed, "{bits:o}");
            chmod(&outer, 0o700);
            assert!(!is_exposed(&file, &found), "{bits:o}");
            chmod(&outer, 0o755);
        }
    }
}
