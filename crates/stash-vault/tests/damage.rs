//! Damage and forgery: never a wrong byte, never half a file, never a name that was not signed.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{Place, all, close, files, get, noise, put, vault};
use futures::StreamExt;
use stash_vault::crypto::chunk::CHUNK_OVERHEAD;
use stash_vault::crypto::{ChunkRef, Clear, Keyring, Manifest, Meta, RecordDraft, RecordKind};
use stash_vault::names::AlarmReason;
use stash_vault::server::{Position, Write};
use stash_vault::{Class, GetOptions, Key, Progress, Role, Wait};

const MIB: usize = 1 << 20;

/// Flips one bit in every chunk file of a node and says how many there are.
fn flip_chunks(node: &Path) -> usize {
    let chunks = files(&node.join("store/chunks"));
    for path in &chunks {
        let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        let at = file.metadata().unwrap().len() / 2;
        file.read_exact_at(&mut byte, at).unwrap();
        byte[0] ^= 4;
        file.write_all_at(&byte, at).unwrap();
    }
    chunks.len()
}

/// Fault case 59: what was verified is released, then the error, and no file appears.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_chunk_that_nobody_else_has_ends_the_read_with_an_error() {
    let place = Place::new();
    let node = place.founder().await;
    let bytes = noise(4 * MIB, 1);
    put(&node, &place.file("file", &bytes)).await;
    let chunks = files(&place.path("founder/store/chunks"));
    assert_eq!(chunks.len(), 4);
    std::fs::File::options().write(true).open(&chunks[2]).unwrap().set_len(1000).unwrap();
    let vault = vault(&node);
    let mut reading = vault.read(&Key::new("file").unwrap(), None, true).await.unwrap();
    let (mut got, mut failed) = (Vec::new(), false);
    while let Some(piece) = reading.next().await {
        assert!(!failed, "nothing follows an error");
        match piece {
            Ok(piece) => got.extend_from_slice(&piece),
            Err(_) => failed = true,
        }
    }
    assert!(failed && bytes.starts_with(&got) && got.len() < bytes.len());
    let out = place.path("out/file");
    std::fs::create_dir(out.parent().unwrap()).unwrap();
    let error = vault.get_path("file", Some(&out), GetOptions::default(), &Progress::new()).await;
    let error = error.unwrap_err();
    assert_eq!(error.class(), Class::Integrity, "damaged, and not only out of reach");
    assert!(error.to_string().contains("'file'"), "{error}");
    assert!(files(out.parent().unwrap()).is_empty(), "not even a temporary file");
    close(node).await;
}

/// Fault cases 11 and 21: damage here is healed from a member; damage there is never believed.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_copy_is_replaced_by_a_good_one_and_never_read() {
    let place = Place::new();
    let founder = place.founder().await;
    let keeper = place.member(&founder, "keeper", Role::Keeper).await;
    let bytes = noise(6 * MIB, 1);
    put(&founder, &place.file("file", &bytes)).await;
    assert_eq!(flip_chunks(&place.path("founder")), 6);
    let out = place.path("out");
    get(&founder, "file", &out).await;
    assert!(std::fs::read(&out).unwrap() == bytes);
    std::fs::remove_file(&out).unwrap();

    vault(&founder).evict("file", false, Some(1), &Progress::new()).await.unwrap();
    assert_eq!(flip_chunks(&place.path("keeper")), 6);
    let (vault, options) = (vault(&founder), GetOptions::default());
    let error = vault.get_path("file", Some(&out), options, &Progress::new()).await.unwrap_err();
    assert!(matches!(error.class(), Class::Temporary | Class::Integrity), "{error}");
    assert!(!out.exists());
    close(keeper).await;
    close(founder).await;
}

/// Issue 2, show 10: an owner that signs nonsense is noticed and harms no other name.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_seals_another_name_is_an_alarm_and_never_listed() {
    let place = Place::new();
    let node = place.founder().await;
    put(&node, &place.file("good", b"good")).await;
    let keyring = std::fs::read(place.path("founder/keyring")).unwrap();
    let keyring = Keyring::decode(&keyring, None).unwrap();
    let vault = vault(&node);
    let forge = |under: &str, sealed: &str| {
        let (name, sealed) = (vault.name_id(&Key::new(under).unwrap()), Key::new(sealed).unwrap());
        let (keys, meta_keys) = (keyring.node.duplicate(), keyring.read[0].meta_keys());
        let draft = move |at: Position| {
            let mut meta = Meta::new(sealed.clone(), 4);
            meta.inline = Some(b"evil".to_vec());
            let clear = Clear {
                stash: at.stash,
                kind: RecordKind::Put,
                name,
                dot: at.dot,
                previous: at.previous,
                height: at.height,
                epoch: 0,
                seen: at.seen,
                manifest: Manifest::EMPTY,
            };
            RecordDraft { clear, meta: Some(meta) }.sign(keys.signer(), &meta_keys)
        };
        Write { name, draft: Box::new(draft) }
    };
    let upload = node.engine.upload(Wait::Local);
    upload.commit(vec![forge("fresh", "other"), forge("good", "other")]).await.unwrap();
    let listed = vault.ls("", None, 10).await.unwrap();
    let keys: Vec<_> = listed.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["good"]);
    let out = place.path("out");
    get(&node, "good", &out).await;
    assert_eq!(std::fs::read(out).unwrap(), b"good");
    let only_forged = vault.stat(&Key::new("fresh").unwrap()).await;
    assert!(only_forged.is_err());
    let forged = vault.read(&Key::new("fresh").unwrap(), None, true).await;
    assert_eq!(forged.unwrap_err().class(), Class::Integrity);
    let unknown = vault.read(&Key::new("other").unwrap(), None, true).await;
    assert_eq!(unknown.unwrap_err().class(), Class::NotFound);
    let alarms = vault.alarms().await.unwrap();
    assert_eq!(alarms.len(), 2);
    assert!(alarms.iter().all(|alarm| alarm.reason == AlarmReason::WrongName));
    close(node).await;
}

/// The padding of the last chunk is checked: it is no place to hide what a size leaves out.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_with_something_in_its_padding_is_refused() {
    let place = Place::new();
    let node = place.founder().await;
    let keyring = std::fs::read(place.path("founder/keyring")).unwrap();
    let keyring = Keyring::decode(&keyring, None).unwrap();
    let vault = vault(&node);
    for (name, padding, fine) in [("clean", 0, true), ("dirty", 1, false)] {
        let mut buffer = node.engine.buffer(CHUNK_OVERHEAD + 5120).await;
        buffer[CHUNK_OVERHEAD..].fill(7);
        buffer[CHUNK_OVERHEAD + 5000..].fill(0);
        *buffer.last_mut().unwrap() = padding;
        let sealed = keyring.read[0].chunk_keys().seal_in_place(&mut buffer).unwrap();
        let chunk =
            ChunkRef { address: sealed.address, sealed_len: u32::try_from(buffer.len()).unwrap() };
        let key = Key::new(name).unwrap();
        let mut meta = Meta::new(key.clone(), 5000);
        meta.chunk_size = 1 << 20;
        let (id, keys) = (vault.name_id(&key), keyring.node.duplicate());
        let meta_keys = keyring.read[0].meta_keys();
        let draft = move |at: Position| {
            let clear = Clear {
                stash: at.stash,
                kind: RecordKind::Put,
                name: id,
                dot: at.dot,
                previous: at.previous,
                height: at.height,
                epoch: 0,
                seen: at.seen,
                manifest: Manifest::Direct(vec![chunk]),
            };
            RecordDraft { clear, meta: Some(meta.clone()) }.sign(keys.signer(), &meta_keys)
        };
        let upload = node.engine.upload(Wait::Local);
        upload.chunk(sealed.address, buffer.freeze()).await.unwrap();
        upload.commit(vec![Write { name: id, draft: Box::new(draft) }]).await.unwrap();
        let out = place.path(name);
        let progress = Progress::new();
        let got = vault.get_path(name, Some(&out), GetOptions::default(), &progress).await;
        if fine {
            assert_eq!(std::fs::read(got.unwrap().outputs.pop().unwrap()).unwrap(), [7; 5000]);
        } else {
            assert_eq!(got.unwrap_err().class(), Class::Integrity);
            assert!(!out.exists());
        }
    }
    close(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_never_holds_still_is_reported_and_not_stored() {
    let place = Place::new();
    let node = place.founder().await;
    let path = place.file("restless", &noise(48 * MIB, 1));
    let (stop, target) = (Arc::new(AtomicBool::new(false)), path.clone());
    let writer = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let file = std::fs::File::options().write(true).open(target).unwrap();
            while !stop.load(Ordering::Relaxed) {
                file.write_all_at(b"more", 0).unwrap();
            }
        })
    };
    let put = vault(&node).put_path(&path, None, all(), &Progress::new()).await;
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    let error = put.unwrap_err();
    assert_eq!(error.class(), Class::Unreadable);
    assert!(error.to_string().contains("changed while it was read"), "{error}");
    assert!(vault(&node).ls("", None, 10).await.unwrap().is_empty());
    close(node).await;
}
