//! Files that are written, synced, and lose power: every byte is one that was written there since the last
//! sync, or the one that was synced.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arbitrary::Unstructured;
use stash_disk::{Disk, DiskFile, MemDisk, OpenMode, Survival};

/// Files of one run.
const FILES: usize = 3;

/// Bytes of one file at most: several units that a power cut tears apart.
const LONGEST: usize = 4096;

/// What is known of one file.
struct Known {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// As it is while the power is on.
    now: Vec<u8>,
    /// As it was synced.
    synced: Vec<u8>,
    /// What each byte may be after a power cut, beside what was synced.
    since: Vec<BTreeSet<u8>>,
}

impl Known {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        self.now.resize(self.now.len().max(end), 0);
        // Bytes between the old end and the new ones read as zeros.
        self.since.resize_with(self.now.len(), || BTreeSet::from([0]));
        self.file.write_at(at as u64, bytes).unwrap();
        self.now[at..end].copy_from_slice(bytes);
        for (possible, byte) in self.since[at..end].iter_mut().zip(bytes) {
            possible.insert(*byte);
        }
    }

    fn sync(&mut self) {
        self.file.sync().unwrap();
        self.synced.clone_from(&self.now);
        self.since = vec![BTreeSet::new(); self.now.len()];
    }

    /// After a power cut, and the same file again.
    fn look(&mut self, disk: &MemDisk) {
        self.file = disk.open(&self.path, OpenMode::Write).expect("its name was synced");
        let len = usize::try_from(self.file.len().unwrap()).unwrap();
        assert!((self.synced.len()..=self.now.len()).contains(&len), "{len} bytes");
        let mut found = vec![0; len];
        self.file.read_at(0, &mut found).unwrap();
        for (at, byte) in found.iter().enumerate() {
            let is_old = self.synced.get(at) == Some(byte);
            assert!(is_old || self.since[at].contains(byte), "byte {at} is {byte}");
        }
        self.now = found;
        self.sync();
    }
}

/// Runs a row of operations. True if all of the bytes were used.
pub fn run(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let disk = MemDisk::new(input.arbitrary().unwrap_or_default());
    let mut files: Vec<Known> = (0..FILES)
        .map(|n| {
            let path = Path::new("/").join(n.to_string());
            let file = disk.open(&path, OpenMode::Create).unwrap();
            Known { path, file, now: vec![], synced: vec![], since: vec![] }
        })
        .collect();
    disk.sync_dir(Path::new("/")).unwrap();
    while !input.is_empty() {
        let (op, which): (u8, u8) = input.arbitrary().unwrap_or_default();
        let known = &mut files[usize::from(which) % FILES];
        match op % 4 {
            0 | 1 => {
                let (at, byte, len): (u16, u8, u8) = input.arbitrary().unwrap_or_default();
                let at = usize::from(at) % LONGEST;
                // A write of nothing does not extend a file.
                let len = (usize::from(len) * 16 + 1).min(LONGEST - at);
                known.write(at, &vec![byte; len]);
            }
            2 => known.sync(),
            _ => {
                match which / 85 {
                    0 => disk.restart(),
                    1 => disk.restart_with(Survival::Nothing),
                    _ => disk.restart_with(Survival::Everything),
                }
                files.iter_mut().for_each(|known| known.look(&disk));
            }
        }
    }
    true
}
