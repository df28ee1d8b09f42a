//! Records and what is sealed in them.

use std::sync::LazyLock;

use arbitrary::Unstructured;

use super::{NODES, ROOT, block, stash};
use crate::codec::Reader;
use crate::record::MetaKeys;
use crate::record::clear::{Clear, SignedOver};
use crate::{Meta, Record, RecordDraft};

static KEYS: LazyLock<MetaKeys> = LazyLock::new(|| ROOT.read_root().meta_keys());

/// A record as a peer sends it.
pub fn record(bytes: &[u8]) -> bool {
    let Ok(record) = Record::decode(bytes) else {
        return false;
    };
    assert_eq!(record.bytes(), bytes);
    let signed_over = if bytes[2] < 3 { SignedOver::Body } else { SignedOver::Hash };
    let mut clear = Vec::new();
    record.clear().encode(signed_over, &mut clear);
    assert_eq!(clear.len(), record.clear().encoded_len());
    assert!(bytes.starts_with(&clear), "the clear part has another encoding");
    let signed = record.verify().is_ok();
    let opened = record.open_meta(&KEYS);
    if let Ok(meta) = opened
        && signed
        && record.clear().dot.writer.node == NODES[0].node_id()
    {
        let draft = RecordDraft { clear: record.clear().clone(), meta: Some(meta) };
        let again = draft.sign_over(signed_over, NODES[0].signer(), &KEYS);
        assert_eq!(again.as_ref().map(Record::bytes), Ok(bytes));
    }
    true
}

/// A draft as an author may seal and sign it: a clear part with its length (u16) before it, then
/// the padded plaintext of the meta. The author's identity is put right.
pub fn meta(bytes: &[u8]) -> bool {
    let mut input = Unstructured::new(bytes);
    let mut clear = Reader::new(block(&mut input));
    let plain = input.take_rest();
    let meta = Meta::decode(plain);
    if let Ok(meta) = &meta {
        assert_eq!(meta.encode().as_slice(), plain, "the meta has another encoding");
    }
    let (Ok((mut clear, _)), true) = (Clear::read(&mut clear), clear.is_empty()) else {
        return false;
    };
    clear.stash = stash();
    clear.dot.writer.node = NODES[0].node_id();
    clear.epoch = KEYS.epoch();
    let meta = meta.ok().filter(|_| clear.kind.is_version());
    let draft = RecordDraft { clear: clear.clone(), meta: meta.clone() };
    let Ok(record) = draft.sign(NODES[0].signer(), &KEYS) else {
        return false;
    };
    assert_eq!(Record::decode(record.bytes()).as_ref(), Ok(&record));
    assert_eq!(record.verify(), Ok(()));
    assert_eq!(record.clear(), &clear);
    assert_eq!(record.open_meta(&KEYS).ok(), meta);
    true
}
