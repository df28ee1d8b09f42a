//! Several threads at one tree.

use std::sync::atomic::AtomicU64;

use super::*;
use crate::sync::Ordering;

const KEYS: u64 = 2000;
const ROUNDS: u64 = 60;

fn key(n: u64) -> [u8; 32] {
    *blake3::hash(&n.to_le_bytes()).as_bytes()
}

fn value(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().unwrap())
}

/// Each round sets all keys to its number, in batches; readers never see a key go back, or miss
/// one, while others write and merge.
#[test]
fn readers_never_miss_a_key_or_see_it_go_back() {
    // Fault cases 104, 109.
    let tree = &Tree::open(&place(&MemDisk::new(0)), KEY, LIMITS).unwrap();
    let publish = |round: u64| {
        for batch in 0..20 {
            let mut changes = Changes::default();
            for n in (batch..KEYS).step_by(20) {
                changes.insert(&key(n), round.to_le_bytes().to_vec());
            }
            tree.publish(changes);
        }
    };
    publish(0);
    let (done, complete) = (&AtomicBool::new(false), &AtomicU64::new(0));
    let running = || !done.load(Ordering::Acquire);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for round in 1..=ROUNDS {
                publish(round);
                complete.store(round, Ordering::Release);
                tree.freeze(round.to_le_bytes().to_vec());
            }
            done.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            while running() {
                tree.checkpoint().unwrap();
            }
        });
        scope.spawn(|| {
            while running() {
                tree.merge(&|| Ok(())).unwrap();
                tree.verify(TreeCursor::default(), 1 << 20).unwrap();
            }
        });
        scope.spawn(|| {
            let mut n = 0;
            while running() {
                let at_least = complete.load(Ordering::Acquire);
                let got = tree.get(&key(n % KEYS)).unwrap().map(|v| value(&v));
                assert!(got.is_some_and(|got| got >= at_least), "{got:?} of {at_least}");
                n += 1;
            }
        });
        scope.spawn(|| {
            while running() {
                let at_least = complete.load(Ordering::Acquire);
                let map = all(tree).unwrap();
                assert_eq!(map.len() as u64, KEYS);
                assert!(map.values().all(|v| value(v) >= at_least));
            }
        });
    });
    while tree.merge(&|| Ok(())).unwrap() {}
    assert!(all(tree).unwrap().values().all(|v| value(v) == ROUNDS));
    assert!(tree.stats().runs > 0);
}
