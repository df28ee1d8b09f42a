//! Ways to read what is not wanted again: `bench_reads DIR [MIB] [ROUNDS]`.
//!
//! Four threads read a file of MIB (1,024 by default) in pieces of 1 MiB, in order, as a put reads what it
//! stores: first when nothing of it is in the page cache, then when every page is. Printed are the medians of
//! the rounds, which take turns: MiB/s and seconds of the processor a GiB of both, bytes that were
//! read from the disk for each byte, and the part of the file that is in the page cache
//! afterwards. Linux only.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

#[cfg(target_os = "linux")]
mod ways {
    use std::error::Error;
    use std::fs::{self, File};
    use std::io::{self, IoSliceMut, Write};
    use std::num::NonZeroU64;
    use std::os::unix::fs::FileExt;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use rustix::fs::{Advice, Mode, OFlags, fadvise};
    use rustix::io::{ReadWriteFlags, preadv2};
    use stash_disk::{PAGE, PageBuf, read_once};

    const THREADS: usize = 4;
    const PIECE: usize = 1 << 20;

    #[derive(Clone, Copy, Debug)]
    enum Way {
        /// Through the page cache.
        Cached,
        /// The same; the kernel is told that nothing is used twice.
        NoReuse,
        /// The same, and what was read is dropped after each piece.
        Dropped,
        /// As this crate does it: with `RWF_DONTCACHE` (Linux 6.14 and later).
        Once,
        /// The same, without reading ahead.
        OnceRandom,
        /// What is in the page cache from there, and the rest dropped after each piece; without reading ahead.
        Probed,
        /// Past the page cache, to memory that begins at a page.
        Direct,
    }

    const WAYS: [Way; 7] = [
        Way::Cached,
        Way::NoReuse,
        Way::Dropped,
        Way::Once,
        Way::OnceRandom,
        Way::Probed,
        Way::Direct,
    ];

    fn open(way: Way, path: &Path) -> io::Result<File> {
        let flags = match way {
            Way::Direct => OFlags::RDONLY | OFlags::DIRECT,
            _ => OFlags::RDONLY,
        };
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        match way {
            Way::NoReuse => fadvise(&file, 0, None, Advice::NoReuse)?,
            Way::OnceRandom | Way::Probed => fadvise(&file, 0, None, Advice::Random)?,
            Way::Cached | Way::Dropped | Way::Once | Way::Direct => {}
        }
        Ok(file)
    }

    fn read(way: Way, file: &File, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        match way {
            Way::Cached | Way::NoReuse | Way::Direct => file.read_exact_at(buffer, at),
            Way::Once | Way::OnceRandom => read_once(file, at, buffer),
            Way::Dropped => read_and_drop(file, at, buffer),
            Way::Probed => {
                let cached = read_cached(file, at, buffer);
                match &mut buffer[cached..] {
                    [] => Ok(()),
                    rest => read_and_drop(file, at + cached as u64, rest),
                }
            }
        }
    }

    /// Reads what is in the page cache from the beginning on; how much that was.
    fn read_cached(file: &File, at: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let rest = &mut [IoSliceMut::new(&mut buffer[done..])];
            match preadv2(file, rest, at + done as u64, ReadWriteFlags::NOWAIT) {
                Ok(count) if count > 0 => done += count,
                _ => break,
            }
        }
        done
    }

    fn read_and_drop(file: &File, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        file.read_exact_at(buffer, at)?;
        Ok(fadvise(file, at, NonZeroU64::new(buffer.len() as u64), Advice::DontNeed)?)
    }

    /// Seconds of the processor that this process has used.
    fn processor() -> f64 {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
    }

    /// Bytes that this process had read from a disk.
    fn from_disk() -> f64 {
        let text = fs::read_to_string("/proc/self/io").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("read_bytes: "));
        line.and_then(|count| count.parse().ok()).unwrap_or(0.0)
    }

    /// Part of a file that is in the page cache.
    fn resident(path: &Path, len: u64) -> io::Result<f64> {
        let (file, mut byte, mut found) = (File::open(path)?, [0], 0.0);
        fadvise(&file, 0, None, Advice::Random)?;
        for at in (0..len).step_by(PAGE) {
            let bytes = &mut [IoSliceMut::new(&mut byte)];
            found += f64::from(preadv2(&file, bytes, at, ReadWriteFlags::NOWAIT).is_ok());
        }
        Ok(found * PAGE as f64 / len as f64)
    }

    fn drop_all(path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        file.sync_all()?;
        Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
    }

    /// MiB/s, seconds a GiB, bytes from the disk for each byte, and the part in the page cache then.
    fn pass(path: &Path, way: Way, len: u64) -> io::Result<[f64; 4]> {
        let file = open(way, path)?;
        let next = AtomicU64::new(0);
        let (begun, used, came) = (Instant::now(), processor(), from_disk());
        let work = || {
            let mut pages = PageBuf::zeroed(PIECE);
            loop {
                let at = next.fetch_add(PIECE as u64, Ordering::Relaxed);
                if at >= len {
                    return Ok::<_, io::Error>(());
                }
                read(way, &file, at, &mut pages)?;
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
        })?;
        let mib = len as f64 / f64::from(1 << 20);
        let speed = mib / begun.elapsed().as_secs_f64();
        let seconds = (processor() - used) / mib * 1024.0;
        let came = (from_disk() - came) / len as f64;
        drop(file);
        Ok([speed, seconds, came, resident(path, len)?])
    }

    fn median(rows: &[[f64; 4]], column: usize) -> f64 {
        let mut values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    pub(crate) fn run() -> Result<(), Box<dyn Error>> {
        let mut arguments = std::env::args().skip(1);
        let dir = PathBuf::from(arguments.next().ok_or("bench_reads DIR [MIB] [ROUNDS]")?);
        let mib = arguments.next().map_or(Ok(1024), |mib| mib.parse::<u64>())?;
        let rounds = arguments.next().map_or(Ok(3), |rounds| rounds.parse::<usize>())?.max(1);
        let dir = tempfile::tempdir_in(dir)?;
        let path = dir.path().join("file");
        let mut file = File::create_new(&path)?;
        for piece in 0..mib {
            file.write_all(&vec![(piece % 251) as u8; PIECE])?;
        }
        drop(file);
        let mut figures = vec![[const { Vec::new() }; 2]; WAYS.len()];
        for _ in 0..rounds {
            for (way, figures) in WAYS.into_iter().zip(&mut figures) {
                drop_all(&path)?;
                figures[0].push(pass(&path, way, mib << 20)?);
                let (cached, mut piece) = (File::open(&path)?, vec![0; PIECE]);
                (0..mib).try_for_each(|at| cached.read_exact_at(&mut piece, at << 20))?;
                figures[1].push(pass(&path, way, mib << 20)?);
            }
        }
        let head = ["MiB/s", "CPU s/GiB", "from disk", "cached"];
        println!("{:<16} {:>8} {:>10} {:>10} {:>8}", "way", head[0], head[1], head[2], head[3]);
        for (way, figures) in WAYS.into_iter().zip(figures) {
            for (what, rows) in ["cold", "warm"].into_iter().zip(figures) {
                let [speed, seconds, came, cached] =
                    [0, 1, 2, 3].map(|column| median(&rows, column));
                let name = format!("{way:?}, {what}");
                println!("{name:<16} {speed:>8.0} {seconds:>10.2} {came:>10.2} {cached:>8.2}");
            }
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    ways::run()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("only Linux says what is in its page cache");
}
