//! Published vectors through our resolver, and through our own transport halves.

use data_encoding::HEXLOWER;
use serde_json::Value;
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use crate::cipher::{Opener, Sealer};
use crate::handshake::SUITE;
use crate::resolver::{Resolver, TAG};

fn hex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn key(value: &Value) -> [u8; 32] {
    hex(value).try_into().unwrap()
}

fn build(vector: &Value, side: &str) -> HandshakeState {
    let field = |name: &str| &vector[format!("{side}_{name}")];
    let resolver = Resolver::new(Zeroizing::new(key(field("ephemeral"))));
    let (secret, prologue) = (key(field("static")), hex(field("prologue")));
    let psk = key(&field("psks")[0]);
    let builder = Builder::with_resolver(SUITE.parse().unwrap(), Box::new(resolver))
        .local_private_key(&secret)
        .unwrap()
        .prologue(&prologue)
        .unwrap()
        .psk(1, &psk)
        .unwrap();
    if side == "init" {
        let remote = key(field("remote_static"));
        builder.remote_public_key(&remote).unwrap().build_initiator().unwrap()
    } else {
        builder.build_responder().unwrap()
    }
}

#[test]
fn cacophonys_messages_come_out_byte_for_byte() {
    let file: Value =
        serde_json::from_str(include_str!("../../vectors/cacophony-ikpsk1.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 1);
    for vector in vectors {
        assert_eq!(vector["protocol_name"], SUITE);
        check(vector);
    }
}

fn check(vector: &Value) {
    let (mut init, mut resp) = (build(vector, "init"), build(vector, "resp"));
    let messages = vector["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 6);
    for (n, message) in messages[..2].iter().enumerate() {
        let (from, to) = if n == 0 { (&mut init, &mut resp) } else { (&mut resp, &mut init) };
        let (payload, expected) = (hex(&message["payload"]), hex(&message["ciphertext"]));
        let mut sent = vec![0; 65_535];
        let len = from.write_message(&payload, &mut sent).unwrap();
        assert_eq!(&sent[..len], &expected[..], "handshake message {n}");
        let mut read = vec![0; 65_535];
        let len = to.read_message(&expected, &mut read).unwrap();
        assert_eq!(&read[..len], &payload[..]);
    }
    assert_eq!(init.get_handshake_hash(), &hex(&vector["handshake_hash"])[..]);
    assert_eq!(resp.get_handshake_hash(), &hex(&vector["handshake_hash"])[..]);

    let (first, second) = init.dangerously_get_raw_split();
    let mut seal = [Sealer::new(&first, 1 << 20), Sealer::new(&second, 1 << 20)];
    let mut open = [Opener::new(&first, 1 << 20), Opener::new(&second, 1 << 20)];
    let mut snow = [init.into_transport_mode().unwrap(), resp.into_transport_mode().unwrap()];
    for (n, message) in messages[2..].iter().enumerate() {
        let (payload, expected) = (hex(&message["payload"]), hex(&message["ciphertext"]));
        let side = n % 2;
        let mut ours = vec![0; payload.len() + TAG];
        seal[side].seal(&mut [], &payload, &mut ours).unwrap();
        assert_eq!(ours, expected, "transport message {n}, own half");
        let len = open[side].open(&mut ours).unwrap();
        assert_eq!(&ours[..len], &payload[..]);

        let mut sent = vec![0; 65_535];
        let len = snow[side].write_message(&payload, &mut sent).unwrap();
        assert_eq!(&sent[..len], &expected[..], "transport message {n}, snow");
        let mut read = vec![0; 65_535];
        let len = snow[1 - side].read_message(&expected, &mut read).unwrap();
        assert_eq!(&read[..len], &payload[..]);
    }
}
