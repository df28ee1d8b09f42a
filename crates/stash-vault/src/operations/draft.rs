//! Drafts of the records of one name.

use std::sync::Arc;

use stash_crypto::{Clear, ForgetKind, Manifest, Meta, NameId, RecordDraft, RecordKind, Vector};
use stash_server::{Position, Write};

use crate::model::attributes::agree;
use crate::model::version::Version;
use crate::vault::Inner;

/// A version before the engine gives it its place.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) kind: RecordKind,
    pub(crate) manifest: Manifest,
    pub(crate) meta: Meta,
}

impl Content {
    pub(crate) fn put(manifest: Manifest, meta: Meta) -> Content {
        Content { kind: RecordKind::Put, manifest, meta }
    }

    pub(crate) fn tombstone(key: stash_crypto::Key) -> Content {
        let meta = Meta::new(key, 0);
        Content { kind: RecordKind::Tombstone, manifest: Manifest::EMPTY, meta }
    }

    /// Whether the head says the same already. When it was written is not compared, nor is the time
    /// of the file where the source has none of its own, nor are attributes that only one of both writers knew.
    pub(crate) fn equals(&self, head: &Version, compare_time: bool) -> bool {
        let (clear, stored) = (head.record.clear(), &head.meta);
        let mut meta = self.meta.clone();
        meta.written = stored.written;
        meta.attributes.clone_from(&stored.attributes);
        if !compare_time {
            meta.modified = stored.modified;
        }
        let same = clear.kind == self.kind && clear.manifest == self.manifest && *stored == meta;
        same && agree(&self.meta, stored)
    }
}

/// The engine's order to sign a forget of a name, once its vector is known. No forget is written where
/// one that is held brings about the same.
pub(crate) fn forget(
    inner: &Arc<Inner>,
    name: NameId,
    kind: ForgetKind,
    vector: impl Fn(&Position) -> Vector + Send + 'static,
) -> Write {
    let inner = Arc::clone(inner);
    let draft = Box::new(move |position: Position| {
        let seen = vector(&position);
        let keys = inner.keys.latest();
        let clear = Clear {
            stash: position.stash,
            kind: RecordKind::Forget(kind),
            name,
            dot: position.dot,
            previous: position.previous,
            height: position.height,
            epoch: keys.epoch,
            seen,
            manifest: Manifest::EMPTY,
        };
        let draft = RecordDraft { clear, meta: None };
        draft.sign(inner.node.signer(), &keys.meta)
    });
    Write { name, draft }
}

/// The engine's order to sign this content when its place is known.
pub(crate) fn write(inner: &Arc<Inner>, content: Content) -> Write {
    let name = inner.keys.name_id(&content.meta.key);
    let inner = Arc::clone(inner);
    let draft = Box::new(move |position: Position| {
        let keys = inner.keys.latest();
        let clear = Clear {
            stash: position.stash,
            kind: content.kind,
            name,
            dot: position.dot,
            previous: position.previous,
            height: position.height,
            epoch: keys.epoch,
            seen: position.seen,
            manifest: content.manifest.clone(),
        };
        let meta = Meta { written: inner.clock.now(), ..content.meta.clone() };
        let draft = RecordDraft { clear, meta: Some(meta) };
        draft.sign(inner.node.signer(), &keys.meta)
    });
    Write { name, draft }
}
