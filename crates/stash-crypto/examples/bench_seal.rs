//! Sealing speed on one core, beside the same work in straight-line code.
//!
//! `cargo run --release -p stash-crypto --example bench_seal`
//!
//! Both sides run in turns on equal buffers, so that a drift of the machine meets both alike. The
//! floor is what any construction of this kind must do: one keyed BLAKE3 pass, one AES-256-CTR
//! pass, one BLAKE3 pass over the result.

#![expect(clippy::print_stdout, reason = "a benchmark's result is what it prints")]

use std::hint::black_box;
use std::time::Instant;

use aes::Aes256;
use ctr::cipher::{KeyIvInit, StreamCipher};
use stash_crypto::chunk::CHUNK_OVERHEAD;
use stash_crypto::{ChunkKeys, RootSecret};

/// Plaintext sizes: a small file's chunk, the default chunk, the chunk of very large files.
const SIZES: [usize; 4] = [4 << 10, 64 << 10, 1 << 20, 4 << 20];
/// Samples of each side; the median counts.
const SAMPLES: usize = 41;
/// Bytes of plaintext in one sample.
const BYTES: usize = 32 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keys = RootSecret::from_bytes([7; 32]).read_root().chunk_keys();
    println!("{:>9}  {:>6}  {:>6}  {:>6}  {:>6}  ratio", "bytes", "seal", "open", "tag", "floor");
    for size in SIZES {
        let mut buffer = vec![0x5a; CHUNK_OVERHEAD + size];
        let rounds = BYTES / size;
        let mut samples = [const { Vec::new() }; 4];
        for _ in 0..SAMPLES {
            samples[0].push(time(rounds, || {
                black_box(keys.seal_in_place(&mut buffer)).ok();
            }));
            samples[1].push(open(&keys, &mut buffer, rounds)?);
            samples[2].push(time(rounds, || {
                black_box(keys.tag(&buffer));
            }));
            samples[3].push(time(rounds, || floor(&mut buffer)));
        }
        let [seal, open, tag, floor] = samples.map(|mut samples| {
            samples.sort_by(f64::total_cmp);
            (rounds * size) as f64 / samples[SAMPLES / 2] / f64::from(1 << 30)
        });
        let ratio = seal / floor;
        println!("{size:>9}  {seal:>6.2}  {open:>6.2}  {tag:>6.2}  {floor:>6.2}  {ratio:.2}");
    }
    println!("GiB/s of plaintext on one core; seal includes the address; medians of {SAMPLES}");
    Ok(())
}

fn time(rounds: usize, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..rounds).for_each(|_| work());
    start.elapsed().as_secs_f64()
}

/// Opening destroys the sealed form, so each round seals first, outside the clock.
fn open(
    keys: &ChunkKeys,
    buffer: &mut [u8],
    rounds: usize,
) -> Result<f64, stash_crypto::chunk::SealError> {
    let mut seconds = 0.0;
    for _ in 0..rounds {
        keys.seal_in_place(buffer)?;
        seconds += time(1, || {
            let _ = black_box(keys.open_in_place(buffer).map(<[u8]>::len));
        });
    }
    Ok(seconds)
}

fn floor(buffer: &mut [u8]) {
    let (head, body) = buffer.split_at_mut(CHUNK_OVERHEAD);
    let tag = blake3::keyed_hash(&[1; 32], body);
    head[16..].copy_from_slice(tag.as_bytes());
    let mut iv = [0; 16];
    iv.copy_from_slice(&tag.as_bytes()[..16]);
    ctr::Ctr128BE::<Aes256>::new(&[2; 32].into(), &iv.into()).apply_keystream(body);
    black_box(blake3::hash(buffer));
}
