//! Messages as bytes, and the packed forms of the lists in them.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use stash_crypto::{Address, ChunkRef, RecordHash};

use crate::message::limits::{ITEM, MAX_ADDRESSES, MAX_OFFERED, REFERENCE};

/// Encodes a message. The types above always encode.
#[must_use]
pub(crate) fn encode<T: Serialize>(message: &T) -> bytes::Bytes {
    let bytes = rmp_serde::to_vec_named(message);
    bytes.expect("messages hold only maps, strings and byte strings").into()
}

/// The message is not one that this version understands.
#[derive(Debug, thiserror::Error)]
#[error("the message does not decode: {0}")]
pub(crate) struct Malformed(pub String);

/// Decodes a message; trailing bytes are an error.
///
/// # Errors
///
/// [`Malformed`], the sender's fault; nothing has changed.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    let mut rest = bytes;
    let message = rmp_serde::from_read(&mut rest).map_err(|error| Malformed(error.to_string()))?;
    match rest.len() {
        0 => Ok(message),
        left => Err(Malformed(format!("{left} trailing bytes"))),
    }
}

/// Packs addresses into one byte string.
pub(crate) fn pack<'a>(addresses: impl IntoIterator<Item = &'a Address>) -> ByteBuf {
    let mut bytes = Vec::new();
    addresses.into_iter().for_each(|address| bytes.extend_from_slice(address.as_bytes()));
    ByteBuf::from(bytes)
}

/// Unpacks addresses.
///
/// # Errors
///
/// [`Malformed`] when the length is no multiple of 32 or above [`MAX_ADDRESSES`] addresses.
pub(crate) fn unpack(bytes: &[u8]) -> Result<Vec<Address>, Malformed> {
    let (addresses, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || addresses.len() > MAX_ADDRESSES {
        return Err(Malformed(format!("{} bytes are no list of addresses", bytes.len())));
    }
    Ok(addresses.iter().copied().map(Address::from_bytes).collect())
}

/// Packs record hashes into one byte string.
pub(crate) fn pack_hashes<'a>(hashes: impl IntoIterator<Item = &'a RecordHash>) -> ByteBuf {
    let mut bytes = Vec::new();
    hashes.into_iter().for_each(|hash| bytes.extend_from_slice(hash.as_bytes()));
    ByteBuf::from(bytes)
}

/// Unpacks record hashes.
///
/// # Errors
///
/// As [`unpack`].
pub(crate) fn unpack_hashes(bytes: &[u8]) -> Result<Vec<RecordHash>, Malformed> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || hashes.len() > MAX_ADDRESSES {
        return Err(Malformed(format!("{} bytes are no list of hashes", bytes.len())));
    }
    Ok(hashes.iter().copied().map(RecordHash::from_bytes).collect())
}

/// Packs chunk references for an offer.
pub(crate) fn pack_references<'a>(chunks: impl IntoIterator<Item = &'a ChunkRef>) -> ByteBuf {
    let mut bytes = Vec::new();
    for chunk in chunks {
        bytes.extend_from_slice(chunk.address.as_bytes());
        bytes.extend_from_slice(&chunk.sealed_len.to_le_bytes());
    }
    ByteBuf::from(bytes)
}

/// Unpacks chunk references of an offer.
///
/// # Errors
///
/// [`Malformed`] when the length is no multiple of 36 or above [`MAX_OFFERED`] references.
pub(crate) fn unpack_references(bytes: &[u8]) -> Result<Vec<ChunkRef>, Malformed> {
    let (chunks, rest) = bytes.as_chunks::<REFERENCE>();
    if !rest.is_empty() || chunks.len() > MAX_OFFERED {
        return Err(Malformed(format!("{} bytes are no list of references", bytes.len())));
    }
    let reference = |bytes: &[u8; REFERENCE]| {
        let (address, len) = bytes.split_first_chunk::<32>().expect("36 is more than 32");
        let len = len.try_into().expect("36 less 32 is 4");
        ChunkRef { address: Address::from_bytes(*address), sealed_len: u32::from_le_bytes(len) }
    };
    Ok(chunks.iter().map(reference).collect())
}

/// Checks a list whose items have no length of their own: together they have at most `limit` bytes,
/// five more counted for each, unless it is one alone.
///
/// # Errors
///
/// [`Malformed`] when they have more.
pub(crate) fn together(items: &[impl AsRef<[u8]>], limit: usize) -> Result<(), Malformed> {
    let bytes: usize = items.iter().map(|item| item.as_ref().len() + ITEM).sum();
    if items.len() > 1 && bytes > limit {
        return Err(Malformed(format!("{} items have more than {limit} bytes", items.len())));
    }
    Ok(())
}

/// Packs flags, lowest bit of the first byte first.
pub(crate) fn bits(flags: impl IntoIterator<Item = bool>) -> ByteBuf {
    let mut bytes = Vec::new();
    for (i, flag) in flags.into_iter().enumerate() {
        if i % 8 == 0 {
            bytes.push(0);
        }
        if flag && let Some(last) = bytes.last_mut() {
            *last |= 1 << (i % 8);
        }
    }
    ByteBuf::from(bytes)
}

/// Unpacks `count` flags.
///
/// # Errors
///
/// [`Malformed`] when the length does not fit `count`.
pub(crate) fn flags(bytes: &[u8], count: usize) -> Result<Vec<bool>, Malformed> {
    if bytes.len() != count.div_ceil(8) {
        return Err(Malformed(format!("{} bytes hold no {count} flags", bytes.len())));
    }
    Ok((0..count).map(|i| bytes[i / 8] >> (i % 8) & 1 == 1).collect())
}
