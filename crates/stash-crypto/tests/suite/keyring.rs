//! The keyring file.

use stash_crypto::keys::*;
use stash_crypto::member::*;

use crate::fixtures::*;

fn same(a: &Keyring, b: &Keyring) -> bool {
    let keys = |keyring: &Keyring| {
        let network: Vec<_> = keyring.network.iter().map(|k| (k.epoch(), *k.expose())).collect();
        let read: Vec<_> = keyring.read.iter().map(|k| (k.epoch(), *k.expose())).collect();
        let root = keyring.root.as_ref().map(|root| *root.expose());
        (*keyring.node.expose(), keyring.stash, keyring.role, root, network, read)
    };
    keys(a) == keys(b)
}

fn protected() -> Vec<u8> {
    keyring().encode(&Protection::Passphrase(b"correct horse"), &mut Counting(0)).unwrap().to_vec()
}

#[test]
fn both_forms_give_the_same_keys_back() {
    let plain = keyring().encode(&Protection::None, &mut Counting(0)).unwrap();
    assert!(same(&Keyring::decode(&plain, None).unwrap(), &keyring()));
    assert!(same(&Keyring::decode(&plain, Some(b"ignored")).unwrap(), &keyring()));
    assert!(same(&Keyring::decode(&protected(), Some(b"correct horse")).unwrap(), &keyring()));
}

// Fault cases 61 and 110.
#[test]
fn a_wrong_or_missing_passphrase_says_so() {
    let bytes = protected();
    let decode = |passphrase| Keyring::decode(&bytes, passphrase).unwrap_err();
    assert_eq!(decode(None), KeyringError::NeedsPassphrase);
    assert_eq!(decode(Some(b"")), KeyringError::WrongPassphrase);
    assert_eq!(decode(Some(b"correct horsf")), KeyringError::WrongPassphrase);
}

#[test]
fn the_protected_form_holds_no_key_in_the_clear() {
    let bytes = protected();
    let keys = [*root().expose(), *node().expose(), *root().read_root().expose()];
    for key in keys {
        assert!(!bytes.windows(32).any(|window| window == key));
    }
    let again = keyring().encode(&Protection::Passphrase(b"correct horse"), &mut Counting(9));
    assert_ne!(bytes[28..44], again.unwrap()[28..44], "another salt");
}

// Fault case 78.
#[test]
fn every_flipped_bit_of_the_file_is_an_error_without_asking_for_memory() {
    for bytes in
        [keyring().encode(&Protection::None, &mut Counting(0)).unwrap().to_vec(), protected()]
    {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = Keyring::decode(&flipped, Some(b"correct horse")).unwrap_err();
            let expected = if bit < 64 { KeyringError::NotAKeyring } else { KeyringError::Damaged };
            assert_eq!(error, expected, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Keyring::decode(&bytes[..len], None).is_err(), "{len} bytes");
        }
    }
}

#[test]
fn roles_hold_what_they_may() {
    let fields = |keyring: Keyring| {
        keyring.encode(&Protection::None, &mut Counting(0)).map(|_| ()).unwrap_err()
    };
    let keeper = || Keyring { role: Role::Keeper, root: None, read: vec![], ..keyring() };
    assert!(keeper().encode(&Protection::None, &mut Counting(0)).is_ok());
    assert_eq!(
        fields(Keyring { read: keyring().read, ..keeper() }),
        KeyringError::Fields("a keeper has no read root")
    );
    assert_eq!(
        fields(Keyring { role: Role::Reader, ..keyring() }),
        KeyringError::Fields("only an owner keeps the root")
    );
    assert_eq!(
        fields(Keyring { read: vec![], ..keyring() }),
        KeyringError::Fields("no read root for a role that reads")
    );
    assert_eq!(
        fields(Keyring { network: vec![], ..keyring() }),
        KeyringError::Fields("no network key")
    );
    assert_eq!(
        fields(Keyring { root: Some(RootSecret::from_bytes([99; 32])), ..keyring() }),
        KeyringError::Fields("the root secret is of another stash")
    );
    let mut disordered = keyring();
    disordered.read.reverse();
    assert_eq!(fields(disordered), KeyringError::Grant(GrantError::Order { epoch: 0 }));
}

// Fault case 63.
#[test]
fn debug_shows_no_secret() {
    let shown = format!(
        "{:?} {:?} {:?} {:?} {:?}",
        keyring(),
        ticket(),
        recovery(),
        Protection::Passphrase(b"horse"),
        node().noise_secret()
    );
    let secrets = ["01010101", "1, 1, 1", "2, 2, 2", "13, 13", "0d0d0d", "horse"];
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
