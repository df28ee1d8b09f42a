//! Comparing a file of the disk with a version of the stash, without a byte of the version: sealing gives the
//! same bytes the same address.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use stash_crypto::ChunkRef;
use stash_crypto::chunk::CHUNK_OVERHEAD;

use super::error::GetError;
use super::opened::Opened;
use crate::progress::Progress;
use crate::vault::Inner;

impl Inner {
    /// True if the file has the bytes of the version. One that cannot be read has not. Blocking.
    pub(super) fn has_content(
        &self,
        opened: &Opened,
        file: &File,
        progress: &Progress,
    ) -> Result<bool, GetError> {
        let Opened { version, plan, .. } = opened;
        if let Some(bytes) = &version.meta.inline {
            return Ok(has_bytes(file, bytes).unwrap_or(false));
        }
        let mut stored = opened.stored(0..plan.chunks()).into_iter().peekable();
        let mut sealer = Sealer { inner: self, newest: version.record.clear().epoch, last: None };
        let mut buffer = Vec::new();
        for index in 0..plan.chunks() {
            if progress.cancelled() {
                return Err(GetError::Cancelled);
            }
            let chunk = stored.next_if(|(place, _)| *place == index).map(|(_, chunk)| chunk);
            let fill = |buffer: &mut Vec<u8>| {
                buffer.clear();
                buffer.resize(plan.sealed_len(index), 0);
                let end = CHUNK_OVERHEAD + plan.plain_len(index) as usize;
                file.read_exact_at(&mut buffer[CHUNK_OVERHEAD..end], plan.offset(index))
            };
            let same = match chunk {
                None => fill(&mut buffer).is_ok() && buffer.iter().all(|byte| *byte == 0),
                Some(chunk) => sealer.seals_to(chunk, &mut buffer, fill),
            };
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Seals with the keys of the epochs in which a chunk of the version may have been sealed.
struct Sealer<'a> {
    inner: &'a Inner,
    newest: u32,
    /// The epoch of the chunk before: most likely that of the next one.
    last: Option<u32>,
}

impl Sealer<'_> {
    fn seals_to(
        &mut self,
        chunk: ChunkRef,
        buffer: &mut Vec<u8>,
        fill: impl Fn(&mut Vec<u8>) -> io::Result<()>,
    ) -> bool {
        let epochs = self.last.into_iter().chain((0..=self.newest).rev());
        for epoch in epochs {
            let Some(keys) = self.inner.keys.epoch(epoch) else { continue };
            if fill(buffer).is_err() {
                return false;
            }
            let sealed = keys.chunks.seal_in_place(buffer);
            if sealed.is_ok_and(|sealed| sealed.address == chunk.address) {
                self.last = Some(epoch);
                return true;
            }
        }
        false
    }
}

/// True if these are all bytes of the file.
pub(super) fn has_bytes(mut file: &File, bytes: &[u8]) -> io::Result<bool> {
    let mut has = vec![0; bytes.len() + 1];
    let mut len = 0;
    while len < has.len() {
        match file.read(&mut has[len..])? {
            0 => break,
            more => len += more,
        }
    }
    Ok(has[..len] == *bytes)
}
