//! Every target, from what a vault writes on: random, with a seed.

use stash_crypto::record::FileType;
use stash_crypto::{Address, ChunkRef, NameId, RecordHash};
use stash_fuzz::{Corpus, Seed, Target, seed};

use crate::home::Opens;
use crate::index::IndexEntry;
use crate::tags;

fn replay(target: &'static str, run: Target, seeds: &[Seed]) {
    Corpus::open(env!("CARGO_MANIFEST_DIR"), target, run, seeds).run(4000);
}

#[test]
fn what_is_read_back_holds_its_promises_whatever_the_bytes() {
    let entry = IndexEntry {
        name: NameId::from_bytes([1; 32]),
        head: RecordHash::from_bytes([2; 32]),
        size: 1 << 40,
        chunks: 1 << 18,
        chunk_size: 4 << 20,
        siblings: 1,
        modified: Some((-7, 999_999_999)),
        mode: Some(0o644),
        inline: false,
        file_type: FileType::Regular,
    };
    let bare = IndexEntry { modified: None, mode: None, inline: true, ..entry.clone() };
    let link = IndexEntry { file_type: FileType::Link, ..bare.clone() };
    let directory = IndexEntry { file_type: FileType::Directory, ..bare.clone() };
    let entries = [
        seed("every-field", entry.encode()),
        seed("bare", bare.encode()),
        seed("link", link.encode()),
        seed("directory", directory.encode()),
    ];
    replay("index_entry", super::index_entry, &entries);
    let row = tags::encode(&ChunkRef { address: Address::of(b"a"), sealed_len: 1000 });
    replay("tag_row", super::tag_row, &[seed("row", row)]);
    // The first page of rows of the file that an older version wrote.
    let old = include_bytes!("../../tests/fixtures/tags.redb");
    let page = old.chunks(4096).find(|page| super::old_page(page)).unwrap();
    replay(
        "old_page",
        super::old_page,
        &[seed("page", page), seed("refused-header", &old[..4096])],
    );
    let note = Opens { store: [1; 16], count: 7 }.encode();
    let notes = [seed("note-without-its-sum", &note[..24]), seed("note", note)];
    replay("opens_note", super::opens_note, &notes);
}
