use std::collections::BTreeSet;
use std::convert::Infallible;

use negentropy::{Id, Negentropy, NegentropyStorageVector};

use crate::message::{Reply, Request, encode};

use super::*;

/// Hashes in order.
struct Set(Vec<[u8; 32]>);

impl Hashes for Set {
    type Error = Infallible;

    fn under(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8; 32])) -> Result<(), Infallible> {
        let from = self.0.partition_point(|hash| hash[..prefix.len()] < *prefix);
        self.0[from..].iter().take_while(|hash| hash.starts_with(prefix)).for_each(visit);
        Ok(())
    }
}

fn hash(n: u64) -> [u8; 32] {
    *blake3::hash(&n.to_le_bytes()).as_bytes()
}

fn set(numbers: impl Iterator<Item = u64>) -> Set {
    let mut hashes: Vec<_> = numbers.map(hash).collect();
    hashes.sort_unstable();
    Set(hashes)
}

/// Outcome of an exchange.
#[derive(Debug, Default)]
struct Exchange {
    trips: u32,
    bytes: usize,
    here: BTreeSet<[u8; 32]>,
    there: BTreeSet<Vec<u8>>,
}

/// Runs the whole comparison, as `replication/reconcile.rs` does over the network.
fn exchange(mine: &Set, theirs: &Set) -> Exchange {
    let mut out = Exchange::default();
    let mut differing = vec![Vec::new()];
    for _ in 0..2 {
        let mut next = Vec::new();
        for page in differing.chunks(PARTS) {
            let (a, b) = (sums(mine, page).unwrap(), sums(theirs, page).unwrap());
            out.trips += 1;
            out.bytes += page.concat().len() + b.len();
            next.extend(super::differing(page, &a, &b));
        }
        differing = next;
    }
    let parts: Vec<[u8; 2]> = differing.iter().map(|part| part[..].try_into().unwrap()).collect();
    let size = told(parts.len());
    let mut rest = &parts[..];
    while !rest.is_empty() {
        let page = &rest[..rest.len().min(SMALL)];
        let (ids, done) = list(theirs, page, size).unwrap();
        out.trips += 1;
        out.bytes += 2 * page.len() + ids.len();
        let found = difference(mine, &page[..done], size, &ids).unwrap().unwrap();
        out.here.extend(found.here.iter().map(|hash| *hash.as_bytes()));
        if size == HALF {
            out.bytes += found.there.len() * (HALF + 32);
        }
        out.there.extend(found.there);
        rest = &rest[done..];
    }
    out
}

fn check(out: &Exchange, here: impl Iterator<Item = u64>, there: impl Iterator<Item = u64>) {
    assert_eq!(out.here, here.map(hash).collect());
    let size = out.there.first().map_or(32, Vec::len);
    assert_eq!(out.there, there.map(|n| hash(n)[..size].to_vec()).collect());
}

#[test]
fn any_two_sets_are_told_apart_exactly() {
    for (both, here, there) in
        [(0, 0, 0), (0, 1, 0), (0, 0, 900), (500, 3, 4), (30_000, 700, 0), (10_000, 0, 9_000)]
    {
        let (mine, theirs) = (both..both + here, 1 << 40..(1 << 40) + there);
        let a = set((0..both).chain(mine.clone()));
        let b = set((0..both).chain(theirs.clone()));
        check(&exchange(&a, &b), mine, theirs);
    }
}

/// The bytes that the negentropy crate needs for the same, and its round trips.
fn negentropy(mine: &Set, theirs: &Set) -> (usize, u32) {
    let storage = |set: &Set| {
        let mut storage = NegentropyStorageVector::new();
        set.0.iter().for_each(|hash| storage.insert(0, Id::from_byte_array(*hash)).unwrap());
        storage.seal().unwrap();
        storage
    };
    let (a, b) = (storage(mine), storage(theirs));
    let mut asker = Negentropy::borrowed(&a, 0).unwrap();
    let mut other = Negentropy::borrowed(&b, 0).unwrap();
    let (mut have, mut need) = (Vec::new(), Vec::new());
    let (mut bytes, mut trips) = (0, 0);
    let mut question = Some(asker.initiate().unwrap());
    while let Some(message) = question {
        let answer = other.reconcile(&message).unwrap();
        bytes += message.len() + answer.len();
        trips += 1;
        question = asker.reconcile_with_ids(&answer, &mut have, &mut need).unwrap();
    }
    (bytes, trips)
}

fn all_of(n: u64, sum: [u8; 32]) -> Reply {
    Reply::All { n, sum, log: 511, full: 0, less: serde_bytes::ByteBuf::new() }
}

// The numbers of the design, section 10.
#[test]
fn a_million_records_are_compared_within_the_bytes_that_the_design_allows() {
    const MILLION: u64 = 1_000_000;
    let (all, sum) = (set(0..MILLION), [0xff; 32]);
    let same = exchange(&all, &all);
    assert_eq!((same.trips, same.bytes, same.here.len()), (1, 256 * SUM, 0));
    // Equal sets never come to that: their totals say so.
    let equal = encode(&Request::All {}).len() + encode(&all_of(MILLION, sum)).len();
    assert!(equal <= 64, "{equal} bytes");

    let ten = set((5..MILLION).chain(MILLION..MILLION + 5));
    let few = exchange(&all, &ten);
    check(&few, 0..5, MILLION..MILLION + 5);
    // One trip more asks for the totals.
    assert!(few.trips < 4 && few.bytes <= 32 << 10, "{} bytes, {} trips", few.bytes, few.trips);

    let many = set((50_000..MILLION).chain(MILLION..MILLION + 50_000));
    let out = exchange(&all, &many);
    check(&out, 0..50_000, MILLION..MILLION + 50_000);
    assert!(out.bytes <= 20_000_000, "{} bytes", out.bytes);
    println!("equal: {equal} bytes");
    println!("10 of a million: {} bytes, {} trips", few.bytes, few.trips);
    println!("100,000 of a million: {} bytes, {} trips", out.bytes, out.trips);
}

#[test]
fn the_negentropy_crate_needs_more_bytes_for_many_differences() {
    let all = set(0..200_000);
    let ten = set((5..200_000).chain(200_000..200_005));
    let many = set((10_000..200_000).chain(200_000..210_000));
    for (name, other) in [("10", &ten), ("20,000", &many)] {
        let (mine, theirs) = (exchange(&all, other), negentropy(&all, other));
        println!(
            "{name} of 200,000: {mine_bytes} bytes, {trips} trips; negentropy {theirs:?}",
            mine_bytes = mine.bytes,
            trips = mine.trips
        );
        if name != "10" {
            assert!(mine.bytes < theirs.0, "{} against {}", mine.bytes, theirs.0);
        }
        assert!(mine.bytes <= 32 << 10 || mine.bytes < theirs.0);
    }
}

// Fault case 29: what a member says of its parts is not believed further than it goes.
#[test]
fn a_list_that_is_none_is_refused() {
    let mine = set(0..1_000);
    let part = [mine.0[0][0], mine.0[0][1]];
    let (good, done) = list(&mine, &[part], 32).unwrap();
    assert_eq!(done, 1);
    let same = difference(&mine, &[part], 32, &good).unwrap();
    assert_eq!(same, Some(Difference::default()));
    let other = [part[0], part[1].wrapping_add(1)];
    for (parts, told) in [
        (vec![part], good[..good.len() - 1].to_vec()),
        (vec![part], [&good[..], &[0]].concat()),
        (vec![part, other], good.clone()),
        (vec![other], good.clone()),
        (vec![part], vec![255, 255]),
        (vec![part], Vec::new()),
    ] {
        assert_eq!(difference(&mine, &parts, 32, &told).unwrap(), None, "{parts:?} {}", told.len());
    }
    assert!(
        prefixes(&[0; 65], 1).is_none()
            && prefixes(&[1], 0).is_none()
            && prefixes(&[], 2).is_none()
    );
    assert!(
        parts(&[0; 3], 16).is_none() && parts(&[], 16).is_none() && parts(&[0; 2], 20).is_none()
    );
    assert!(halves(&[0; 17]).is_none());
}

// Fault case 29: one who signs records whose hashes begin alike has them fill one part.
#[test]
fn a_part_that_is_too_full_for_a_message_is_compared_as_far_as_it_goes() {
    let alike = |n: u32| {
        let mut hash = [0; 32];
        hash[2..6].copy_from_slice(&n.to_be_bytes());
        hash
    };
    let full = u32::try_from(ANSWER / HALF).unwrap();
    let theirs = Set((0..2 * full).map(alike).collect());
    let mine = Set((1..2 * full + 9).map(alike).collect());
    let (told, done) = list(&theirs, &[[0; 2], [1; 2]], HALF).unwrap();
    assert!(told.len() <= ANSWER + 4, "{} bytes", told.len());
    let found = difference(&mine, &[[0; 2], [1; 2]][..done], HALF, &told).unwrap().unwrap();
    assert_eq!(found.there, [alike(0)[..HALF].to_vec()]);
    assert_eq!(found.here, [], "nothing is said of those beyond");
}
