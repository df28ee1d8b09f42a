//! One stash, two nodes and one object of every format, all from fixed bytes.

use std::convert::Infallible;
use std::net::SocketAddr;

use rand::{TryCryptoRng, TryRng};
use stash_crypto::chunk::*;
use stash_crypto::keys::*;
use stash_crypto::member::*;
use stash_crypto::record::*;
use stash_crypto::ticket::*;
use stash_crypto::*;

/// Counts: the same "random" bytes for ever, whatever the version of any library.
pub(crate) struct Counting(pub(crate) u8);

impl TryRng for Counting {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        rand::rand_core::utils::next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        rand::rand_core::utils::next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
        Ok(())
    }
}

impl TryCryptoRng for Counting {}

pub(crate) fn root() -> RootSecret {
    RootSecret::from_bytes([1; 32])
}

pub(crate) fn stash() -> StashId {
    root().stash_id()
}

pub(crate) fn node() -> NodeKeys {
    NodeKeys::from_seed([2; 32])
}

pub(crate) fn keeper() -> NodeKeys {
    NodeKeys::from_seed([3; 32])
}

pub(crate) fn meta_keys() -> MetaKeys {
    root().read_root().meta_keys()
}

pub(crate) fn chunk_keys() -> ChunkKeys {
    root().read_root().chunk_keys()
}

pub(crate) fn key() -> Key {
    Key::new("Photos/2024/a.jpg").unwrap()
}

pub(crate) fn writer(node: &NodeKeys) -> Writer {
    Writer { node: node.node_id(), incarnation: Incarnation::from_bytes([4; 8]) }
}

pub(crate) fn addresses() -> Vec<SocketAddr> {
    vec!["192.0.2.7:7979".parse().unwrap(), "[2001:db8::7]:7979".parse().unwrap()]
}

/// A buffer as `seal_in_place` wants it: room, then `len` bytes that repeat 0 to 250.
pub(crate) fn buffer(len: usize) -> Vec<u8> {
    let mut buffer = vec![0; CHUNK_OVERHEAD];
    buffer.extend((0..251u8).cycle().take(len));
    buffer
}

pub(crate) fn sealed(len: usize) -> Vec<u8> {
    let mut buffer = buffer(len);
    chunk_keys().seal_in_place(&mut buffer).unwrap();
    buffer
}

pub(crate) fn chunk_ref(number: u8, plain: u32) -> ChunkRef {
    ChunkRef { address: Address::from_bytes([number; 32]), sealed_len: plain + 48 }
}

pub(crate) fn clear(kind: RecordKind) -> Clear {
    Clear {
        stash: stash(),
        kind,
        name: root().read_root().name_key().name_id(&key()),
        dot: Dot { writer: writer(&node()), n: 1 },
        previous: RecordHash::ZERO,
        height: 1,
        epoch: 0,
        seen: Vector::new(),
        manifest: Manifest::EMPTY,
    }
}

pub(crate) fn seen(entries: u8) -> Vector {
    let mut seen = Vector::new();
    for byte in 0..entries {
        let node = NodeId::from_bytes([byte; 32]);
        let writer = Writer { node, incarnation: Incarnation::from_bytes([9; 8]) };
        seen.insert(Dot { writer, n: u64::from(byte) + 1 }).unwrap();
    }
    seen
}

pub(crate) fn inline_meta() -> Meta {
    Meta { inline: Some(b"hello".to_vec()), ..Meta::new(key(), 5) }
}

pub(crate) fn sign(clear: Clear, meta: Option<Meta>) -> Record {
    RecordDraft { clear, meta }.sign(node().signer(), &meta_keys()).unwrap()
}

pub(crate) fn put_inline() -> Record {
    let meta = Meta {
        modified: Some((-1, 999_999_999)),
        mode: Some(0o644),
        attributes: [("user.tag".to_owned(), b"blue".to_vec())].into(),
        ..inline_meta()
    };
    sign(clear(RecordKind::Put), Some(meta))
}

/// The same with the time at which it was written.
pub(crate) fn put_written() -> Record {
    let meta = Meta {
        modified: Some((-1, 999_999_999)),
        written: Some((1_800_000_000, 123_456_789)),
        ..inline_meta()
    };
    sign(clear(RecordKind::Put), Some(meta))
}

/// A symbolic link, with the attributes that a put of a tree gives.
pub(crate) fn put_link() -> Record {
    let target = b"../over there/\xff".to_vec();
    let owner = [1000_u32.to_le_bytes(), 100_u32.to_le_bytes()].concat();
    let meta = Meta {
        modified: Some((5, 6)),
        attributes: [("posix.owner".to_owned(), owner), ("stash.put".to_owned(), vec![1])].into(),
        file_type: FileType::Link,
        inline: Some(target.clone()),
        ..Meta::new(key(), target.len() as u64)
    };
    sign(clear(RecordKind::Put), Some(meta))
}

pub(crate) fn directory_meta() -> Meta {
    let inline = Some(Vec::new());
    let file_type = FileType::Directory;
    Meta { mode: Some(0o750), modified: Some((5, 6)), file_type, inline, ..Meta::new(key(), 0) }
}

pub(crate) fn put_directory() -> Record {
    sign(clear(RecordKind::Put), Some(directory_meta()))
}

/// 1,000 MiB and a byte: the first chunk, two further ones and the last are stored.
pub(crate) fn put_holes() -> Record {
    let chunk = |byte| chunk_ref(byte, 1 << 20);
    let manifest = Manifest::Direct(vec![chunk(6), chunk(7), chunk(8), chunk_ref(9, 1)]);
    let clear = Clear { manifest, ..clear(RecordKind::Put) };
    let runs = ChunkRuns::new(vec![0..1, 300..302, 1000..1001]);
    let meta = Meta { chunk_size: 1 << 20, runs, ..Meta::new(key(), (1000 << 20) + 1) };
    sign(clear, Some(meta))
}

/// Two chunks of 1 MiB, the last of 4,097 bytes padded to 4,352; two writers seen.
pub(crate) fn put_chunks() -> Record {
    let clear = Clear {
        dot: Dot { writer: writer(&node()), n: 7 },
        previous: RecordHash::from_bytes([5; 32]),
        height: 3,
        seen: seen(2),
        manifest: Manifest::Direct(vec![chunk_ref(6, 1 << 20), chunk_ref(7, 4352)]),
        ..clear(RecordKind::Put)
    };
    sign(clear, Some(Meta { chunk_size: 1 << 20, ..Meta::new(key(), (1 << 20) + 4097) }))
}

pub(crate) fn put_indirect() -> Record {
    let chunks = vec![ChunkRef { address: Address::from_bytes([8; 32]), sealed_len: 16 + 65 * 36 }];
    let manifest = Manifest::Indirect { chunks, total: 65 };
    let clear = Clear { manifest, ..clear(RecordKind::Put) };
    sign(clear, Some(Meta { chunk_size: 1 << 20, ..Meta::new(key(), 65 << 20) }))
}

pub(crate) fn tombstone() -> Record {
    let clear = Clear { seen: seen(1), height: 2, ..clear(RecordKind::Tombstone) };
    sign(clear, Some(Meta::new(key(), 0)))
}

pub(crate) fn tombstone_written() -> Record {
    let clear = tombstone().clear().clone();
    let meta = Meta { written: Some((1_800_000_000, 0)), ..Meta::new(key(), 0) };
    sign(clear, Some(meta))
}

pub(crate) fn forget(kind: ForgetKind) -> Record {
    sign(Clear { seen: seen(2), ..clear(RecordKind::Forget(kind)) }, None)
}

/// A dead forget of what two writers and two removed nodes wrote.
pub(crate) fn forget_by_node() -> Record {
    let mut seen = seen(2);
    seen.insert_node(NodeId::from_bytes([7; 32]), 4).unwrap();
    seen.insert_node(NodeId::from_bytes([0x10; 32]), 1 << 40).unwrap();
    sign(Clear { seen, ..clear(RecordKind::Forget(ForgetKind::Dead)) }, None)
}

pub(crate) fn admit(keys: &NodeKeys, role: Role, ticket: u8) -> MemberChange {
    let ticket = TicketId::from_bytes([ticket; 16]);
    let request = JoinRequest::sign(keys, &stash(), ticket, "attic").unwrap();
    let label = root().read_root().label_keys().seal("attic", &keys.node_id()).unwrap();
    MemberChange::Admit {
        identity: request.identity,
        role,
        ticket,
        label,
        node_signature: request.signature,
    }
}

pub(crate) fn entry(index: u64, previous: EntryHash, change: MemberChange) -> MemberEntry {
    MemberEntry::sign(&root().root_signer(), index, previous, change).unwrap()
}

/// A record of format 1 as it is frozen.
fn old(hex: &str) -> Record {
    Record::decode(&data_encoding::HEXLOWER.decode(hex.trim_end().as_bytes()).unwrap()).unwrap()
}

/// `put_inline` as it was signed over its body.
pub(crate) fn old_put_inline() -> Record {
    old(include_str!("../../vectors/record-put-inline.txt"))
}

/// The hash of the record at which frozen entries cut.
fn cut_at() -> RecordHash {
    old(include_str!("../../vectors/record-put-chunks.txt")).hash()
}

/// Entries of every kind, each after the one before.
pub(crate) fn entries() -> Vec<MemberEntry> {
    let root = root();
    let read = ReadRoot::from_parts(1, [11; 32]);
    let grant = KeyGrant { network: vec![NetworkKey::from_parts(1, [10; 32])], read: vec![] };
    let plain = grant.encode().unwrap();
    let wrap_to = |to: &WrapPublic| wrap(to, &stash(), &plain, &mut Counting(0)).unwrap();
    let (noise, to_root) = (root.noise_static().public(), root.wrap_public());
    let cut = Cut { incarnation: Incarnation::from_bytes([4; 8]), n: 7, hash: cut_at() };
    let sealed = wrap_to(&node().wrap_public());
    let wraps = vec![
        EpochWrap { to: None, kind: WrapKind::Network, sealed: wrap_to(&to_root) },
        EpochWrap { to: Some(node().node_id()), kind: WrapKind::Network, sealed },
    ];
    let changes = [
        MemberChange::Root { noise, wrap: to_root },
        admit(&node(), Role::Owner, 0),
        admit(&keeper(), Role::Keeper, 12),
        MemberChange::SetRole { node: keeper().node_id(), role: Role::Reader, cuts: vec![] },
        MemberChange::Remove { node: keeper().node_id(), cuts: vec![cut] },
        MemberChange::Epoch {
            epoch: 1,
            previous_read: read.seal_previous(&root.read_root()),
            wraps,
        },
    ];
    let mut entries: Vec<MemberEntry> = Vec::new();
    for change in changes {
        let previous = entries.last().map_or(EntryHash::ZERO, MemberEntry::hash);
        entries.push(entry(entries.len() as u64, previous, change));
    }
    entries
}

/// An entry after those that ends an owner's writing.
pub(crate) fn demotion() -> MemberEntry {
    let last = entries().pop().unwrap();
    let hash = cut_at();
    let cut = |byte| Cut { incarnation: Incarnation::from_bytes([byte; 8]), n: 7, hash };
    let cuts = vec![cut(4), cut(5)];
    let change = MemberChange::SetRole { node: node().node_id(), role: Role::Reader, cuts };
    entry(last.index() + 1, last.hash(), change)
}

/// What the next entry names.
pub(crate) fn cut_list() -> CutList {
    let cut = |byte, n| Cut {
        incarnation: Incarnation::from_bytes([byte; 8]),
        n,
        hash: RecordHash::from_bytes([byte; 32]),
    };
    CutList::new(vec![cut(4, 7), cut(5, 1), cut(6, 1 << 62)]).unwrap()
}

/// An entry after those that ends an owner's incarnations by a list.
pub(crate) fn ending() -> MemberEntry {
    let (last, list) = (entries().pop().unwrap(), cut_list());
    let (count, list) = (list.count(), list.hash());
    let change = MemberChange::Cuts { node: node().node_id(), count, list };
    entry(last.index() + 1, last.hash(), change)
}

/// An entry after those about whether a member counts.
pub(crate) fn lapse(lapsed: bool) -> MemberEntry {
    let last = entries().pop().unwrap();
    let change = MemberChange::Lapse { node: node().node_id(), lapsed };
    entry(last.index() + 1, last.hash(), change)
}

pub(crate) fn ticket() -> Ticket {
    Ticket {
        stash: stash(),
        inviter: node().noise_public(),
        addresses: places()[..1].to_vec(),
        id: TicketId::from_bytes([12; 16]),
        secret: TicketSecret::from_bytes([13; 16]),
        expires: 1_800_000_000,
    }
}

pub(crate) fn recovery() -> RecoveryText {
    RecoveryText { root: root(), members: vec![(keeper().noise_public(), places())] }
}

/// An address of each family.
pub(crate) fn places() -> Vec<Place> {
    addresses().into_iter().map(Place::from).collect()
}

pub(crate) fn name() -> Place {
    "nas.example.org:7979".parse().unwrap()
}

pub(crate) fn named_ticket() -> Ticket {
    Ticket { addresses: vec![places()[0].clone(), name()], ..ticket() }
}

pub(crate) fn named_recovery() -> RecoveryText {
    RecoveryText { root: root(), members: vec![(keeper().noise_public(), vec![name()])] }
}

pub(crate) fn keyring() -> Keyring {
    Keyring {
        node: node(),
        stash: stash(),
        role: Role::Owner,
        root: Some(root()),
        network: vec![root().network_key()],
        read: vec![root().read_root(), ReadRoot::from_parts(3, [11; 32])],
    }
}

pub(crate) fn confirmation() -> Confirmation {
    let whole = (6, EntryHash::from_bytes([8; 32]));
    Confirmation::sign(&root().root_signer(), whole, 3, 1_795_910_400)
}

pub(crate) fn signed_addresses() -> SignedAddresses {
    let kinds = [AddressKind::Lan, AddressKind::Public, AddressKind::Configured];
    let places = places().into_iter().chain([name()]);
    let announced = kinds.into_iter().zip(places).map(|(kind, place)| Announced { kind, place });
    let announced = announced.collect();
    SignedAddresses::sign(node().signer(), &stash(), 42, 1_795_910_400, announced).unwrap()
}

pub(crate) fn statement() -> Statement {
    let held = RecordSum { count: 5, sum: [6; 32] };
    let whole = RecordSum { count: 4, sum: [7; 32] };
    let figures = Figures {
        held,
        whole,
        settled: true,
        used: 1 << 30,
        limit: 1 << 40,
        full: false,
        keep: u64::MAX,
    };
    Statement::sign(node().signer(), &stash(), 42, 1_795_910_400, figures)
}

pub(crate) fn grant() -> KeyGrant {
    KeyGrant { network: vec![root().network_key()], read: vec![root().read_root()] }
}

pub(crate) fn manifest_chunk() -> Vec<u8> {
    let refs = [chunk_ref(6, 1 << 20), chunk_ref(7, 4352)];
    manifest_chunks(&refs).remove(0).1
}
