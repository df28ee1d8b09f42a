//! A small real disk that fills.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use stash_store::room::{Resource, Shortage};
use stash_store::{Batch, Blob, Options, StageError, Store};

use crate::common::{Random, put, read};
use crate::{evict, is_settled, put_until_refused, stored};

/// A file system that goes when the test ends.
struct Mounted(tempfile::TempDir);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _lazily = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn tmpfs(options: &str) -> Option<Mounted> {
    let temp = tempfile::tempdir().unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(temp.path()).stderr(Stdio::null());
    if mount.status().is_ok_and(|status| status.success()) {
        return Some(Mounted(temp));
    }
    eprintln!("SKIPPED, CANNOT MOUNT A tmpfs: a store on a small disk, {options}");
    None
}

/// Another program that fills the disk: all its bytes, or all its inodes.
fn fill(dir: &Path, what: Resource) {
    std::fs::create_dir(dir).unwrap();
    let filled = match what {
        Resource::Bytes => std::fs::write(dir.join("0"), vec![1; 16 << 20]),
        Resource::Inodes => {
            (0..2000).try_for_each(|i| std::fs::write(dir.join(i.to_string()), b""))
        }
    };
    assert_eq!(filled.unwrap_err().kind(), ErrorKind::StorageFull);
}

#[test]
fn a_small_real_disk_that_fills_refuses_puts_and_takes_deletions_and_works_again() {
    // Fault cases 44, 45.
    let disks = [
        (Resource::Bytes, "size=16m,nr_inodes=10000,mode=0700"),
        (Resource::Inodes, "size=64m,nr_inodes=600,mode=0700"),
    ];
    for (what, mount) in disks {
        let Some(mounted) = tmpfs(mount) else {
            return;
        };
        let options = Options {
            small: 1024,
            ballast_bytes: 256 * 1024,
            segment_bytes: 256 * 1024,
            ..Options::default()
        };
        let dir = mounted.0.path().join("store");
        let store = Store::create(&dir, &options).unwrap();
        let small = stored(&store, 20, 900);
        let (kept, error) = put_until_refused(&store, 50_000);
        assert!(
            matches!(error, StageError::NoRoom(Shortage::Reserve { what: w, .. }) if w == what),
            "{error}"
        );
        assert_eq!(std::fs::read_dir(dir.join("tmp")).unwrap().count(), 0);
        store.commit(Batch::new().row(b"k", Some(b"v"))).unwrap();
        let other = mounted.0.path().join("other");
        fill(&other, what);
        assert!(store.stage(Blob::hash(Random(1 << 40).bytes(50_000))).unwrap_err().is_full());
        // Some room is left in the last page of the segment, and in the segment.
        for i in 0..5000_u32 {
            if !dir.join("BALLAST").exists() {
                break;
            }
            let key = i.to_le_bytes();
            store.commit(Batch::new().row(&key, Some(&[7; 200])).even_if_full()).unwrap();
        }
        assert!(!dir.join("BALLAST").exists(), "{what}: the ballast is used");
        for (address, _) in small.iter().chain(&kept[..20]) {
            assert_eq!(store.commit(evict(*address)).unwrap().evicted, 1);
        }
        for (address, bytes) in &kept[20..] {
            assert_eq!(read(&store, address).as_ref(), Some(bytes));
        }
        std::fs::remove_dir_all(&other).unwrap();
        put(&store, &kept[0].1);
        assert_eq!(store.stats().read_only, None);
        drop(store);
        let store = Store::open(&dir, &options).unwrap();
        assert_eq!(store.stats().chunks, kept.len() as u64 - 19);
        is_settled(&store);
    }
}
