//! Stores whose files were changed in any way: what a fuzzer tries. A store may refuse, report
//! and forget, but it never panics, never gives a wrong byte, and what it acknowledges afterwards
//! is there when it is opened again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use stash_store::disk::OpenMode;
use stash_store::{Address, Batch, Blob, Disk, MemDisk, OpenError, Options, ReadError, Store};

use super::choices::{Choices, Script};
use super::{Random, dir, inline, put, record};

/// Changes of one directory.
const CHANGES: u32 = 32;

/// Bytes on the disk at most, whatever was done to the directory: the store itself takes less
/// than one MiB, and a change adds 64 KiB.
const ROOM: u64 = 16 << 20;

/// A store in order, and what is in it.
struct Sound {
    disk: MemDisk,
    chunks: BTreeMap<Address, Vec<u8>>,
    records: BTreeMap<[u8; 32], Vec<u8>>,
    rows: u64,
}

static SOUND: LazyLock<Sound> = LazyLock::new(Sound::new);

impl Sound {
    fn new() -> Sound {
        let disk = MemDisk::new(1);
        let options = Options { ballast_bytes: 0, ..inline(&disk) };
        let store = Store::create(dir(), &options).unwrap();
        let (mut chunks, mut records, mut random) = (BTreeMap::new(), BTreeMap::new(), Random(1));
        let rows = 40;
        for i in 0..rows {
            let bytes = random.bytes(if i % 4 == 0 { 2000 } else { 300 });
            let address = put(&store, &bytes);
            chunks.insert(address, bytes);
            let entry = record(i, &[(address, 1)], &random.bytes(200));
            records.insert(entry.hash, entry.bytes.to_vec());
            let mut batch = Batch::new().record(entry).row(&[1], Some(&i.to_le_bytes()));
            batch = match i % 5 {
                1 => batch.evict(vec![address]),
                2 => batch.manifest(address, Vec::new()),
                _ => batch,
            };
            store.commit(batch).unwrap();
        }
        Sound { disk, chunks, records, rows }
    }
}

/// 1 byte says whether the store is open while it is changed; then change after change. True if
/// it could be opened.
pub fn run(bytes: &[u8]) -> bool {
    let mut script = Script::new(bytes);
    let disk = SOUND.disk.fork(1);
    // The ballast is never read, and would be most of the files.
    let disk_of = Arc::new(disk.clone());
    let options = Options { disk: disk_of, ballast_bytes: 0, ..inline(&disk) };
    let open = (script.byte() % 2 == 1).then(|| Store::open(dir(), &options).unwrap());
    for _ in 0..CHANGES {
        if script.is_over() {
            break;
        }
        change(&disk, &mut script);
    }
    if let Some(store) = open {
        look(&store);
        acknowledge(&store, 1);
    }
    let store = match Store::open(dir(), &options) {
        Ok(store) => store,
        Err(error) => {
            refused(&error);
            return false;
        }
    };
    look(&store);
    let acknowledged = acknowledge(&store, 2);
    drop(store);
    assert!(disk.used() < ROOM, "{} bytes", disk.used());
    if let Some(address) = acknowledged {
        let store = Store::open(dir(), &options).expect("it could be opened just now");
        look(&store);
        let mut out = Vec::new();
        let found = store.read_into(&address, &mut out);
        assert!(matches!(found, Ok(true)), "what was acknowledged is lost: {found:?}");
        let row = store.row(b"new").unwrap();
        assert_eq!(row.as_deref(), Some(&address.as_bytes()[..]), "a row is lost");
    }
    true
}

/// A refusal names what is wrong.
fn refused(error: &OpenError) {
    assert!(!error.to_string().is_empty());
    assert!(!matches!(error, OpenError::Locked { .. }), "{error}");
}

/// Makes one change of one file, durable at once. A change that the disk refuses is none.
fn change(disk: &MemDisk, script: &mut Script) {
    let files = disk.files();
    let (path, len) = pick(&files, script);
    let (other, _) = pick(&files, script);
    let at = script.number(4) % (len + 1);
    let kind = script.byte() % 12;
    // The rest is put together first: a file that cannot be read gives nothing.
    match kind {
        0 if len > 0 => disk.flip_bit(&path, script.number(4) % (len * 8)).unwrap(),
        1 => overwrite(disk, &path, at, &script.block()),
        2 => with(disk, &path, |file| file.set_len(at)),
        3 => overwrite(disk, &path, len, &script.block()),
        4 => drop(Disk::remove(disk, &path)),
        5 => {
            with(disk, &path, |file| file.set_len(0));
            overwrite(disk, &path, 0, &script.block());
        }
        6 => {
            let bytes = contents(disk, &other);
            with(disk, &path, |file| file.set_len(0));
            overwrite(disk, &path, 0, &bytes);
        }
        7 => {
            let bytes = contents(disk, &other);
            let from = usize::try_from(script.number(4)).unwrap() % (bytes.len() + 1);
            let to = bytes.len().min(from + usize::try_from(script.number(2)).unwrap());
            overwrite(disk, &path, at, &bytes[from..to]);
        }
        8 => {
            let zeros = vec![0; usize::try_from(script.number(2)).unwrap()];
            overwrite(disk, &path, at, &zeros);
        }
        9 => unexpected(disk, &path, script),
        10 => drop(Disk::rename(disk, &other, &path)),
        _ => reseal(disk, script),
    }
}

fn pick(files: &[(PathBuf, u64)], script: &mut Script) -> (PathBuf, u64) {
    let number = usize::try_from(script.below(files.len().max(1) as u64)).unwrap();
    files.get(number).cloned().unwrap_or_else(|| (dir().join("FORMAT"), 0))
}

fn with(
    disk: &MemDisk,
    path: &Path,
    f: impl FnOnce(&dyn stash_store::disk::DiskFile) -> std::io::Result<()>,
) {
    // A file that an earlier change removed stays removed.
    if let Ok(file) = disk.open(path, OpenMode::Write) {
        f(&*file).and_then(|()| file.sync()).unwrap();
    }
}

fn overwrite(disk: &MemDisk, path: &Path, at: u64, bytes: &[u8]) {
    with(disk, path, |file| file.write_at(at, bytes));
}

fn contents(disk: &MemDisk, path: &Path) -> Vec<u8> {
    let Ok(file) = disk.open(path, OpenMode::Read) else {
        return Vec::new();
    };
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// A file or a directory that nobody made, beside one that the store made or in its place.
fn unexpected(disk: &MemDisk, path: &Path, script: &mut Script) {
    let choice = script.byte();
    let name = format!("{:x}", script.number(1 + u32::from(choice) % 8));
    let beside = match choice % 4 {
        0 => path.with_file_name(name),
        1 => dir().join(name),
        2 => {
            let _ = Disk::remove(disk, path);
            path.to_owned()
        }
        _ => path.join(name),
    };
    if choice & 0x80 == 0 {
        if disk.open(&beside, OpenMode::Create).is_ok() {
            overwrite(disk, &beside, 0, &script.block());
        }
    } else {
        let _ = disk.create_dir(&beside);
    }
}

/// FORMAT with some bytes changed and its checksum put right.
fn reseal(disk: &MemDisk, script: &mut Script) {
    let path = dir().join("FORMAT");
    let mut format = contents(disk, &path);
    if format.len() == 128 {
        let at = usize::try_from(script.number(1) % 96).unwrap();
        format[at] = script.byte();
        let sum = Address::of(&format[..96]);
        format[96..].copy_from_slice(sum.as_bytes());
        overwrite(disk, &path, 0, &format);
    }
}

/// Everything that can be asked: right, absent, or an error.
fn look(store: &Store) {
    let sound = &*SOUND;
    let mut out = Vec::new();
    for (address, bytes) in &sound.chunks {
        if store.read_into(address, &mut out).is_ok_and(|here| here) {
            assert_eq!(&out, bytes, "wrong bytes");
        }
        let _ = (store.chunk_state(address), store.referrers(address));
    }
    for (hash, bytes) in &sound.records {
        if let Ok(Some(found)) = store.record(hash) {
            assert_eq!(&found.bytes[..], bytes, "a wrong record");
        }
    }
    for name in 0..5 {
        let found = store.records_of(&[name; 32]).unwrap_or_default();
        known(found.iter().map(|found| (&found.hash, &found.bytes[..])));
    }
    let found = store.records_after(0, u64::MAX).unwrap_or_default();
    known(found.iter().map(|found| (&found.hash, &found.bytes[..])));
    for n in 0..sound.rows {
        let writer = [u8::try_from(n % 3).unwrap(); 40];
        let _ = (store.dots(&writer, n), store.last_of(&writer));
    }
    for (key, value) in store.rows(b"").unwrap_or_default() {
        if key == [1] {
            let value = u64::from_le_bytes(value.try_into().unwrap());
            assert!(value < sound.rows, "row {value} was never written");
        } else {
            assert_eq!(key, b"new", "a row that nobody wrote");
        }
    }
}

fn known<'a>(found: impl Iterator<Item = (&'a [u8; 32], &'a [u8])>) {
    for (hash, bytes) in found {
        let known = SOUND.records.get(hash).expect("a record that nobody wrote");
        assert_eq!(bytes, known, "a wrong record");
    }
}

/// Puts a blob and a row; its address if the store says that both are durable.
fn acknowledge(store: &Store, number: u64) -> Option<Address> {
    let bytes = Random(number).bytes(500 * usize::try_from(number).unwrap() + 400);
    let blob = Blob::hash(bytes.clone());
    let address = blob.address();
    store.stage(blob).ok()?;
    let batch = Batch::new().require(address).row(b"new", Some(address.as_bytes()));
    store.commit(batch).ok()?;
    let mut out = Vec::new();
    match store.read_into(&address, &mut out) {
        Ok(true) => assert_eq!(out, bytes),
        Ok(false) => panic!("acknowledged, and not here"),
        // Its file or its index may be hurt by what was done before.
        Err(ReadError::Damaged { .. } | ReadError::Index { .. }) => return None,
        Err(error) => panic!("{error}"),
    }
    Some(address)
}
