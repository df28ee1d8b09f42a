//! Replaces a file in two ways, with a power cut at every single operation, and says which way keeps the old
//! content or the new one.
//!
//! `cargo run -p stash-disk --example every_power_cut`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::io;
use std::path::Path;

use stash_disk::{Disk, Fault, MemDisk, OpenMode};

const OLD: &[u8] = b"the old content";
const NEW: &[u8] = b"what is to replace it";

/// Seeds tried at each operation: what survives is drawn by chance.
const SEEDS: u64 = 200;

fn content(disk: &MemDisk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or_default()];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

fn begin(seed: u64, path: &Path) -> io::Result<MemDisk> {
    let disk = MemDisk::new(seed);
    let file = disk.open(path, OpenMode::Create)?;
    file.write_at(0, OLD)?;
    file.sync()?;
    disk.sync_dir(Path::new("/"))?;
    Ok(disk)
}

/// Writes over the old bytes.
fn careless(disk: &MemDisk, path: &Path) -> io::Result<()> {
    let file = disk.open(path, OpenMode::Write)?;
    file.set_len(0)?;
    file.write_at(0, NEW)?;
    file.sync()
}

/// Writes a second file and gives it the name of the first.
fn careful(disk: &MemDisk, path: &Path) -> io::Result<()> {
    let new = Path::new("/new");
    let file = disk.open(new, OpenMode::Create)?;
    file.write_at(0, NEW)?;
    file.sync()?;
    disk.rename(new, path)?;
    disk.sync_dir(Path::new("/"))
}

/// How many of all power cuts left something that is neither the old content nor the new one.
fn lost(replace: impl Fn(&MemDisk, &Path) -> io::Result<()>) -> io::Result<(u64, u64)> {
    let path = Path::new("/file");
    let disk = begin(0, path)?;
    let before = disk.operations();
    replace(&disk, path)?;
    let operations = disk.operations() - before;
    let (mut cuts, mut lost) = (0, 0);
    for at in 1..=operations {
        for seed in 0..SEEDS {
            let disk = begin(seed, path)?;
            disk.inject(at, Fault::PowerCut);
            // The power goes somewhere in there.
            let _ended = replace(&disk, path);
            disk.restart();
            let left = content(&disk, path).unwrap_or_default();
            cuts += 1;
            lost += u64::from(left != OLD && left != NEW);
        }
    }
    Ok((lost, cuts))
}

fn main() -> io::Result<()> {
    let (careless, cuts) = lost(careless)?;
    println!("written over: {careless} of {cuts} power cuts lost both contents");
    let (careful, cuts) = lost(careful)?;
    println!("renamed over: {careful} of {cuts} power cuts lost both contents");
    assert!(careless > 0 && careful == 0);
    Ok(())
}
