//! The directory of the files of blobs: whether it is there, and this store's own.
//!
//! A file that is not found says that a blob is lost only while the directory is the one that the
//! store has always had. A directory that is not there, or another one in its place (a disk that is not
//! mounted, a backup half put back), says nothing of any blob: the store is *away*, and judges none.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Identity, OpenMode};
use crate::error::{Away, is_misplaced, is_stale, is_unreadable};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, lock};
use crate::{Address, Disk, IoError};

/// The file in the directory that says whose it is. It sorts behind every directory of digits.
pub(crate) const MARKER: &str = "store-id";
const MAGIC: &[u8; 16] = b"stash-store dir\n";
/// Bytes of the marker: magic, store id, BLAKE3 of both.
const MARKER_LEN: usize = 64;
/// Blobs in a row that the disk fails to read before it, and not they, is held to be at fault: a bad
/// place on a disk takes one, a disk that drops out takes all.
const STRIKES: u64 = 8;

/// The content of the marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Marker {
    Right,
    Missing,
    /// Of the store with this id.
    Other([u8; 16]),
    /// There, and no marker: by rot. Where it lies says more than what it says.
    Damaged(String),
}

/// Why it is away.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    /// It is not there, or not this one: it is back once it is found again.
    Gone(String),
    /// The disk reads nothing: it is back once some blob can be read.
    Sick(String),
}

/// The directory, as of the last look.
#[derive(Debug)]
pub(crate) struct ChunkDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    store_id: [u8; 16],
    state: Mutex<State>,
    /// Blobs in a row that the disk failed to read.
    strikes: AtomicU64,
    departures: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Where it lay when it was first found. In memory only: devices are numbered anew at each boot.
    device: Option<u64>,
    /// The marker as it was when it was last read and found right.
    marker: Option<Identity>,
    away: Option<Cause>,
    /// The blob after which the next one is tried while the disk reads nothing.
    tried: Option<Address>,
}

impl ChunkDir {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf, store_id: [u8; 16]) -> ChunkDir {
        let (state, strikes, departures) = Default::default();
        ChunkDir { disk, path, store_id, state, strikes, departures }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the marker lies, and its bytes.
    pub(crate) fn right_marker(&self) -> (PathBuf, Vec<u8>) {
        (self.path.join(MARKER), encode(&self.store_id))
    }

    /// Reads the marker.
    pub(crate) fn marker(&self) -> Result<Marker, IoError> {
        let path = self.path.join(MARKER);
        read(&*self.disk, &path, &self.store_id).map_err(|e| IoError::new("read", &path, e))
    }

    /// Looks whether the directory is there and the one that it was: three system calls if it is.
    pub(crate) fn look(&self) -> Result<(), Away> {
        let marker = self.disk.identity(&self.path.join(MARKER)).unwrap_or_default();
        if marker.is_some() && self.is_as_it_was(marker) {
            return Ok(());
        }
        let found = self.found();
        let is_right = matches!(found, Ok((_, Marker::Right)));
        let found = found.map(|(device, _)| device);
        let mut state = lock(&self.state);
        let found = found.and_then(|device| match state.device {
            Some(known) if known != device => {
                Err("it lies on another device than before".to_owned())
            }
            _ => Ok(device),
        });
        let cause = match (found, &state.away) {
            (Err(why), _) => Some(Cause::Gone(why)),
            (Ok(_), Some(sick @ Cause::Sick(_))) => Some(sick.clone()),
            (Ok(device), _) => {
                state.device = Some(device);
                // What was read is this one or a later one, which it then is not equal to.
                state.marker = marker.filter(|_| is_right);
                None
            }
        };
        self.changes(&mut state, cause)
    }

    /// True if the directory was there at the last look, with this marker.
    fn is_as_it_was(&self, marker: Option<Identity>) -> bool {
        let state = lock(&self.state);
        state.away.is_none() && state.marker == marker
    }

    fn found(&self) -> Result<(u64, Marker), String> {
        let device = self.disk.device(&self.path).map_err(|error| in_words(&error))?;
        match self.marker().map_err(|error| in_words(&error.source))? {
            // The device tells, too, and chunk files, if they cannot be read.
            marker @ (Marker::Right | Marker::Damaged(_)) => Ok((device, marker)),
            Marker::Missing => Err(format!("{MARKER}, which marks it, is not in it")),
            Marker::Other(id) => Err(format!("it is that of store {}", crate::hex::encode(&id))),
        }
    }

    fn changes(&self, state: &mut State, cause: Option<Cause>) -> Result<(), Away> {
        if state.away.is_some() != cause.is_some() {
            match &cause {
                Some(cause) => {
                    self.departures.fetch_add(1, Ordering::AcqRel);
                    tracing::error!("{}: no chunk is judged until it is back", self.away(cause));
                }
                None => tracing::warn!(dir = %self.path.display(), "the directory is back"),
            }
        }
        state.away = cause;
        state.away.as_ref().map_or(Ok(()), |cause| Err(self.away(cause)))
    }

    fn away(&self, cause: &Cause) -> Away {
        let (Cause::Gone(why) | Cause::Sick(why)) = cause;
        Away { dir: self.path.clone(), why: why.clone() }
    }

    /// The result of the last look, if the directory is away.
    pub(crate) fn is_away(&self) -> Option<Away> {
        let state = lock(&self.state);
        state.away.as_ref().map(|cause| self.away(cause))
    }

    /// The blob after which to try one, if the disk reads nothing.
    pub(crate) fn is_sick(&self) -> Option<Option<Address>> {
        let state = lock(&self.state);
        matches!(state.away, Some(Cause::Sick(_))).then_some(state.tried)
    }

    pub(crate) fn tried(&self, address: Option<Address>) {
        lock(&self.state).tried = address;
    }

    /// The number of times that it went away since the store was opened.
    pub(crate) fn departures(&self) -> u64 {
        self.departures.load(Ordering::Acquire)
    }

    /// A blob was read.
    pub(crate) fn could_read(&self) {
        if self.strikes.load(Ordering::Relaxed) > 0 {
            self.strikes.store(0, Ordering::Relaxed);
        }
    }

    /// The disk failed to read a blob: `Err` if it fails too often to blame the blob for it.
    pub(crate) fn could_not_read(&self, error: &IoError) -> Result<(), Away> {
        if self.strikes.fetch_add(1, Ordering::Relaxed) + 1 < STRIKES {
            return Ok(());
        }
        let why =
            format!("the disk failed to read {STRIKES} chunks in a row, the last with {error}");
        let mut state = lock(&self.state);
        self.changes(&mut state, Some(Cause::Sick(why)))
    }

    /// The disk reads again.
    pub(crate) fn recovered(&self) {
        self.could_read();
        let mut state = lock(&self.state);
        if matches!(state.away, Some(Cause::Sick(_))) {
            // It is there: that was looked at before a blob was tried.
            let _ = self.changes(&mut state, None);
        }
    }
}

/// True for errors that say nothing of the file that was asked for.
pub(crate) fn is_of_the_disk(error: &io::Error) -> bool {
    is_unreadable(error) || is_stale(error)
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such directory".to_owned(),
        _ if is_misplaced(error) => "something else, such as a link, is in its place".to_owned(),
        _ => error.to_string(),
    }
}

fn encode(store_id: &[u8; 16]) -> Vec<u8> {
    let mut bytes = [&MAGIC[..], store_id].concat();
    let sum = blake3::hash(&bytes);
    bytes.extend_from_slice(sum.as_bytes());
    bytes
}

fn read(disk: &dyn Disk, path: &Path, store_id: &[u8; 16]) -> io::Result<Marker> {
    let damaged = |what: &dyn std::fmt::Display| Ok(Marker::Damaged(what.to_string()));
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Marker::Missing),
        Err(error) if is_unreadable(&error) => return damaged(&error),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; MARKER_LEN];
    match file.len().and_then(|len| file.read_at(0, &mut bytes).map(|()| len)) {
        Ok(len) if len == MARKER_LEN as u64 => {}
        Ok(len) => return damaged(&format!("it has {len} bytes")),
        Err(error) if is_stale(&error) => return Err(error),
        Err(error) => return damaged(&error),
    }
    let id: [u8; 16] = bytes[16..32].try_into().expect("16 bytes");
    if bytes != *encode(&id) {
        return damaged(&"its checksum does not match");
    }
    Ok(if id == *store_id { Marker::Right } else { Marker::Other(id) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_is_what_the_format_document_says() {
        let bytes = encode(&[0xab; 16]);
        assert_eq!(bytes[..16], *b"stash-store dir\n");
        assert_eq!(bytes[16..32], [0xab; 16]);
        // Computed by another program (in Python) from `docs/format.md` B.1.
        let sum = "981125cc4418ab3e289bb971f8b59f956ef63c6613a65c6b582acf75129540da";
        assert_eq!(crate::hex::encode(&bytes[32..]), sum);
        assert_eq!(bytes.len(), MARKER_LEN);
    }
}
