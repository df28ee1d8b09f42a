//! The report of a get: what was written, and what was not.

use std::path::{Path, PathBuf};

use super::error::GetError;
use crate::class::Class;
use crate::model::version::Standing;

/// Files that a report names at most in each of its lists.
const NAMED: usize = 100;

/// The files that were written, and those that were not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetReport {
    /// Files and links written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files and links that were there already, and were left alone.
    pub unchanged: u64,
    /// Their bytes.
    pub unchanged_bytes: u64,
    /// Directories made, or given their mode and time.
    pub directories: u64,
    /// Where the files are that were written: the file, or the first hundred of a tree.
    pub outputs: Vec<PathBuf>,
    /// The number of them that have concurrent versions beside the one that was written.
    pub conflicts: u64,
    /// What some lack of what was asked for ([`Restore`](super::Restore)), the first hundred.
    pub lacking: Vec<(PathBuf, String)>,
    /// How many lack something.
    pub lacks: u64,
    /// Those of a tree that did not come back, a hundred of them.
    pub failures: Vec<Failure>,
    /// How many did not.
    pub failed: u64,
    /// True if chunks were to be kept, and were not: there is no room for them beside the output.
    pub not_kept: bool,
    /// The class of all of these together: the first of [`WORST`] that occurs.
    worst: Option<Class>,
}

/// A file, link or directory of a tree that did not come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its key; of what was asked for and is not stored, the name.
    pub key: String,
    /// The class of the error.
    pub class: Class,
    /// The error, in a sentence.
    pub why: String,
}

/// Classes of failures, the one first that tells most: what is damaged, what no later attempt mends by
/// itself, what may come back the next time, what stands in the way.
const WORST: [Class; 6] = [
    Class::Integrity,
    Class::Full,
    Class::Failed,
    Class::Temporary,
    Class::Refused,
    Class::NotFound,
];

/// Something that was written, and what it lacks of what was asked for.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) path: PathBuf,
    /// A sentence; nothing if it has all.
    pub(crate) lacks: Option<String>,
}

/// The end of one file or link.
#[derive(Debug)]
pub(super) enum Done {
    /// It is written, or would be in a dry run.
    Wrote(Written),
    /// It was there already.
    Left(Written),
}

impl GetReport {
    /// The class of what did not come back; `None` if all did.
    #[must_use]
    pub fn class(&self) -> Option<Class> {
        self.worst.or_else(|| (self.lacks > 0).then_some(Class::Unreadable))
    }

    pub(super) fn wrote(&mut self, written: Written, bytes: u64, standing: Standing) {
        let Written { path, lacks } = written;
        self.lacks(&path, lacks);
        self.files += 1;
        self.bytes += bytes;
        self.conflicts += u64::from(standing.siblings() > 0);
        if self.outputs.len() < NAMED {
            self.outputs.push(path);
        }
    }

    pub(super) fn left(&mut self, there: Written, bytes: u64, standing: Standing) {
        self.lacks(&there.path, there.lacks);
        self.unchanged += 1;
        self.unchanged_bytes += bytes;
        self.conflicts += u64::from(standing.siblings() > 0);
    }

    pub(super) fn lacks(&mut self, path: &Path, lacks: Option<String>) {
        let Some(lacks) = lacks else { return };
        self.lacks += 1;
        if self.lacking.len() < NAMED {
            self.lacking.push((path.to_owned(), lacks));
        }
    }

    pub(super) fn failed(&mut self, key: &str, error: &GetError) {
        let class = error.class();
        let rank = |class: Class| WORST.iter().position(|worse| *worse == class);
        let worse =
            |other: Class| rank(class).unwrap_or(WORST.len()) < rank(other).unwrap_or(WORST.len());
        if self.worst.is_none_or(worse) {
            self.worst = Some(class);
        }
        self.failed += 1;
        if self.failures.len() < NAMED {
            self.failures.push(Failure { key: key.to_owned(), class, why: error.to_string() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stash_crypto::Key;

    #[test]
    fn the_class_is_that_of_the_worst_whatever_came_first() {
        let key = Key::new("k").unwrap();
        let occupied = GetError::Occupied { path: "/p".into(), what: "a directory" };
        let mut report = GetReport::default();
        assert_eq!(report.class(), None);
        report.lacks(Path::new("/p"), Some("given back without owner".into()));
        assert_eq!(report.class(), Some(Class::Unreadable));
        let failures = [
            (GetError::Exists { path: "/p".into() }, Class::Refused),
            (GetError::Fetch { key: key.clone(), source: stopping() }, Class::Temporary),
            (GetError::output(Path::new("/p"), std::io::Error::other("broken")), Class::Failed),
            (GetError::Manifest { key: key.clone(), size: 1 }, Class::Integrity),
            (occupied, Class::Integrity),
        ];
        for (error, class) in failures {
            report.failed("k", &error);
            assert_eq!(report.class(), Some(class), "{error}");
        }
        for _ in 0..NAMED {
            report.failed("k", &GetError::Exists { path: "/p".into() });
        }
        assert_eq!((report.failures.len(), report.failed), (NAMED, 5 + NAMED as u64));
    }

    fn stopping() -> stash_server::FetchError {
        stash_server::FetchError::Stopping
    }
}
