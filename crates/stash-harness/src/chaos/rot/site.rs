//! Where a bit is flipped: every file of a node, at places that mean something and at random ones.

use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rand::RngExt;
use rand::rngs::StdRng;

use super::verdict::Verdict;
use crate::chaos::rot::stash::files_below;

/// The purpose of a file, which says how damage in it may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Format,
    Log,
    Index,
    Chunk,
    Scrub,
    Ballast,
    Keyring,
    Opens,
    Members,
    Names,
    Tags,
    Config,
    /// The list of data directories, outside of them.
    Known,
}

impl Kind {
    /// The kind of a file by its path below a node's directory; `None` for those that are always empty.
    fn of(path: &Path) -> Result<Option<Self>> {
        let text = path.to_str().context("a path that is not UTF-8")?;
        Ok(Some(match text.strip_prefix("data/").unwrap_or(text) {
            "store/FORMAT" => Self::Format,
            "store/SCRUB" => Self::Scrub,
            "keyring" => Self::Keyring,
            "opens" => Self::Opens,
            "members" => Self::Members,
            "home/stash/data-directories" => Self::Known,
            "lock" | "store/LOCK" => return Ok(None),
            path if path.starts_with("store/log/") => Self::Log,
            path if path.starts_with("store/index/") => Self::Index,
            path if path.starts_with("store/chunks/") => Self::Chunk,
            path if path.starts_with("names/") => Self::Names,
            path if path.starts_with("tags/") => Self::Tags,
            path if path.starts_with("store/BALLAST") => Self::Ballast,
            path if path.ends_with("config.toml") => Self::Config,
            _ => bail!("{text} is no file that is known here: say what damage in it may do"),
        }))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Format => "store/FORMAT",
            Self::Log => "store/log",
            Self::Index => "store/index",
            Self::Chunk => "store/chunks",
            Self::Scrub => "store/SCRUB",
            Self::Ballast => "store/BALLAST",
            Self::Keyring => "keyring",
            Self::Opens => "opens",
            Self::Members => "members",
            Self::Names => "names",
            Self::Tags => "tags",
            Self::Config => "config.toml",
            Self::Known => "data-directories",
        }
    }

    /// Fails if damage in a file of this kind may not end so.
    pub(super) fn allows(self, verdict: &Verdict) -> Result<()> {
        let allowed = match verdict {
            Verdict::Healed | Verdict::Named => {
                !matches!(self, Self::Ballast | Self::Keyring | Self::Config)
            }
            Verdict::Refused => matches!(self, Self::Format | Self::Keyring | Self::Config),
            // A ballast means nothing; what the list names no more is noted anew at the next start; a block of an index may not be asked for; a changed value that can still be
            // read is believed: there is nothing to check a configuration against.
            Verdict::Unnoticed => {
                matches!(
                    self,
                    Self::Ballast | Self::Names | Self::Tags | Self::Config | Self::Known
                )
            }
        };
        ensure!(allowed, "it was {}", verdict.word());
        Ok(())
    }
}

/// A bit of a file.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) kind: Kind,
    /// Below the node's directory.
    pub(super) path: PathBuf,
    pub(super) what: String,
    pub(super) at: u64,
    bit: u8,
}

impl Display for Site {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { path, what, at, bit, .. } = self;
        write!(f, "{}, {what}, bit {bit} of byte {at}", path.display())
    }
}

impl Site {
    /// Flips the bit in the node's directory.
    pub(super) fn flip(&self, home: &Path) -> Result<()> {
        let path = home.join(&self.path);
        let file = File::options().read(true).write(true).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, self.at)?;
        byte[0] ^= 1 << self.bit;
        file.write_all_at(&byte, self.at)?;
        Ok(())
    }
}

/// Every site below `home`: the first, a middle and the last byte of every file, `flips` random ones, and what
/// [`entries`] finds in the log.
pub(super) fn all(home: &Path, flips: u32, rng: &mut StdRng) -> Result<Vec<Site>> {
    let mut sites = vec![];
    for path in files_below(home)? {
        let relative = path.strip_prefix(home)?.to_path_buf();
        let bytes = fs::read(&path)?;
        let Some(kind) = Kind::of(&relative)? else {
            ensure!(bytes.is_empty(), "{} is not empty", relative.display());
            continue;
        };
        let mut site = |what: &str, at: usize, rng: &mut StdRng| {
            let (path, bit) = (relative.clone(), rng.random_range(0..8));
            sites.push(Site { kind, path, what: what.into(), at: at as u64, bit });
        };
        if bytes.is_empty() {
            continue;
        }
        for (what, at) in [("first", 0), ("middle", bytes.len() / 2), ("last", bytes.len() - 1)] {
            site(what, at, rng);
        }
        for _ in 0..flips {
            site("random", place(&bytes, rng), rng);
        }
        if kind == Kind::Log {
            for (what, from, to) in entries(&bytes)? {
                site(&what, rng.random_range(from..to), rng);
            }
        }
    }
    Ok(sites)
}

/// A random place, in half of the cases one that is not zero: much of a ballast is.
fn place(bytes: &[u8], rng: &mut StdRng) -> usize {
    let any = rng.random_range(0..bytes.len());
    let from = if rng.random_bool(0.5) { any } else { return any };
    (from..bytes.len()).find(|at| bytes[*at] != 0).unwrap_or(any)
}

/// Parts of a segment, by the document of the format (B.4, B.5): its header, its copy of FORMAT, and of the last entry of
/// each kind (of rows, of each kind of key) header, body and padding.
fn entries(segment: &[u8]) -> Result<Vec<(String, usize, usize)>> {
    let mut found =
        vec![("segment header".to_owned(), 0, 128), ("copy of FORMAT".into(), 128, 256)];
    let mut last = std::collections::BTreeMap::new();
    let mut at = 256;
    while at + 32 <= segment.len() {
        let header = &segment[at..at + 32];
        let len =
            usize::try_from(u32::from_le_bytes([header[0], header[1], header[2], header[3]]))?;
        let body = segment.get(at + 32..at + 32 + len).context("an entry beyond its segment")?;
        last.insert(name_of(header[4], body), (at, len));
        at = (at + 32 + len).next_multiple_of(8);
    }
    ensure!(
        last.len() > 5,
        "the log has {} kinds of entries, so few that it was misread",
        last.len()
    );
    for (name, (at, len)) in last {
        found.push((format!("header of {name}"), at, at + 32));
        let (from, to) = (at + 32, at + 32 + len);
        if len > 0 {
            found.push((format!("body of {name}"), from, to));
        }
        if to % 8 != 0 && to.next_multiple_of(8) <= segment.len() {
            found.push((format!("padding of {name}"), to, to.next_multiple_of(8)));
        }
    }
    Ok(found)
}

fn name_of(kind: u8, body: &[u8]) -> String {
    let row = |what: &str| {
        let key = body.get(2..).unwrap_or_default();
        let word = key.iter().take_while(|byte| byte.is_ascii_lowercase() || **byte == b'/');
        format!("{what} {}", String::from_utf8_lossy(&word.copied().collect::<Vec<u8>>()))
    };
    match kind {
        1 => "a record".into(),
        2 => "a small chunk".into(),
        3 => "a file chunk".into(),
        5 => row("the row"),
        6 => row("the removal of the row"),
        9 => "an evict".into(),
        11 => "an open".into(),
        12 => "the last mark".into(),
        18 => "an uptime".into(),
        other => format!("an entry of kind {other}"),
    }
}
