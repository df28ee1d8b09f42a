//! The floor under a transfer: the same work as a put and a get over three nodes, in straight-line code.
//!
//! `floor put SOURCE DIR [--direct]`: read, tag and seal each chunk once, write the own copy, encrypt it for each of two links, send
//! it over loopback to two receiving processes, which decrypt, hash, write, sync and answer. With
//! `--direct` all three copies are written past the page cache, into room that is reserved before.
//! `floor get DIR OUTPUT [--keep]`: two holding processes send half of the chunks each, encrypted for the link; they are
//! decrypted, hashed, opened and written, and with `--keep` the sealed copy is written and synced as well.
//!
//! Each prints `{"seconds": …}`, from connected links to the last answer. It has no records, no index, no retries and no
//! listing: what stash does beyond this is its overhead. `cargo xtask bench transfer` runs it between its own rounds.

mod block;
mod get;
mod link;
mod put;
mod seal;

use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};

use crate::block::Form;

/// Receivers of a put and holders of a get: three copies with the sender's own.
const LINKS: usize = 2;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let took = match words.as_slice() {
        ["put", source, dir] => {
            put::put(Path::new(source), Path::new(dir), Form::Cached, Workers::Processes)?
        }
        ["put", source, dir, "--direct"] => {
            let form = Form::direct(fs::metadata(source)?.len());
            put::put(Path::new(source), Path::new(dir), form, Workers::Processes)?
        }
        ["get", dir, output] => {
            get::get(Path::new(dir), Path::new(output), false, Workers::Processes)?
        }
        ["get", dir, output, "--keep"] => {
            get::get(Path::new(dir), Path::new(output), true, Workers::Processes)?
        }
        ["worker", port, job @ ..] => return Job::parse(job)?.run(port.parse()?),
        _ => bail!("usage: floor put SOURCE DIR [--direct] | floor get DIR OUTPUT [--keep]"),
    };
    writeln!(stdout(), "{{\"seconds\": {}}}", took.as_secs_f64())?;
    Ok(())
}

/// The other end of a link.
#[derive(Debug, Clone)]
enum Job {
    Receive { link: usize, file: PathBuf, form: Form },
    Hold { link: usize, file: PathBuf },
}

impl Job {
    fn parse(words: &[&str]) -> Result<Self> {
        let [kind, link, file, rest @ ..] = words else { bail!("a worker needs KIND LINK FILE") };
        let (link, file) = (link.parse()?, PathBuf::from(file));
        match (*kind, rest) {
            ("receive", []) => Ok(Self::Receive { link, file, form: Form::Cached }),
            ("receive", [bytes]) => {
                Ok(Self::Receive { link, file, form: Form::Direct { bytes: bytes.parse()? } })
            }
            ("hold", []) => Ok(Self::Hold { link, file }),
            _ => bail!("unknown worker {kind}"),
        }
    }

    fn words(&self) -> Vec<String> {
        let (kind, link, file) = match self {
            Self::Receive { link, file, .. } => ("receive", link, file),
            Self::Hold { link, file } => ("hold", link, file),
        };
        let mut words = vec![kind.into(), link.to_string(), file.display().to_string()];
        if let Self::Receive { form: Form::Direct { bytes }, .. } = self {
            words.push(bytes.to_string());
        }
        words
    }

    fn run(self, port: u16) -> Result<()> {
        match self {
            Self::Receive { link, file, form } => put::receive(port, link, &file, form),
            Self::Hold { link, file } => get::hold(port, link, &file),
        }
    }
}

/// Kinds of the other ends: processes to measure, threads under test.
#[derive(Debug, Clone, Copy)]
enum Workers {
    Processes,
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests run the other ends as threads"))]
    Threads,
}

enum Worker {
    Process(Child),
    Thread(JoinHandle<Result<()>>),
}

impl Workers {
    fn start(self, port: u16, job: Job) -> Result<Worker> {
        Ok(match self {
            Self::Processes => {
                let mut command = Command::new("/proc/self/exe");
                command.arg("worker").arg(port.to_string()).args(job.words());
                Worker::Process(command.spawn().context("cannot start a worker")?)
            }
            Self::Threads => Worker::Thread(thread::spawn(move || job.run(port))),
        })
    }
}

impl Worker {
    fn finish(self) -> Result<()> {
        match self {
            Self::Process(mut child) => match child.wait()? {
                status if status.success() => Ok(()),
                status => bail!("a worker failed: {status}"),
            },
            Self::Thread(thread) => {
                thread.join().map_err(|_| anyhow::anyhow!("a worker panicked"))?
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight whole chunks, and a size that ends inside a chunk.
    const SIZES: [usize; 3] = [8 << 20, (3 << 20) + 12_345, 1];

    fn bytes(size: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        };
        (0..size).map(|_| next()).collect()
    }

    #[test]
    fn what_is_put_has_three_equal_sealed_copies_and_comes_back() {
        for size in SIZES {
            let dir = tempfile::tempdir().unwrap();
            let (source, output) = (dir.path().join("source"), dir.path().join("output"));
            let plain = bytes(size);
            fs::write(&source, &plain).unwrap();
            put::put(&source, dir.path(), Form::Cached, Workers::Threads).unwrap();
            let copies: Vec<Vec<u8>> =
                (0..=LINKS).map(|n| fs::read(put::copy(dir.path(), n)).unwrap()).collect();
            assert!(copies.iter().all(|copy| *copy == copies[0]));
            assert_eq!(copies[0].len(), size + size.div_ceil(seal::CHUNK) * seal::OVERHEAD);
            assert!(size < 100 || !copies[0].windows(32).any(|window| window == &plain[..32]));
            for keep in [false, true] {
                get::get(dir.path(), &output, keep, Workers::Threads).unwrap();
                assert_eq!(fs::read(&output).unwrap(), plain, "size {size}, keep {keep}");
            }
            assert_eq!(fs::read(dir.path().join("kept")).unwrap(), copies[0]);
        }
    }

    /// Where the build lies: the place of temporary files may take no direct writes.
    fn beside_the_build() -> tempfile::TempDir {
        let program = std::env::current_exe().unwrap();
        tempfile::tempdir_in(program.parent().unwrap()).unwrap()
    }

    #[test]
    fn a_direct_put_has_the_chunks_of_a_cached_one_each_at_a_page() {
        for size in SIZES {
            let dirs = [beside_the_build(), beside_the_build()];
            let source = dirs[0].path().join("source");
            fs::write(&source, bytes(size)).unwrap();
            let forms = [Form::Cached, Form::direct(size as u64)];
            for (dir, form) in dirs.iter().zip(forms) {
                put::put(&source, dir.path(), form, Workers::Threads).unwrap();
            }
            let read = |dir: usize, n| fs::read(put::copy(dirs[dir].path(), n)).unwrap();
            let step = seal::OVERHEAD + seal::CHUNK;
            for n in 0..=LINKS {
                let (cached, direct) = (read(0, n), read(1, n));
                assert_eq!(direct.len(), size.div_ceil(seal::CHUNK) * block::ROOM);
                for (chunk, room) in cached.chunks(step).zip(direct.chunks(block::ROOM)) {
                    assert_eq!(&room[..chunk.len()], chunk, "size {size}, copy {n}");
                    assert!(room[chunk.len()..].iter().all(|byte| *byte == 0));
                }
            }
        }
    }

    #[test]
    fn workers_are_told_which_form_a_copy_has() {
        let file = PathBuf::from("copy");
        for form in [Form::Cached, Form::Direct { bytes: 7 }] {
            let job = Job::Receive { link: 1, file: file.clone(), form };
            let words = job.words();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert_eq!(format!("{:?}", Job::parse(&words).unwrap()), format!("{job:?}"));
        }
    }

    #[test]
    fn a_damaged_copy_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::write(&source, bytes(2 << 20)).unwrap();
        put::put(&source, dir.path(), Form::Cached, Workers::Threads).unwrap();
        let copy = put::copy(dir.path(), 1);
        let mut sealed = fs::read(&copy).unwrap();
        sealed[500_000] ^= 1;
        fs::write(&copy, sealed).unwrap();
        assert!(get::get(dir.path(), &dir.path().join("output"), false, Workers::Threads).is_err());
    }
}
