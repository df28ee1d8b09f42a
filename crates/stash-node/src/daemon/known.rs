//! The data directories of this user that hold, or held, a stash. The list lies outside of them: a
//! directory that is empty now, since its disk is not mounted, is told from one that is new.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

/// Bytes of the list that are read; more than a thousand of the longest paths that make sense.
const LIST_MAX: u64 = 1 << 20;

/// Bytes that are written as they are, but those that are not ASCII.
const PLAIN: &AsciiSet = &CONTROLS.add(b'%');

/// True if the list names this data directory. A list that cannot be read names none: whoever cannot
/// read it could not have written it.
pub(super) fn contains(list: Option<&Path>, data_dir: &Path) -> bool {
    let line = line(data_dir);
    list.and_then(|list| read(list).ok()).is_some_and(|text| text.lines().any(|one| one == line))
}

/// Notes that there is a stash in this data directory, durably. Nothing to do if that was noted.
pub(super) fn note(list: &Path, data_dir: &Path) -> io::Result<()> {
    if contains(Some(list), data_dir) {
        return Ok(());
    }
    std::fs::create_dir_all(list.parent().unwrap_or(Path::new("/")))?;
    let mut file =
        std::fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(list)?;
    // One write: two nodes of one user may start at once. A line that was cut off begins anew.
    file.write_all(format!("\n{}\n", line(data_dir)).as_bytes())?;
    file.sync_all()
}

fn read(list: &Path) -> io::Result<String> {
    let mut text = String::new();
    match std::fs::File::open(list) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        file => {
            file?.take(LIST_MAX).read_to_string(&mut text)?;
        }
    }
    Ok(text)
}

/// The path on one line of ASCII.
fn line(data_dir: &Path) -> String {
    percent_encode(data_dir.as_os_str().as_bytes(), PLAIN).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn a_directory_is_known_once_it_was_noted_and_no_other_is() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("state/stash/data-directories");
        let odd = Path::new(OsStr::from_bytes(b"/a\n/b%\xff c"));
        assert!(!contains(Some(&list), odd) && !contains(None, odd));
        for path in [odd, Path::new("/a"), odd] {
            note(&list, path).unwrap();
            assert!(contains(Some(&list), path));
        }
        assert!(!contains(Some(&list), Path::new("/b")) && !contains(Some(&list), Path::new("/")));
        let text = std::fs::read_to_string(&list).unwrap();
        assert_eq!(text.lines().filter(|line| !line.is_empty()).count(), 2);
    }

    #[test]
    fn a_line_that_was_cut_off_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list");
        std::fs::write(&list, "\n/mnt/pho").unwrap();
        note(&list, Path::new("/mnt/photos")).unwrap();
        assert!(contains(Some(&list), Path::new("/mnt/photos")));
    }
}
