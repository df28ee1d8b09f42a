//! Checksums bound to table and key: a database that rots in silence is noticed.

/// Bytes of a checksum.
pub(crate) const CHECK: usize = 8;

/// The table in which a value stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Table {
    /// Keys to entries.
    Names = 1,
    /// Name ids to keys.
    Keys = 2,
    /// Cursor and identity.
    State = 3,
    /// T to address.
    Tags = 4,
    /// Keys of names that are removed.
    Removed = 5,
    /// Keys of files with siblings.
    Conflicts = 6,
}

fn check(table: Table, key: &[u8], body: &[u8]) -> [u8; CHECK] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[table as u8]);
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(body);
    let mut check = [0; CHECK];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK]);
    check
}

/// Appends the checksum of a value.
pub(crate) fn seal(table: Table, key: &[u8], value: &mut Vec<u8>) {
    let check = check(table, key, value);
    value.extend_from_slice(&check);
}

/// The value without its checksum, `None` if that does not match.
pub(crate) fn unseal<'a>(table: Table, key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (body, stored) = value.split_last_chunk::<CHECK>()?;
    (check(table, key, body) == *stored).then_some(body)
}
