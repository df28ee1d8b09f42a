//! Looking for planted names and contents in files.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use memchr::memmem::Finder;

/// Bytes read at a time.
const WINDOW: usize = 4 << 20;

/// Something that must not be found, and how to call it when it is.
#[derive(Debug, Clone)]
pub struct Needle {
    what: String,
    finder: Finder<'static>,
}

impl Needle {
    /// Bytes to look for; none at all are never found.
    pub fn new(what: impl Into<String>, bytes: &[u8]) -> Self {
        Self { what: what.into(), finder: Finder::new(bytes).into_owned() }
    }

    /// The needle as it stands, and as lower-case hex, in which logs might print it.
    pub fn with_hex(what: &str, bytes: &[u8]) -> [Self; 2] {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        [Self::new(what, bytes), Self::new(format!("{what}, in hex"), hex.as_bytes())]
    }

    fn len(&self) -> usize {
        self.finder.needle().len()
    }

    fn find(&self, hay: &[u8]) -> Option<usize> {
        self.finder.find(hay).filter(|_| self.len() > 0)
    }
}

/// A needle that was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The name of the needle.
    pub what: String,
    /// The file, or the one whose name it is.
    pub path: PathBuf,
    /// Its first byte there.
    pub offset: u64,
}

/// The extent of a search, so that a search of nothing cannot pass for a clean one.
#[derive(Debug, Default)]
pub struct Search {
    /// Files that were read.
    pub files: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// The findings, in the order of reading.
    pub found: Vec<Found>,
}

impl Search {
    /// Searches a file, or every file below a directory, contents and file names.
    pub fn path(&mut self, path: &Path, needles: &[Needle]) -> Result<()> {
        let Ok(metadata) = fs::symlink_metadata(path) else {
            return Ok(()); // Gone since it was listed: a temporary file of a running node.
        };
        let name =
            path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
        self.note(path, 0, &name, needles);
        if metadata.is_dir() {
            for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
                self.path(&entry?.path(), needles)?;
            }
        } else if metadata.is_file()
            && let Ok(file) = File::open(path)
        {
            self.stream(path, file, needles)?;
            self.files += 1;
        }
        Ok(())
    }

    fn stream(&mut self, path: &Path, mut from: impl Read, needles: &[Needle]) -> Result<()> {
        let overlap = needles.iter().map(|needle| needle.len()).max().unwrap_or(1) - 1;
        let mut buffer = vec![0; WINDOW + overlap];
        let (mut kept, mut start) = (0, 0_u64);
        loop {
            let read =
                from.read(&mut buffer[kept..]).with_context(|| path.display().to_string())?;
            if read == 0 {
                return Ok(());
            }
            self.bytes += u64::try_from(read)?;
            let end = kept + read;
            self.note(path, start, &buffer[..end], needles);
            kept = overlap.min(end);
            buffer.copy_within(end - kept..end, 0);
            start += u64::try_from(end - kept)?;
        }
    }

    fn note(&mut self, path: &Path, start: u64, bytes: &[u8], needles: &[Needle]) {
        for needle in needles {
            if let Some(at) = needle.find(bytes) {
                let found = Found {
                    what: needle.what.clone(),
                    path: path.to_path_buf(),
                    offset: start + at as u64,
                };
                if !self.found.contains(&found) {
                    self.found.push(found);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out a few bytes at a time, so that needles straddle every read.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.len().min(7).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn a_needle_across_reads_is_found_at_its_offset() {
        let needles = [Needle::new("it", b"needle-in-a-haystack")];
        for offset in 0..40 {
            let mut hay = vec![b'n'; offset];
            hay.extend_from_slice(b"needle-in-a-haystack");
            hay.extend_from_slice(b"and more");
            let mut search = Search::default();
            search.stream(Path::new("x"), Trickle(&hay), &needles).unwrap();
            assert_eq!(search.found.len(), 1, "offset {offset}");
            assert_eq!(search.found[0].offset, offset as u64);
        }
    }

    #[test]
    fn names_and_contents_below_a_directory_are_searched() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("PLANTED-name")).unwrap();
        fs::write(dir.path().join("PLANTED-name/file"), b"abc secret def").unwrap();
        let mut needles = vec![Needle::new("name", b"PLANTED")];
        needles.extend(Needle::with_hex("content", b"secret"));
        let mut search = Search::default();
        search.path(dir.path(), &needles).unwrap();
        let what: Vec<&str> = search.found.iter().map(|found| found.what.as_str()).collect();
        assert_eq!((search.files, what), (1, vec!["name", "content"]));
    }

    #[test]
    fn hex_of_a_needle_counts_as_found() {
        let mut search = Search::default();
        let needles = Needle::with_hex("content", b"secret");
        search.stream(Path::new("x"), &b"log: 736563726574"[..], &needles).unwrap();
        assert_eq!(search.found[0].what, "content, in hex");
    }
}
