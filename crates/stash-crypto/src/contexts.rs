//! Every key-derivation context and every signature tag of the project, in one table.
//!
//! A derived key is `BLAKE3 derive_key(context, material)`. A signature is made over a 32-byte tag
//! (ASCII, filled with zeros), the stash id, and the body. No two purposes share a string.

use zeroize::Zeroizing;

macro_rules! table {
    ($list:ident: $( $(#[$doc:meta])* $name:ident = $text:literal; )*) => {
        $( $(#[$doc])* pub(crate) const $name: &str = $text; )*
        #[cfg(test)]
        pub(crate) const $list: &[(&str, &str)] = &[ $( (stringify!($name), $text) ),* ];
    };
}

table! { CONTEXTS:
    /// S -> the Ed25519 seed that signs the member log.
    ROOT_SIGNING = "stash 2026-11-22 v1 root ed25519 seed";
    /// S -> the X25519 secret by which the root speaks to members.
    ROOT_NOISE = "stash 2026-11-22 v1 root noise x25519 secret";
    /// S -> the X25519 secret to which later epochs are wrapped.
    ROOT_WRAP = "stash 2026-11-22 v1 root wrap x25519 secret";
    /// S -> N_0.
    NETWORK_0 = "stash 2026-11-22 v1 network key of epoch 0";
    /// S -> R_0.
    READ_0 = "stash 2026-11-22 v1 read root of epoch 0";

    /// Node seed -> Ed25519 seed.
    NODE_SIGNING = "stash 2026-11-22 v1 node ed25519 seed";
    /// Node seed -> X25519 secret for Noise.
    NODE_NOISE = "stash 2026-11-22 v1 node noise x25519 secret";
    /// Node seed -> X25519 secret for wrapped keys.
    NODE_WRAP = "stash 2026-11-22 v1 node wrap x25519 secret";

    /// N_i -> key of the tag before the first handshake message.
    PEER_TAG = "stash 2026-11-22 v1 peer first message tag";
    /// N_i -> Noise psk.
    PEER_PSK = "stash 2026-11-22 v1 peer noise psk";
    /// N_i -> key of the tags by which members know each other on a local network.
    LAN_TAG = "stash 2026-11-30 v1 lan tag";
    /// N_0 -> the X25519 secret for Noise under which every member answers the root.
    MEETING_NOISE = "stash 2026-11-29 v1 meeting noise x25519 secret";

    /// R_0 -> K_name.
    NAME = "stash 2026-11-22 v1 name id";
    /// R_e -> chunk K_mac. The suite is part of the context.
    CHUNK_MAC = "stash 2026-11-22 v1 chunk mac suite 1 blake3-siv aes-256-ctr";
    /// R_e -> chunk K_enc.
    CHUNK_ENC = "stash 2026-11-22 v1 chunk enc suite 1 blake3-siv aes-256-ctr";
    /// R_e -> meta K_mac.
    META_MAC = "stash 2026-11-22 v1 meta mac suite 1 blake3-siv aes-256-ctr";
    /// R_e -> meta K_enc.
    META_ENC = "stash 2026-11-22 v1 meta enc suite 1 blake3-siv aes-256-ctr";
    /// R_e -> label K_mac.
    LABEL_MAC = "stash 2026-11-22 v1 label mac suite 1 blake3-siv aes-256-ctr";
    /// R_e -> label K_enc.
    LABEL_ENC = "stash 2026-11-22 v1 label enc suite 1 blake3-siv aes-256-ctr";
    /// R_e -> K_mac of the sealed R_(e-1).
    PREVIOUS_MAC = "stash 2026-11-22 v1 previous read root mac suite 1 blake3-siv aes-256-ctr";
    /// R_e -> K_enc of the sealed R_(e-1).
    PREVIOUS_ENC = "stash 2026-11-22 v1 previous read root enc suite 1 blake3-siv aes-256-ctr";

    /// Shared secret, ephemeral key, recipient, stash id -> K_mac of a wrap.
    WRAP_MAC = "stash 2026-11-22 v1 wrap mac x25519 suite 1 blake3-siv aes-256-ctr";
    /// Shared secret, ephemeral key, recipient, stash id -> K_enc of a wrap.
    WRAP_ENC = "stash 2026-11-22 v1 wrap enc x25519 suite 1 blake3-siv aes-256-ctr";

    /// Stash id, ticket id, one-time secret -> key of the tag before the first message of a join.
    JOIN_TAG = "stash 2026-11-22 v1 join first message tag";
    /// Stash id, ticket id, one-time secret -> Noise psk of a join.
    JOIN_PSK = "stash 2026-11-22 v1 join noise psk";

    /// Argon2id output -> K_mac of the keyring.
    KEYRING_MAC = "stash 2026-11-22 v1 keyring mac argon2id suite 1 blake3-siv aes-256-ctr";
    /// Argon2id output -> K_enc of the keyring.
    KEYRING_ENC = "stash 2026-11-22 v1 keyring enc argon2id suite 1 blake3-siv aes-256-ctr";

    /// Hash (no key): the keyring file's checksum.
    KEYRING_SUM = "stash 2026-11-22 v1 keyring file checksum";
    /// Hash (no key): a record without its signature.
    RECORD_HASH = "stash 2026-11-22 v1 record hash";
    /// Hash (no key): a member entry without its root signature.
    ENTRY_HASH = "stash 2026-11-22 v1 member entry hash";
    /// A list of cuts -> its hash (no secret).
    CUTS_HASH = "stash 2026-11-29 v1 list of cuts hash";
}

table! { TAGS:
    /// The body of a record of format 1 or 2, by its writer.
    TAG_RECORD_BODY = "stash v1 record";
    /// The hash of a record of format 3 or 4, by its writer.
    TAG_RECORD_HASH = "stash v2 record";
    /// A member entry, by the root.
    TAG_ENTRY = "stash v1 member entry";
    /// Identity and ticket id of a joiner, by the joiner.
    TAG_JOIN = "stash v1 join";
    /// Addresses, by the node that listens there.
    TAG_ADDRESSES = "stash v1 addresses";
    /// What a node says of itself, by that node.
    TAG_STATEMENT = "stash v1 statement";
    /// The length of the member log, by the root.
    TAG_CONFIRMATION = "stash v1 confirmation";
}

/// Derives one 32-byte key.
pub(crate) fn derive(context: &str, material: &[u8]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(blake3::derive_key(context, material))
}

/// Derives one 32-byte key from several fixed-length parts.
pub(crate) fn derive_parts(context: &str, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    Zeroizing::new(hasher.finalize().into())
}

/// A signature tag filled with zeros to 32 bytes.
pub(crate) fn tag(text: &str) -> [u8; 32] {
    let mut tag = [0; 32];
    tag[..text.len()].copy_from_slice(text.as_bytes());
    tag
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use data_encoding::HEXLOWER;

    use super::*;

    pub(crate) fn vector<'a>(file: &'a str, name: &str) -> &'a str {
        file.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(" = "))
            .find_map(|(key, value)| (key == name).then_some(value))
            .unwrap_or_else(|| panic!("no vector {name}"))
    }

    pub(crate) fn hex(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    // Fault case 57.
    #[test]
    fn every_derived_key_has_its_known_answer() {
        let file = include_str!("../vectors/derived-keys.txt");
        let material: Vec<u8> = (0..32).collect();
        for (name, context) in CONTEXTS {
            let derived = HEXLOWER.encode(&*derive(context, &material));
            assert_eq!(derived, vector(file, name), "{name}");
            assert_eq!(
                derive_parts(context, &[&material[..7], &material[7..]]).to_vec(),
                hex(&derived)
            );
        }
        assert_eq!(CONTEXTS.len(), file.lines().filter(|line| line.contains(" = ")).count());
    }

    // Fault cases 8 and 57.
    #[test]
    fn no_two_purposes_share_a_context_or_a_tag() {
        let all: Vec<&str> = CONTEXTS.iter().chain(TAGS).map(|(_, text)| *text).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        let keys: BTreeSet<_> = CONTEXTS.iter().map(|(_, text)| *derive(text, &[0; 32])).collect();
        assert_eq!(keys.len(), CONTEXTS.len());
        assert!(TAGS.iter().all(|(_, text)| text.len() < 32 && text.is_ascii()));
    }

    #[test]
    fn the_format_document_lists_every_context_and_tag() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/format.md");
        let document = std::fs::read_to_string(path).unwrap();
        for (name, text) in CONTEXTS.iter().chain(TAGS) {
            assert!(document.contains(&format!("`{text}`")), "{name} is missing");
        }
    }

    #[test]
    fn derivation_is_blake3_derive_key_of_the_official_vectors() {
        let file = include_str!("../vectors/blake3.txt");
        let input: Vec<u8> = (0..251).cycle().take(8192).collect();
        for len in [0, 1, 1023, 1024, 1025, 4096, 4097] {
            let derived = derive(vector(file, "context"), &input[..len]);
            assert_eq!(HEXLOWER.encode(&*derived), vector(file, &format!("derive-{len}")), "{len}");
        }
    }

    /// Writes the table again: for a new context only, never to make a failing test pass.
    #[test]
    #[ignore = "writes vectors/derived-keys.txt"]
    fn write_derived_keys() {
        let material: Vec<u8> = (0..32).collect();
        let mut text = "# BLAKE3 derive_key(context, 00 01 ... 1f) for every context\n".to_owned();
        for (name, context) in CONTEXTS {
            text += &format!("{name} = {}\n", HEXLOWER.encode(&*derive(context, &material)));
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/derived-keys.txt");
        std::fs::write(path, text).unwrap();
    }
}
