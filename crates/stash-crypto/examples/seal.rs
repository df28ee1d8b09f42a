//! Seals a buffer the size of a small file with a fresh stash, signs a record for it, and reads
//! both back as a second owner would.
//!
//! `cargo run -p stash-crypto --example seal`

#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::error::Error;

use stash_crypto::chunk::{CHUNK_OVERHEAD, last_chunk_padding};
use stash_crypto::{
    ChunkRef, Clear, Dot, Incarnation, Key, Manifest, Meta, NodeKeys, Record, RecordDraft,
    RecordHash, RecordKind, RootSecret, Vector, Writer,
};

const CHUNK: usize = 64 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut rng = rand::rng();
    let root = RootSecret::generate(&mut rng);
    let node = NodeKeys::generate(&mut rng);
    let read = root.read_root();
    println!("stash {}", root.stash_id());

    let file: Vec<u8> = (0..150_000u32).map(|i| i.to_le_bytes()[0]).collect();
    let mut refs = Vec::new();
    let mut kept = Vec::new();
    for piece in file.chunks(CHUNK) {
        let padded = last_chunk_padding(u32::try_from(piece.len())?, u32::try_from(CHUNK)?);
        let mut buffer = vec![0; CHUNK_OVERHEAD + usize::try_from(padded)?];
        buffer[CHUNK_OVERHEAD..][..piece.len()].copy_from_slice(piece);
        let address = read.chunk_keys().seal_in_place(&mut buffer)?.address;
        println!("chunk {address}  {} bytes sealed", buffer.len());
        refs.push(ChunkRef { address, sealed_len: u32::try_from(buffer.len())? });
        kept.push(buffer);
    }

    let key = Key::new("Photos/2024/a.jpg")?;
    let writer = Writer { node: node.node_id(), incarnation: Incarnation::from_bytes([1; 8]) };
    let clear = Clear {
        stash: root.stash_id(),
        kind: RecordKind::Put,
        name: read.name_key().name_id(&key),
        dot: Dot { writer, n: 1 },
        previous: RecordHash::ZERO,
        height: 1,
        epoch: read.epoch(),
        seen: Vector::new(),
        manifest: Manifest::Direct(refs),
    };
    let chunk_size = u32::try_from(CHUNK)?;
    let meta = Meta { chunk_size, ..Meta::new(key, file.len() as u64) };
    let record = RecordDraft { clear, meta: Some(meta) }.sign(node.signer(), &read.meta_keys())?;
    println!("record {}  {} bytes", record.hash(), record.bytes().len());

    let received = Record::decode(record.bytes())?;
    received.verify()?;
    let meta = received.open_meta(&read.meta_keys())?;
    let mut back = Vec::new();
    for buffer in &mut kept {
        back.extend_from_slice(read.chunk_keys().open_in_place(buffer)?);
    }
    back.truncate(usize::try_from(meta.size)?);
    assert_eq!(back, file);
    println!("opened {} with {} bytes, equal to what was sealed", meta.key, back.len());
    Ok(())
}
