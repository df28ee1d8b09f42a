//! What reads leave in the page cache, on the real disk.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Advice, fadvise};
use stash_store::disk::read_once;
use stash_store::{Batch, Blob, Options, Store};

use crate::common::Random;

/// Files of half a megabyte and more are written past the page cache.
const LEN: usize = (1 << 20) + 48;

fn below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let (dirs, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    dirs.iter().flat_map(|dir| below(dir)).chain(files).collect()
}

/// Bytes of a file that are in the page cache, in whole pages; `None` without the program that says it.
fn cached(path: &Path) -> Option<usize> {
    let mut fincore = Command::new("fincore");
    fincore.args(["--bytes", "--noheadings", "--raw", "--output", "RES"]).arg(path);
    let said = fincore.output().ok().filter(|said| said.status.success())?;
    String::from_utf8(said.stdout).ok()?.trim().parse().ok()
}

/// True if the file system drops what it was told to, and has reads that leave nothing.
fn can_tell(dir: &Path) -> bool {
    let path = dir.join("probe");
    std::fs::write(&path, [7; 4096]).unwrap();
    let file = File::open(&path).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    let dropped = cached(&path);
    read_once(&file, 0, &mut [0; 4096]).unwrap();
    (dropped, cached(&path)) == (Some(0), Some(0))
}

#[test]
fn what_is_read_once_and_what_is_checked_leave_the_page_cache_as_it_was() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, options) = (temp.path().join("store"), Options::default());
    let store = Store::create(&dir, &options).unwrap();
    let blob = Blob::hash(Random(1).bytes(LEN));
    let address = blob.address();
    store.stage(blob).unwrap();
    store.commit(Batch::new()).unwrap();
    let files = below(&dir.join("chunks"));
    let path = files.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let file = File::open(path).unwrap();
    assert_eq!(file.metadata().unwrap().len(), LEN as u64);
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    if !can_tell(temp.path()) {
        return println!("SKIPPED, NO fincore OR NO RWF_DONTCACHE");
    }
    let (all, mut bytes) = (LEN.next_multiple_of(4096), vec![0; LEN]);
    assert_eq!(store.read_once_to(&address, &mut bytes).unwrap(), Some(LEN));
    assert_eq!(cached(path), Some(0));
    assert!(store.read_once_into(&address, &mut Vec::new()).unwrap());
    assert_eq!(cached(path), Some(0));
    assert!(store.check(true).unwrap().bytes_read >= LEN as u64);
    assert_eq!(cached(path), Some(0));

    assert_eq!(store.read_to(&address, &mut bytes).unwrap(), Some(LEN));
    assert_eq!(cached(path), Some(all), "others may read it soon");
    assert!(store.read_once_into(&address, &mut Vec::new()).unwrap());
    assert!(store.check(true).unwrap().bytes_read >= LEN as u64);
    assert_eq!(cached(path), Some(all), "what was there stays");
}
