//! The content of a configuration file, and reading it.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::hours::Hours;
use crate::error::{Class, Problem};
use crate::units::{Keep, Percent, Place, Size, Span, Speed};

/// Bytes of a configuration file; far above any that makes sense.
pub(super) const FILE_MAX: u64 = 256 * 1024;

/// The content of a configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) data_dir: Option<PathBuf>,
    pub(super) socket: Option<PathBuf>,
    pub(super) listen: Option<Vec<Place>>,
    pub(super) advertise: Option<Vec<Place>>,
    pub(super) name: Option<String>,
    pub(super) log: Option<String>,
    pub(super) passphrase_file: Option<PathBuf>,
    pub(super) create: Option<bool>,
    pub(super) keep: Option<Keep>,
    pub(super) network: NetworkFile,
    pub(super) notify: NotifyFile,
    pub(super) quota: QuotaFile,
    pub(super) gc: GcFile,
    pub(super) scrub: ScrubFile,
    pub(super) repair: RepairFile,
    pub(super) retention: RetentionFile,
}

/// `[network]` of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkFile {
    pub(super) bwlimit_up: Option<Speed>,
    pub(super) bwlimit_down: Option<Speed>,
    pub(super) background_down: Option<Speed>,
    pub(super) hours: Option<Vec<Hours>>,
    pub(super) limit_lan: Option<bool>,
    pub(super) discovery: Option<bool>,
}

/// `[notify]` of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifyFile {
    pub(super) command: Option<Vec<String>>,
    pub(super) grace: Option<Span>,
    pub(super) absent: Option<Span>,
}

/// `[quota]` of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuotaFile {
    pub(super) soft: Option<Size>,
    pub(super) hard: Option<Size>,
    pub(super) reserve: Option<Size>,
}

/// `[gc]` of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GcFile {
    pub(super) interval: Option<Span>,
    pub(super) grace: Option<Span>,
}

/// `[scrub]` of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScrubFile {
    pub(super) share: Option<Percent>,
    pub(super) interval: Option<Span>,
}

/// `[repair]` of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RepairFile {
    pub(super) interval: Option<Span>,
    pub(super) grace: Option<Span>,
    pub(super) lapse: Option<Span>,
    pub(super) copies: Option<u32>,
    pub(super) challenge: Option<Span>,
}

/// `[retention]` of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RetentionFile {
    pub(super) age: Option<Span>,
    pub(super) versions: Option<u32>,
    pub(super) forget_at_once: Option<bool>,
}

/// `None` if there is no such file.
pub(super) fn read_file(path: &Path) -> Result<Option<File>, Problem> {
    let cannot = |e: std::io::Error| {
        Problem::new(Class::Unreadable, format!("cannot read {}: {e}", path.display()))
    };
    let mut bytes = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => {
            file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => return Ok(None),
        Err(e) => return Err(cannot(e)),
    }
    if bytes.len() as u64 > FILE_MAX {
        let message = format!("{} has more than {FILE_MAX} bytes", path.display());
        return Err(Problem::usage(message));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let read = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = 1 + read.iter().filter(|byte| **byte == b'\n').count();
        Problem::usage(format!("{}, line {line}: a byte that is no UTF-8", path.display()))
    })?;
    parse(path, &text).map(Some)
}

/// The parser's own message names line, column and key.
pub(super) fn parse(path: &Path, text: &str) -> Result<File, Problem> {
    toml::from_str(text).map_err(|e| {
        Problem::usage(format!("{}: {}", path.display(), e.to_string().trim_end()))
            .hint("correct that line; `stash config show --config /dev/null` lists every setting")
    })
}
