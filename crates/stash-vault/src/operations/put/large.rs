//! Files of more than one record: cut, sealed and sent chunk by chunk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt, TryStreamExt, stream};
use stash_crypto::chunk::{CHUNK_OVERHEAD, DIRECT_CHUNKS, MANIFEST_ENTRIES_MAX, manifest_chunks};
use stash_crypto::record::{ChunkRuns, INLINE_MAX};
use stash_crypto::{ChunkRef, Manifest, Meta};
use stash_runs::disk::read_once;
use stash_server::Buffer;
use tracing::{Instrument, debug_span};

use super::common::{CHANGED, READS, describe, finish, inline_meta};
use super::error::PutError;
use super::extended::holes;
use super::session::{Done, Session};
use super::walk::{FoundFile, Stat, open_file};
use crate::blocking::blocking;
use crate::model::holes::Holes;
use crate::model::plan::{Plan, is_inline};
use crate::operations::draft::Content;
use crate::vault::Inner;

/// Most chunks of one file: what 64 manifest chunks can name.
const MOST_CHUNKS: u64 = (DIRECT_CHUNKS * MANIFEST_ENTRIES_MAX) as u64;

/// Stores the chunks of one file and prepares its record.
pub(super) async fn put(session: Arc<Session>, file: FoundFile) -> Result<Done, PutError> {
    let mut why = CHANGED.to_owned();
    for last in (1..=READS).map(|read| read == READS) {
        match read(&session, &file).await? {
            Reading::Grown(..) if !last => {}
            Reading::Whole(content, notes) | Reading::Grown(content, notes) => {
                let mut done = finish(&session, *content, true).await?;
                done.notes.extend(notes.into_iter().map(|note| (file.path.clone(), note)));
                let (looking, key) = (Arc::clone(&session), file.name.key.clone());
                let (_, below) = blocking(move || looking.look(&key)).await;
                session.clear(&file.path, below, &mut done);
                return Ok(done);
            }
            Reading::Changed => {}
            Reading::Failed(error) => {
                why = error.to_string();
                break;
            }
        }
    }
    Ok(Done { skipped: vec![(file.path, why)], ..Done::default() })
}

enum Reading {
    /// The content, and what is to be said of it.
    Whole(Box<Content>, Vec<String>),
    /// The same as of the length that it had first.
    Grown(Box<Content>, Vec<String>),
    Changed,
    Failed(io::Error),
}

async fn read(session: &Arc<Session>, found: &FoundFile) -> Result<Reading, PutError> {
    let path = found.path.clone();
    let (file, before) = match blocking(move || open_file(&path)).await {
        Ok((file, stat)) => (Arc::new(file), stat),
        Err(error) => return Ok(Reading::Failed(error)),
    };
    let content = if is_inline(before.size) {
        shrunk(&file, found, before).await
    } else {
        chunked(session, &file, found, before).await
    };
    let (content, note) = match content {
        Ok(content) => content,
        Err(ReadError::Put(error)) => return Err(error),
        Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Ok(Reading::Changed);
        }
        Err(ReadError::Io(error)) => return Ok(Reading::Failed(error)),
    };
    let after = match blocking(move || file.metadata()).await {
        Ok(metadata) => Stat::of(&metadata),
        Err(error) => return Ok(Reading::Failed(error)),
    };
    let (content, mut notes) = (Box::new(content), Vec::from_iter(note));
    if before.holds_at(&after) {
        return Ok(Reading::Whole(content, notes));
    }
    if before.grew_until(&after) {
        notes.push(before.grew());
        return Ok(Reading::Grown(content, notes));
    }
    Ok(Reading::Changed)
}

/// The input failed, or everything else did.
pub(super) enum ReadError {
    Io(io::Error),
    Put(PutError),
}

impl<E: Into<PutError>> From<E> for ReadError {
    fn from(error: E) -> ReadError {
        ReadError::Put(error.into())
    }
}

/// A file that became small since the walk.
async fn shrunk(
    file: &Arc<File>,
    found: &FoundFile,
    stat: Stat,
) -> Result<(Content, Option<String>), ReadError> {
    let (handle, found) = (Arc::clone(file), found.clone());
    let len = usize::try_from(stat.size).unwrap_or(INLINE_MAX);
    let read = blocking(move || -> io::Result<_> {
        let mut bytes = vec![0; len];
        handle.read_exact_at(&mut bytes, 0)?;
        let mut meta = inline_meta(found.name.key.clone(), bytes);
        let note = describe(&mut meta, &found, &handle, &stat, false);
        Ok((Content::put(Manifest::EMPTY, meta), note))
    });
    read.await.map_err(ReadError::Io)
}

async fn chunked(
    session: &Arc<Session>,
    file: &Arc<File>,
    found: &FoundFile,
    stat: Stat,
) -> Result<(Content, Option<String>), ReadError> {
    let name = session.inner.keys.name_id(&found.name.key);
    let view = session.inner.view_to_cover(name).await.map_err(PutError::from)?;
    let previous = view.head.map(|head| head.meta.chunk_size);
    let plan = Plan::new(stat.size, previous.filter(|size| *size > 0));
    let handle = Arc::clone(file);
    let Holes { runs, smaller } = match stat.may_have_holes {
        true => blocking(move || holes(&handle, plan)).await.map_err(ReadError::Io)?,
        false => Holes { runs: None, smaller: false },
    };
    let chunks = runs.as_ref().map_or(plan.chunks(), ChunkRuns::chunks);
    if chunks > MOST_CHUNKS {
        return Err(PutError::TooLarge { chunks }.into());
    }
    let places: Box<dyn Iterator<Item = u64> + Send> = match runs.clone() {
        None => Box::new(0..plan.chunks()),
        Some(runs) => Box::new(runs.runs().to_vec().into_iter().flatten()),
    };
    // What was stored before is likely to be met again: then one hash saves a seal.
    let sealer = Arc::new(Sealer::new(session, previous.is_some()));
    let refs: Vec<ChunkRef> = stream::iter(places)
        .map(|index| one(Arc::clone(&sealer), Arc::clone(file), plan, index))
        .buffered(session.depth.min(4))
        .try_collect()
        .await?;
    session.progress.moved(stat.size - plan.stored(runs.as_ref()));
    let mut meta = Meta::new(found.name.key.clone(), stat.size);
    meta.chunk_size = plan.chunk_size();
    meta.runs = runs;
    let (handle, found) = (Arc::clone(file), found.clone());
    let described = blocking(move || {
        let note = describe(&mut meta, &found, &handle, &stat, smaller);
        (meta, note)
    });
    let (meta, note) = described.await;
    Ok((Content::put(manifest(session, refs).await?, meta), note))
}

async fn one(
    sealer: Arc<Sealer>,
    file: Arc<File>,
    plan: Plan,
    index: u64,
) -> Result<ChunkRef, ReadError> {
    let buffer = sealer.session.inner.engine.buffer(plan.sealed_len(index));
    let mut buffer = buffer.instrument(debug_span!(target: "chunk", "wait", index)).await;
    let worker = Arc::clone(&sealer);
    let (buffer, found) = blocking(move || {
        let read = debug_span!(target: "chunk", "read", index).in_scope(|| {
            let plain = plan.plain_len(index) as usize;
            let body = &mut buffer[CHUNK_OVERHEAD..];
            body[plain..].fill(0);
            read_once(&file, plan.offset(index), &mut body[..plain])
        });
        read.map_err(ReadError::Io)?;
        let seal = debug_span!(target: "chunk", "seal", index);
        Ok::<_, ReadError>(seal.in_scope(|| worker.look_up_or_seal(buffer))?)
    })
    .await?;
    let store = sealer.store(buffer, found);
    let chunk = store.instrument(debug_span!(target: "chunk", "hand over", index)).await?;
    sealer.session.progress.moved(u64::from(plan.plain_len(index)));
    Ok(chunk)
}

/// The manifest of these chunks; beyond 64, its manifest chunks are stored.
pub(super) async fn manifest(session: &Session, refs: Vec<ChunkRef>) -> Result<Manifest, PutError> {
    if refs.len() <= DIRECT_CHUNKS {
        return Ok(Manifest::Direct(refs));
    }
    let total = refs.len() as u64;
    if total > MOST_CHUNKS {
        return Err(PutError::TooLarge { chunks: total });
    }
    let mut chunks = Vec::new();
    for (chunk, bytes) in manifest_chunks(&refs) {
        session.upload.manifest_chunk(chunk.address, bytes).await?;
        chunks.push(chunk);
    }
    Ok(Manifest::Indirect { chunks, total })
}

/// Seals the chunks of one file, unless they were sealed before.
pub(super) struct Sealer {
    session: Arc<Session>,
    /// Set if chunks are looked up before they are sealed: a miss costs a hash, a hit saves the
    /// encryption.
    probe: AtomicBool,
    probed_once: AtomicBool,
}

/// The outcome for one padded plaintext.
pub(super) enum Found {
    /// An equal chunk was sealed before; the buffer still holds the plaintext.
    Known(ChunkRef),
    /// The buffer holds the sealed chunk.
    Sealed(ChunkRef),
}

impl Sealer {
    pub(super) fn new(session: &Arc<Session>, probe: bool) -> Sealer {
        Sealer {
            session: Arc::clone(session),
            probe: AtomicBool::new(probe),
            probed_once: AtomicBool::new(false),
        }
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Blocking: `buffer` is 48 bytes of room and the padded plaintext.
    pub(super) fn look_up_or_seal(&self, mut buffer: Buffer) -> Result<(Buffer, Found), PutError> {
        let first = !self.probed_once.swap(true, Ordering::Relaxed);
        if (first || self.probe.load(Ordering::Relaxed))
            && let Some(tags) = &self.session.inner.tags
        {
            let tag = self.session.inner.keys.latest().chunks.tag(&buffer);
            let known = tags.get(&tag).filter(|chunk| chunk.sealed_len as usize == buffer.len());
            if first {
                self.probe.fetch_or(known.is_some(), Ordering::Relaxed);
            }
            if let Some(chunk) = known {
                return Ok((buffer, Found::Known(chunk)));
            }
        }
        let chunk = seal(&self.session.inner, &mut buffer)?;
        Ok((buffer, Found::Sealed(chunk)))
    }

    /// Hands the chunk over, sealing it after all if the store does not have it any more.
    pub(super) async fn store(
        &self,
        mut buffer: Buffer,
        found: Found,
    ) -> Result<ChunkRef, PutError> {
        let upload = &self.session.upload;
        let chunk = match found {
            Found::Known(chunk) if upload.known(chunk).await? => return Ok(chunk),
            Found::Known(_) => {
                let inner = Arc::clone(&self.session.inner);
                let sealed =
                    blocking(move || seal(&inner, &mut buffer).map(|chunk| (buffer, chunk)));
                let (sealed, chunk) = sealed.await?;
                buffer = sealed;
                chunk
            }
            Found::Sealed(chunk) => chunk,
        };
        upload.chunk(chunk.address, buffer.freeze()).await?;
        Ok(chunk)
    }
}

fn seal(inner: &Inner, buffer: &mut Buffer) -> Result<ChunkRef, PutError> {
    let sealed = inner.keys.latest().chunks.seal_in_place(buffer)?;
    let sealed_len = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
    let chunk = ChunkRef { address: sealed.address, sealed_len };
    if let Some(tags) = &inner.tags {
        tags.insert(sealed.tag, chunk);
    }
    Ok(chunk)
}
