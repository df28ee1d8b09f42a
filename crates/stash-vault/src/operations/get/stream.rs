//! A file, or a range of it, as a stream of verified plaintext.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use stash_crypto::chunk::CHUNK_OVERHEAD;
use stash_crypto::record::FileType;
use stash_crypto::{ChunkRef, Key, Meta};
use stash_server::{Buffer, Fetch, FetchError};

use super::error::GetError;
use super::opened::{Opened, unfetched};
use crate::blocking::blocking;
use crate::model::version::Version;
use crate::model::version_id::VersionId;
use crate::vault::{Inner, Vault};

/// A file being read: its meta, and a stream of plaintext. A byte is released only after the tag
/// of its chunk was verified; when a later chunk fails, the stream ends with the error.
pub struct Reading {
    meta: Meta,
    range: Range<u64>,
    siblings: usize,
    stream: BoxStream<'static, Result<Bytes, GetError>>,
}

impl Reading {
    /// The metadata of the file.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Concurrent versions beside the head that is read; 0 of any other version.
    #[must_use]
    pub fn conflicts(&self) -> usize {
        self.siblings
    }

    /// Which bytes of the file the stream gives.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("range", &self.range).finish_non_exhaustive()
    }
}

impl Stream for Reading {
    type Item = Result<Bytes, GetError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_next_unpin(cx)
    }
}

impl Vault {
    /// Reads a file, or the bytes of `range` that it has. With `keep`, fetched chunks stay here.
    pub async fn read(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        keep: bool,
    ) -> Result<Reading, GetError> {
        let head = self.inner.head(key).await?;
        self.inner.reading(head, range, keep).await
    }

    /// Reads one version of a file, likewise.
    pub async fn read_version(
        &self,
        key: &Key,
        version: &VersionId,
        range: Option<Range<u64>>,
        keep: bool,
    ) -> Result<Reading, GetError> {
        let version = self.inner.version(key, version).await?;
        self.inner.reading(version, range, keep).await
    }
}

impl Inner {
    async fn reading(
        self: &Arc<Self>,
        version: Version,
        range: Option<Range<u64>>,
        keep: bool,
    ) -> Result<Reading, GetError> {
        let (meta, siblings) = (version.meta.clone(), version.standing.siblings());
        match meta.file_type {
            FileType::Regular => {}
            FileType::Link => return Err(GetError::IsLink { key: meta.key }),
            FileType::Directory => return Err(GetError::IsTree { key: meta.key }),
        }
        let range = clamp(range, meta.size)?;
        let stream = if let Some(bytes) = &meta.inline {
            let at = |offset: u64| usize::try_from(offset).unwrap_or(bytes.len());
            let part = Bytes::copy_from_slice(&bytes[at(range.start)..at(range.end)]);
            stream::iter((!part.is_empty()).then_some(Ok(part))).boxed()
        } else {
            let opened = self.opened(version).await?;
            if keep {
                self.want(&opened.version).await?;
            }
            chunks(Arc::clone(self), opened, range.clone(), keep)
        };
        Ok(Reading { meta, range, siblings, stream })
    }
}

/// The part of the range that the file has.
fn clamp(range: Option<Range<u64>>, size: u64) -> Result<Range<u64>, GetError> {
    let Some(range) = range else {
        return Ok(0..size);
    };
    if range.start > size || (range.start == size && size > 0) || range.start > range.end {
        return Err(GetError::Range { begin: range.start, size });
    }
    Ok(range.start..range.end.min(size))
}

struct Chunks {
    inner: Arc<Inner>,
    opened: Opened,
    range: Range<u64>,
    /// The place of the next chunk in the file.
    next: u64,
    end: u64,
    /// Those of the wanted chunks that are not left out as holes and have not come yet.
    stored: VecDeque<(u64, ChunkRef)>,
    fetch: Fetch,
}

fn chunks(
    inner: Arc<Inner>,
    opened: Opened,
    range: Range<u64>,
    keep: bool,
) -> BoxStream<'static, Result<Bytes, GetError>> {
    let wanted = match range.is_empty() {
        true => 0..0,
        false => opened.plan.chunks_of(&range),
    };
    let stored: VecDeque<_> = opened.stored(wanted.clone()).into();
    let fetch = inner.engine.fetch(stored.iter().map(|(_, chunk)| *chunk).collect(), keep);
    let state = Chunks { inner, opened, range, next: wanted.start, end: wanted.end, stored, fetch };
    let steps = stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        let step = state.step().await?;
        let state = step.is_ok().then_some(state);
        Some((step, state))
    });
    steps.fuse().boxed()
}

impl Chunks {
    /// The next piece; `None` after the last.
    async fn step(&mut self) -> Option<Result<Bytes, GetError>> {
        if self.next >= self.end {
            return None;
        }
        let index = self.next;
        self.next += 1;
        if self.stored.front().is_none_or(|(place, _)| *place != index) {
            // A hole.
            return Some(Ok(Bytes::from(vec![0; self.opened.plan.part(index, &self.range).len()])));
        }
        let (_, chunk) = self.stored.pop_front()?;
        let fetched = self.fetch.next().await.unwrap_or(Err(FetchError::Stopping));
        Some(self.open(index, chunk, fetched).await)
    }

    async fn open(
        &self,
        index: u64,
        chunk: ChunkRef,
        fetched: Result<Buffer, FetchError>,
    ) -> Result<Bytes, GetError> {
        let mut buffer = fetched.map_err(|error| unfetched(&self.opened.version, error))?;
        let inner = Arc::clone(&self.inner);
        let (plan, key) = (self.opened.plan, self.opened.version.meta.key.clone());
        let part = plan.part(index, &self.range);
        blocking(move || {
            inner.open_chunk(&key, &plan, index, chunk, &mut buffer)?;
            let part = CHUNK_OVERHEAD + part.start..CHUNK_OVERHEAD + part.end;
            Ok(Bytes::from_owner(Plain { buffer, part }))
        })
        .await
    }
}

/// Opened plaintext in the buffer in which it was received.
struct Plain {
    buffer: Buffer,
    part: Range<usize>,
}

impl AsRef<[u8]> for Plain {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[self.part.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault case 40: no range overflows, and one beyond the end is refused.
    #[test]
    fn a_range_is_cut_at_the_end_of_the_file_and_refused_beyond_it() {
        assert_eq!(clamp(None, 10).unwrap(), 0..10);
        assert_eq!(clamp(Some(3..u64::MAX), 10).unwrap(), 3..10);
        assert_eq!(clamp(Some(0..0), 0).unwrap(), 0..0);
        assert_eq!(clamp(Some(0..5), 0).unwrap(), 0..0);
        for range in [10..11, u64::MAX..u64::MAX, Range { start: 5, end: 4 }] {
            assert!(matches!(clamp(Some(range), 10), Err(GetError::Range { .. })));
        }
    }
}
