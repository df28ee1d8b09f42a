//! Ways to make files durable, one sync each: `bench_writes DIR [MIB] [ROUNDS]`.
//!
//! For each size and way, four threads write, sync and rename files of MIB in all (256 by default).
//! Printed are the medians of the rounds, which take turns: MiB/s, and seconds of the processor a GiB,
//! which do not contain what the kernel's own threads do. Linux only. Nothing is removed before the
//! end: some file systems pass over what was removed lately.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use stash_disk::{Disk, OpenMode, PageBuf, RealDisk};

const THREADS: usize = 4;
/// Sizes of the files: such as chunks have, with the header of a sealed one.
const SIZES: [usize; 4] = [(64 << 10) + 48, (256 << 10) + 48, (1 << 20) + 48, (4 << 20) + 48];

#[derive(Clone, Copy, Debug)]
enum Way {
    /// Through the page cache.
    Cached,
    /// The same, with write-back begun after the write.
    Early,
    /// Through the page cache, with `RWF_DONTCACHE` (Linux 6.14 and later).
    DontCache,
    /// Past the page cache, as this crate does it.
    Direct,
    /// The same, in room that was reserved before.
    Reserved,
    /// The same as [`Way::Direct`], with bytes that begin at no page and are copied first.
    Copied,
}

const WAYS: [Way; 6] =
    [Way::Cached, Way::Early, Way::DontCache, Way::Direct, Way::Reserved, Way::Copied];

#[cfg(target_os = "linux")]
fn write_uncached(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use rustix::io::{ReadWriteFlags, pwritev2};
    const DONTCACHE: u32 = 0x80;
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let flags = ReadWriteFlags::from_bits_retain(DONTCACHE);
    let mut done = 0;
    while done < bytes.len() {
        done += pwritev2(&file, &[io::IoSlice::new(&bytes[done..])], done as u64, flags)?;
    }
    file.sync_data()
}

#[cfg(not(target_os = "linux"))]
fn write_uncached(_: &Path, _: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn write(way: Way, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mode = match way {
        Way::DontCache => return write_uncached(path, bytes),
        Way::Cached | Way::Early => OpenMode::Create,
        Way::Direct | Way::Reserved | Way::Copied => OpenMode::CreateDirect,
    };
    let file = RealDisk::new().open(path, mode)?;
    if mode == OpenMode::CreateDirect && file.alignment().is_none() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    if matches!(way, Way::Reserved) {
        file.allocate(bytes.len() as u64)?;
    }
    file.write_whole(bytes)?;
    if matches!(way, Way::Early) {
        file.start_writeback();
    }
    file.sync()
}

/// Seconds of the processor that this process has used.
fn processor() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// MiB/s and seconds a GiB of one round.
fn round(dir: &Path, way: Way, size: usize, files: usize) -> io::Result<(f64, f64)> {
    fs::create_dir_all(dir)?;
    let (begun, used) = (Instant::now(), processor());
    let first = usize::from(matches!(way, Way::Copied));
    let work = |thread: usize| {
        let mut pages = PageBuf::zeroed(first + size);
        pages.iter_mut().zip(0..).for_each(|(byte, at): (_, u32)| *byte = (at % 251) as u8);
        for file in (thread..files).step_by(THREADS) {
            let path = dir.join(format!("new-{file}"));
            write(way, &path, &pages[first..])?;
            fs::rename(&path, dir.join(format!("file-{file}")))?;
        }
        Ok::<_, io::Error>(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || work(n))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })?;
    File::open(dir)?.sync_all()?;
    let mib = (files * size) as f64 / f64::from(1 << 20);
    Ok((mib / begun.elapsed().as_secs_f64(), (processor() - used) / mib * 1024.0))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("bench_writes DIR [MIB] [ROUNDS]")?);
    let all = arguments.next().map_or(Ok(256), |mib| mib.parse::<usize>())? << 20;
    let rounds = arguments.next().map_or(Ok(3), |rounds| rounds.parse::<usize>())?.max(1);
    let dir = tempfile::tempdir_in(dir)?;
    println!("{:>8}  {:<10} {:>6} {:>8}", "bytes", "way", "MiB/s", "CPU s/GiB");
    for size in SIZES {
        let mut figures = vec![(Vec::new(), Vec::new()); WAYS.len()];
        for turn in 0..rounds {
            for (way, figures) in WAYS.into_iter().zip(&mut figures) {
                let place = dir.path().join(format!("{size}-{turn}-{way:?}"));
                match round(&place, way, size, all / size) {
                    Ok((speed, seconds)) => {
                        figures.0.push(speed);
                        figures.1.push(seconds);
                    }
                    Err(error) if turn == 0 => println!("{size:>8}  {way:?}: {error}"),
                    Err(_) => {}
                }
            }
        }
        for (way, (speed, seconds)) in WAYS.into_iter().zip(figures) {
            if !speed.is_empty() {
                let (speed, seconds) = (median(speed), median(seconds));
                println!("{size:>8}  {:<10} {speed:>6.0} {seconds:>8.2}", format!("{way:?}"));
            }
        }
    }
    Ok(())
}
