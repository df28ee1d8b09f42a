//! The label of a data directory: what its user calls the stash in it, for a friend who keeps it and can read no names. It is of this
//! machine alone, and no member hears of it.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::Problem;

/// The name of the file in the data directory.
const LABEL: &str = "label";

/// Bytes of a label: it is shown in one line.
const MOST: usize = 200;

/// A label as it is typed, if it is one.
pub(crate) fn checked(text: &str) -> Result<(), Problem> {
    let fits = (1..=MOST).contains(&text.len()) && !text.chars().any(char::is_control);
    let wrong =
        || Problem::usage(format!("a label has 1 to {MOST} bytes and no control characters"));
    fits.then_some(()).ok_or_else(wrong)
}

/// The label of a data directory.
pub(super) fn read(data_dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(data_dir.join(LABEL)).ok()?;
    let text = text.trim_end_matches('\n');
    checked(text).is_ok().then(|| text.to_owned())
}

/// Gives a data directory this label, or none: one of an earlier stash goes.
pub(super) fn write(data_dir: &Path, label: Option<&str>) -> std::io::Result<()> {
    let path = data_dir.join(LABEL);
    let Some(label) = label else {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    };
    let draft = data_dir.join(format!("{LABEL}.new"));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(format!("{label}\n").as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_what_was_written_last_and_goes_with_its_stash() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        write(dir.path(), None).unwrap();
        for label in ["photos from next door", "Grüße"] {
            write(dir.path(), Some(label)).unwrap();
            assert_eq!(read(dir.path()).as_deref(), Some(label));
        }
        write(dir.path(), None).unwrap();
        assert_eq!(read(dir.path()), None);
        for bad in ["", "a\u{1b}[2J", "two\nlines", &"x".repeat(MOST + 1)] {
            assert!(checked(bad).is_err(), "{bad:?}");
            std::fs::write(dir.path().join(LABEL), bad).unwrap();
            assert_eq!(read(dir.path()), None, "{bad:?}");
        }
    }
}
