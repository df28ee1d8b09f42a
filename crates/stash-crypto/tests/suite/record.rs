//! Records: what is refused, when signing and when reading.

use stash_crypto::chunk::*;
use stash_crypto::keys::*;
use stash_crypto::record::*;
use stash_crypto::*;

use crate::fixtures::*;

fn refuse(clear: Clear, meta: Option<Meta>) -> SignError {
    RecordDraft { clear, meta }.sign(node().signer(), &meta_keys()).unwrap_err()
}

fn all() -> Vec<Record> {
    vec![
        put_inline(),
        put_chunks(),
        put_indirect(),
        tombstone(),
        forget(ForgetKind::Covered),
        forget(ForgetKind::Dead),
    ]
}

/// Splits a record into clear part, sealed meta and signature.
fn split(record: &Record) -> (Vec<u8>, Vec<u8>) {
    let bytes = record.bytes();
    let clear = 163
        + record.clear().seen.len() * 48
        + record.clear().manifest.refs().len() * 36
        + if matches!(record.clear().manifest, Manifest::Indirect { .. }) { 8 } else { 0 };
    (bytes[..clear].to_vec(), bytes[clear + 4..bytes.len() - 64].to_vec())
}

/// A record made of a clear part and a sealed meta, with whatever signature.
fn assemble(clear: &[u8], meta: &[u8]) -> Record {
    let len = u32::try_from(meta.len()).unwrap().to_le_bytes();
    Record::decode(&[clear, &len, meta, &[0; 64]].concat()).unwrap()
}

#[test]
fn every_kind_is_read_back_as_it_was_written() {
    for record in all() {
        let back = Record::decode(record.bytes()).unwrap();
        assert_eq!(back.verify(), Ok(()));
        assert_eq!((back.clear(), back.hash()), (record.clear(), record.hash()));
        assert_eq!(Record::decode_shared(record.shared_bytes()).unwrap(), record);
        assert_eq!(Record::decode_in(&stash(), record.bytes()).unwrap(), record);
        if record.clear().kind.is_version() {
            assert_eq!(back.open_meta(&meta_keys()), record.open_meta(&meta_keys()));
            assert_eq!(back.open_meta(&meta_keys()).unwrap().key, key());
        } else {
            assert_eq!(back.open_meta(&meta_keys()), Err(OpenMetaError::NoMeta));
        }
    }
}

#[test]
fn a_meta_does_not_open_in_another_record() {
    let other = Clear { height: 2, ..clear(RecordKind::Put) };
    let other = sign(other, Some(inline_meta()));
    let (clear, _) = split(&put_inline());
    let (_, meta) = split(&other);
    assert_eq!(assemble(&clear, &meta).open_meta(&meta_keys()), Err(OpenMetaError::NotAuthentic));
    let (clear, meta) = split(&put_inline());
    assert!(assemble(&clear, &meta).open_meta(&meta_keys()).is_ok());
}

#[test]
fn another_kind_under_the_same_meta_does_not_open_or_verify() {
    let empty = Meta { inline: Some(Vec::new()), ..Meta::new(key(), 0) };
    let record = sign(clear(RecordKind::Put), Some(empty));
    let mut bytes = record.bytes().to_vec();
    bytes[3] = 2;
    let changed = Record::decode(&bytes).unwrap();
    assert_eq!(changed.clear().kind, RecordKind::Tombstone);
    assert_eq!(changed.open_meta(&meta_keys()), Err(OpenMetaError::NotAuthentic));
    let wrong = SignatureError::Signature { key: *node().node_id().as_bytes() };
    assert_eq!(changed.verify(), Err(wrong));
}

#[test]
fn a_record_of_another_stash_is_refused_and_its_signature_does_not_carry_over() {
    let other = RootSecret::from_bytes([99; 32]).stash_id();
    let record = put_inline();
    let wrong = RecordError::OtherStash { expected: other, got: stash() };
    assert_eq!(Record::decode_in(&other, record.bytes()), Err(wrong));
    let mut bytes = record.bytes().to_vec();
    bytes[4..36].copy_from_slice(other.as_bytes());
    let moved = Record::decode_in(&other, &bytes).unwrap();
    assert!(moved.verify().is_err());
    assert_eq!(moved.open_meta(&meta_keys()), Err(OpenMetaError::NotAuthentic));
}

#[test]
fn a_signature_by_another_key_is_refused() {
    let mut bytes = put_inline().bytes().to_vec();
    bytes[68..100].copy_from_slice(keeper().node_id().as_bytes());
    let key = *keeper().node_id().as_bytes();
    assert_eq!(Record::decode(&bytes).unwrap().verify(), Err(SignatureError::Signature { key }));
    let signer = keeper().node_id();
    let writer = node().node_id();
    let draft = RecordDraft { clear: clear(RecordKind::Put), meta: Some(inline_meta()) };
    assert_eq!(
        draft.sign(keeper().signer(), &meta_keys()),
        Err(SignError::Signer { signer, writer })
    );
}

#[test]
fn numbers_reach_the_cap_and_not_beyond() {
    let at = |n| Clear { dot: Dot { n, ..clear(RecordKind::Put).dot }, ..clear(RecordKind::Put) };
    let last = sign(at(N_MAX), Some(inline_meta()));
    assert_eq!(Record::decode(last.bytes()).unwrap().clear().dot.n, N_MAX);
    for n in [0, N_MAX + 1, u64::MAX] {
        assert_eq!(refuse(at(n), Some(inline_meta())), SignError::Clear(RecordError::Number { n }));
    }
}

// Fault case 24.
#[test]
fn heights_saturate_at_their_limit() {
    let at = |height| Clear { height, ..clear(RecordKind::Put) };
    assert_eq!(sign(at(HEIGHT_MAX), Some(inline_meta())).clear().height, HEIGHT_MAX);
    let height = HEIGHT_MAX + 1;
    assert_eq!(
        refuse(at(height), Some(inline_meta())),
        SignError::Clear(RecordError::Height { height })
    );
}

#[test]
fn sixty_four_writers_fit_and_a_full_record_stays_within_its_limit() {
    let manifest = Manifest::Direct(vec![chunk_ref(1, 1 << 20); DIRECT_CHUNKS]);
    let attributes = (0..MAX_ATTRIBUTES).map(|i| {
        (format!("{i:0>width$}", width = MAX_ATTRIBUTE_NAME), vec![7; MAX_ATTRIBUTE_VALUE])
    });
    let meta = Meta {
        chunk_size: 1 << 20,
        modified: Some((i64::MIN, 0)),
        mode: Some(u32::MAX),
        attributes: attributes.collect(),
        ..Meta::new(Key::new(&"k".repeat(MAX_KEY)).unwrap(), 64 << 20)
    };
    let clear = Clear { seen: seen(64), manifest, ..clear(RecordKind::Put) };
    let record = sign(clear, Some(meta.clone()));
    assert!(record.bytes().len() <= MAX_RECORD);
    assert_eq!(Record::decode(record.bytes()).unwrap().open_meta(&meta_keys()), Ok(meta));
}

#[test]
fn a_first_record_names_no_previous_one() {
    let previous = RecordHash::from_bytes([1; 32]);
    let clear = Clear { previous, ..clear(RecordKind::Put) };
    assert_eq!(refuse(clear, Some(inline_meta())), SignError::Clear(RecordError::PreviousOfFirst));
}

#[test]
fn a_record_that_covers_itself_is_refused() {
    let mut seen = Vector::new();
    seen.insert(clear(RecordKind::Put).dot).unwrap();
    let clear = Clear { seen, ..clear(RecordKind::Put) };
    assert_eq!(refuse(clear, Some(inline_meta())), SignError::Clear(RecordError::SeenSelf));
}

#[test]
fn versions_need_a_meta_and_forgets_have_none() {
    assert_eq!(refuse(clear(RecordKind::Put), None), SignError::MetaPresence);
    assert_eq!(refuse(clear(RecordKind::Tombstone), None), SignError::MetaPresence);
    let kind = RecordKind::Forget(ForgetKind::Dead);
    let named = Clear { seen: seen(1), ..clear(kind) };
    assert_eq!(refuse(named, Some(inline_meta())), SignError::MetaPresence);
    assert_eq!(refuse(clear(kind), None), SignError::Clear(RecordError::SeenEmpty));
}

#[test]
fn the_epoch_of_keys_and_record_must_agree() {
    let clear = Clear { epoch: 1, ..clear(RecordKind::Put) };
    assert_eq!(refuse(clear, Some(inline_meta())), SignError::Epoch { record: 1, keys: 0 });
    let later = ReadRoot::from_parts(1, [1; 32]).meta_keys();
    assert_eq!(put_inline().open_meta(&later), Err(OpenMetaError::Epoch { sealed: 0, keys: 1 }));
    let other = ReadRoot::from_parts(0, [1; 32]).meta_keys();
    assert_eq!(put_inline().open_meta(&other), Err(OpenMetaError::NotAuthentic));
}

#[test]
fn only_puts_have_chunks() {
    let manifest = Manifest::Direct(vec![chunk_ref(1, 4096)]);
    let clear = Clear { manifest, ..clear(RecordKind::Tombstone) };
    let error = refuse(clear, Some(Meta::new(key(), 0)));
    assert_eq!(error, SignError::Clear(RecordError::ManifestCount { count: 1 }));
}

#[test]
fn sixty_five_direct_chunks_are_refused() {
    let manifest = Manifest::Direct(vec![chunk_ref(1, 4096); 65]);
    let clear = Clear { manifest, ..clear(RecordKind::Put) };
    let meta = Meta { chunk_size: 4096, ..Meta::new(key(), 65 * 4096) };
    assert_eq!(
        refuse(clear, Some(meta)),
        SignError::Clear(RecordError::ManifestCount { count: 65 })
    );
}

#[test]
fn manifest_chunks_stand_only_where_they_must_and_are_full_but_the_last() {
    let refs = vec![chunk_ref(1, 4096); MANIFEST_ENTRIES_MAX + 1];
    let named: Vec<_> = manifest_chunks(&refs).into_iter().map(|(named, _)| named).collect();
    let with = |chunks, total| {
        let manifest = Manifest::Indirect { chunks, total };
        (
            Clear { manifest, ..clear(RecordKind::Put) },
            Some(Meta { chunk_size: 4096, ..Meta::new(key(), total * 4096) }),
        )
    };
    let total = refs.len() as u64;
    let (good, meta) = with(named.clone(), total);
    let record = sign(good, meta);
    assert_eq!(Record::decode(record.bytes()), Ok(record));

    let (early, meta) = with(vec![named[1], named[0]], total);
    let wrong = RecordError::Reference { at: 0, sealed_len: 52 };
    assert_eq!(refuse(early, meta), SignError::Clear(wrong));
    let (few, meta) = with(vec![ChunkRef { sealed_len: 16 + 64 * 36, ..named[1] }], 64);
    assert_eq!(refuse(few, meta), SignError::Clear(RecordError::ManifestTotal { total: 64 }));
}

/// Sizes around every boundary of one and two chunks of 1 MiB.
const SIZES: [u64; 8] =
    [1, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (2 << 20) - 1, 2 << 20];

// Fault cases 14 and 65.
#[test]
fn the_manifest_must_be_the_one_that_the_size_demands() {
    for size in SIZES {
        let refs: Vec<ChunkRef> = (0..size.div_ceil(1 << 20))
            .map(|i| (size - (i << 20)).min(1 << 20))
            .map(|left| chunk_ref(1, last_chunk_padding(u32::try_from(left).unwrap(), 1 << 20)))
            .collect();
        let meta = Meta { chunk_size: 1 << 20, ..Meta::new(key(), size) };
        let with = |refs| Clear { manifest: Manifest::Direct(refs), ..clear(RecordKind::Put) };
        assert_eq!(sign(with(refs.clone()), Some(meta.clone())).clear().manifest.refs(), refs);
        assert_eq!(meta.check_lengths(&refs, 0), Ok(()));

        let short = refs[..refs.len() - 1].to_vec();
        let chunks = short.len() as u64;
        let wrong = SignError::Meta(MetaError::Size { size, chunks });
        assert_eq!(refuse(with(short), Some(meta.clone())), wrong, "{size}");

        let mut longer = refs.clone();
        let at = longer.len() - 1;
        longer[at].sealed_len += 1;
        let (expected, got) = (refs[at].sealed_len, longer[at].sealed_len);
        let wrong = SignError::Meta(MetaError::ChunkLength { at, expected, got });
        assert_eq!(refuse(with(longer), Some(meta)), wrong, "{size}");
    }
}

/// Decision 0050: what is no plain file has exactly the content that its type can have.
#[test]
fn links_and_directories_have_no_other_content_than_their_own() {
    let put = || clear(RecordKind::Put);
    let link = |target: &[u8]| Meta {
        file_type: FileType::Link,
        inline: Some(target.to_vec()),
        ..Meta::new(key(), target.len() as u64)
    };
    for good in [link(b"x"), link(&[0xff; LINK_MAX]), link(b"/"), directory_meta()] {
        assert_eq!(sign(put(), Some(good.clone())).open_meta(&meta_keys()), Ok(good));
    }
    let chunks = || Clear { manifest: Manifest::Direct(vec![chunk_ref(6, 4096)]), ..put() };
    let in_chunks = |file_type| Meta { file_type, chunk_size: 4096, ..Meta::new(key(), 4096) };
    let runs = Some(ChunkRuns::default());
    for (clear, meta) in [
        (put(), link(b"")),
        (put(), link(b"a\0b")),
        (put(), link(&[b'x'; LINK_MAX + 1])),
        (put(), Meta { runs: runs.clone(), ..link(b"x") }),
        (chunks(), in_chunks(FileType::Link)),
        (put(), Meta { size: 1, inline: Some(vec![1]), ..directory_meta() }),
        (put(), Meta { runs: runs.clone(), ..directory_meta() }),
        (chunks(), in_chunks(FileType::Directory)),
        (put(), Meta { runs: runs.clone(), chunk_size: 4096, ..inline_meta() }),
    ] {
        let file_type = meta.file_type;
        let wrong = SignError::Meta(MetaError::FileType { file_type });
        assert_eq!(refuse(clear, Some(meta.clone())), wrong, "{meta:?}");
    }
    for file_type in [FileType::Link, FileType::Directory] {
        let meta = Meta { file_type, ..Meta::new(key(), 0) };
        let wrong = SignError::Meta(MetaError::Tombstone);
        assert_eq!(refuse(clear(RecordKind::Tombstone), Some(meta)), wrong);
    }
    let meta = Meta { runs, ..Meta::new(key(), 0) };
    let wrong = SignError::Meta(MetaError::Tombstone);
    assert_eq!(refuse(clear(RecordKind::Tombstone), Some(meta)), wrong);
}

/// Decision 0050: a hole is a chunk that no manifest names, and every other chunk has its length.
#[test]
#[expect(clippy::single_range_in_vec_init, reason = "lists of runs, some with one")]
fn holes_are_the_chunks_that_the_manifest_leaves_out() {
    let with = |refs: &[u32]| Clear {
        manifest: Manifest::Direct(refs.iter().map(|len| chunk_ref(6, *len)).collect()),
        ..clear(RecordKind::Put)
    };
    let runs = |runs: &[std::ops::Range<u64>]| ChunkRuns::new(runs.to_vec()).unwrap();
    // Nine chunks and a byte.
    let size = 9 * 4096 + 1;
    let meta = |list| Meta { chunk_size: 4096, runs: Some(list), ..Meta::new(key(), size) };
    for (list, refs) in [
        (runs(&[]), &[][..]),
        (runs(&[0..1]), &[4096]),
        (runs(&[2..4, 9..10]), &[4096, 4096, 1]),
        (runs(&[1..10]), &[4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 1]),
    ] {
        let record = sign(with(refs), Some(meta(list.clone())));
        assert_eq!(record.open_meta(&meta_keys()), Ok(meta(list)));
    }
    for (list, refs) in [
        (runs(&[0..1]), &[][..]),
        (runs(&[]), &[4096]),
        (runs(&[0..1]), &[4096, 4096]),
        (runs(&[10..11]), &[1]),
        (runs(&[0..10]), &[4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 1]),
    ] {
        let wrong = MetaError::Size { size, chunks: refs.len() as u64 };
        assert_eq!(refuse(with(refs), Some(meta(list))), SignError::Meta(wrong));
    }
    let swapped = MetaError::ChunkLength { at: 1, expected: 48 + 1, got: 48 + 4096 };
    let two = runs(&[2..3, 9..10]);
    assert_eq!(refuse(with(&[4096, 4096]), Some(meta(two.clone()))), SignError::Meta(swapped));
    // Of manifest chunks the same is asked page by page.
    let last = [chunk_ref(6, 1)];
    assert_eq!(meta(two.clone()).check_lengths(&last, 1), Ok(()));
    assert!(meta(two).check_lengths(&last, 2).is_err());
    let nothing = Meta { size: 0, ..meta(runs(&[])) };
    assert!(matches!(refuse(with(&[]), Some(nothing)), SignError::Meta(MetaError::Size { .. })));
}

#[test]
fn inline_bytes_stand_alone_and_within_their_limit() {
    let put = || clear(RecordKind::Put);
    let full = Meta { inline: Some(vec![1; INLINE_MAX]), ..Meta::new(key(), INLINE_MAX as u64) };
    let record = sign(put(), Some(full.clone()));
    assert_eq!(record.open_meta(&meta_keys()), Ok(full));
    let empty = Meta { inline: Some(Vec::new()), ..Meta::new(key(), 0) };
    assert_eq!(sign(put(), Some(empty.clone())).open_meta(&meta_keys()), Ok(empty));

    let long = Meta { inline: Some(vec![1; INLINE_MAX + 1]), ..Meta::new(key(), 4097) };
    let wrong = MetaError::InlineLength { len: INLINE_MAX + 1 };
    assert_eq!(refuse(put(), Some(long)), SignError::Meta(wrong));
    let wrong_size = Meta { size: 6, ..inline_meta() };
    let wrong = MetaError::Size { size: 6, chunks: 0 };
    assert_eq!(refuse(put(), Some(wrong_size)), SignError::Meta(wrong));
    let nothing = Meta::new(key(), 0);
    let wrong = MetaError::Size { size: 0, chunks: 0 };
    assert_eq!(refuse(put(), Some(nothing)), SignError::Meta(wrong));
    let wrong = SignError::Meta(MetaError::Tombstone);
    assert_eq!(refuse(clear(RecordKind::Tombstone), Some(inline_meta())), wrong);
}

// Fault case 65.
#[test]
fn records_of_small_files_show_their_size_only_in_steps_of_256_bytes() {
    let lengths: Vec<usize> = (0..=600)
        .map(|len| Meta { inline: Some(vec![1; len]), ..Meta::new(key(), len as u64) })
        .map(|meta| sign(clear(RecordKind::Put), Some(meta)).bytes().len())
        .collect();
    let mut distinct = lengths.clone();
    distinct.dedup();
    assert_eq!(distinct.len(), 3, "{distinct:?}");
    assert!(distinct.windows(2).all(|pair| pair[1] - pair[0] == 256));
}

#[test]
fn chunk_sizes_and_nanoseconds_are_bounded() {
    for chunk_size in [1, 2048, 4097, 3 << 20, 8 << 20] {
        let meta = Meta { chunk_size, ..inline_meta() };
        let wrong = SignError::Meta(MetaError::ChunkSize { chunk_size });
        assert_eq!(refuse(clear(RecordKind::Put), Some(meta)), wrong);
    }
    let nanos = 1_000_000_000;
    let modified = Meta { modified: Some((0, nanos)), ..inline_meta() };
    let written = Meta { written: Some((0, nanos)), ..inline_meta() };
    for meta in [modified, written] {
        let wrong = SignError::Meta(MetaError::Nanos { nanos });
        assert_eq!(refuse(clear(RecordKind::Put), Some(meta)), wrong);
    }
}

// Fault case 71.
#[test]
fn debug_shows_no_name_and_no_content() {
    let record = put_inline();
    let meta = record.open_meta(&meta_keys()).unwrap();
    let shown = format!("{record:?} {meta:?} {:?} {:?}", meta.key, record.clear());
    for secret in ["Photos", "hello", "blue", "user.tag"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(!record.bytes().windows(6).any(|window| window == b"Photos"));
}
