//! Storing a stream, of known or unknown length.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use stash_crypto::chunk::{CHUNK_OVERHEAD, last_chunk_padding};
use stash_crypto::record::INLINE_MAX;
use stash_crypto::{ChunkRef, Key, Manifest, Meta};
use stash_server::Buffer;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::batch::Batches;
use super::common::{finish, inline_meta};
use super::error::PutError;
use super::large::{Sealer, manifest};
use super::options::{PutOptions, PutReport};
use super::run::Total;
use super::session::{Done, Session, session};
use crate::blocking::blocking;
use crate::model::plan::{CHUNK, Plan};
use crate::model::source::Named;
use crate::operations::draft::Content;
use crate::progress::Progress;
use crate::vault::Vault;

/// Chunks that are sealed and sent while the next one is read.
const BEHIND: usize = 2;

impl Vault {
    /// Stores a stream under `key`, with the present time. With `size`, a stream of another length
    /// is refused; nothing is visible before its end. A stream equal to what is stored writes
    /// nothing, whatever the time.
    pub async fn put_reader(
        &self,
        key: Key,
        reader: impl AsyncRead + Unpin + Send,
        size: Option<u64>,
        options: PutOptions,
        progress: &Progress,
    ) -> Result<PutReport, PutError> {
        let work = put(self, key, reader, size, options, progress);
        progress.or_cancelled(PutError::Cancelled, work).await
    }
}

async fn put(
    vault: &Vault,
    key: Key,
    mut reader: impl AsyncRead + Unpin + Send,
    size: Option<u64>,
    options: PutOptions,
    progress: &Progress,
) -> Result<PutReport, PutError> {
    let session = Arc::new(session(vault, &options, progress)?);
    let (looking, name) = (Arc::clone(&session), key.clone());
    blocking(move || {
        if let Err(source) = Named::given(name.clone()) {
            return Err(PutError::Name { path: name.as_str().into(), source });
        }
        looking.check_root(&name, false)
    })
    .await?;
    progress.found(1, size.unwrap_or(0));
    let content = read(&session, key.clone(), &mut reader, size).await?;
    if let Some(expected) = size.filter(|size| *size != content.meta.size) {
        return Err(PutError::Length { expected, got: content.meta.size });
    }
    let done = finish(&session, content, false).await?;
    let mut total = Total { done: Done::default(), batches: Batches::new(session) };
    total.add(done);
    total.batches.launch(true);
    while let Some(committed) = total.batches.next().await {
        committed?;
    }
    Ok(total.report(key))
}

async fn read(
    session: &Arc<Session>,
    key: Key,
    reader: &mut (impl AsyncRead + Unpin + Send),
    size: Option<u64>,
) -> Result<Content, PutError> {
    let view = session.inner.view_to_cover(session.inner.keys.name_id(&key)).await?;
    let previous = view.head.map(|head| head.meta.chunk_size).filter(|size| *size > 0);
    let chunk_size = size.map_or(CHUNK, |size| Plan::new(size, previous).chunk_size());
    let sealer = Arc::new(Sealer::new(session, previous.is_some()));
    let mut sealing = FuturesOrdered::new();
    let mut refs: Vec<ChunkRef> = Vec::new();
    let mut total = 0u64;
    loop {
        let (buffer, got) = fill(session, reader, chunk_size).await?;
        let (begin, len) = (total, u64::from(got));
        total += len;
        if let Some(expected) = size.filter(|size| total > *size) {
            return Err(PutError::Length { expected, got: total });
        }
        if begin == 0 && got as usize <= INLINE_MAX {
            let bytes = buffer[CHUNK_OVERHEAD..][..got as usize].to_vec();
            let mut meta = inline_meta(key, bytes);
            meta.modified = session.inner.clock.now();
            return Ok(Content::put(Manifest::EMPTY, meta));
        }
        if got > 0 {
            sealing.push_back(tokio::spawn(seal(Arc::clone(&sealer), buffer, got, chunk_size)));
        }
        let left = if got < chunk_size { 0 } else { BEHIND };
        while sealing.len() > left
            && let Some(chunk) = sealing.next().await
        {
            refs.push(chunk.map_err(|_| PutError::Cancelled)??);
        }
        if got < chunk_size {
            break;
        }
    }
    let mut meta = Meta::new(key, total);
    meta.chunk_size = chunk_size;
    // The time of the store, as a file system would say it; shown, never compared.
    meta.modified = session.inner.clock.now();
    Ok(Content::put(manifest(session, refs).await?, meta))
}

/// Reads until the chunk is full or the stream ends.
async fn fill(
    session: &Session,
    reader: &mut (impl AsyncRead + Unpin + Send),
    chunk_size: u32,
) -> Result<(Buffer, u32), PutError> {
    let mut buffer = session.inner.engine.buffer(CHUNK_OVERHEAD + chunk_size as usize).await;
    let mut got = 0u32;
    while got < chunk_size {
        let room = &mut buffer[CHUNK_OVERHEAD + got as usize..];
        match reader.read(room).await.map_err(PutError::Stream)? {
            0 => break,
            // No more than the room, which is at most 4 MiB.
            more => got += u32::try_from(more).unwrap_or(0),
        }
    }
    Ok((buffer, got))
}

async fn seal(
    sealer: Arc<Sealer>,
    mut buffer: Buffer,
    got: u32,
    chunk_size: u32,
) -> Result<ChunkRef, PutError> {
    let worker = Arc::clone(&sealer);
    let (buffer, found) = blocking(move || {
        let padded = last_chunk_padding(got, chunk_size);
        buffer.resize(CHUNK_OVERHEAD + padded as usize);
        buffer[CHUNK_OVERHEAD + got as usize..].fill(0);
        worker.look_up_or_seal(buffer)
    })
    .await?;
    let chunk = sealer.store(buffer, found).await?;
    sealer.session().progress.moved(u64::from(got));
    Ok(chunk)
}
