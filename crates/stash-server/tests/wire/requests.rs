//! Requests of members: what is here, and what is none.

use serde_bytes::ByteBuf;
use stash_crypto::Role;

use crate::Scene;
use crate::client::{
    Act, Answer, Ask, Client, NamedBy, Together, joined_up, next, pack, put_of, script, within,
};
use crate::members::log_of;
use crate::scene::scene;
use crate::support::{self, Stash};
use crate::unknown_chunk;

// Fault cases 32 and 34.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_and_malformed_requests_are_refused_and_the_connection_stays() {
    let scene = scene().await;
    let have = pack(&Ask::Have { chunks: ByteBuf::new() });
    let bad: [(&str, Vec<u8>); 9] = [
        ("an unknown request", b"\x81\xa5dance\x80".to_vec()),
        ("nothing", vec![]),
        ("no map", b"\xa3put".to_vec()),
        ("two requests", b"\x82\xa3put\x80\xa3put\x80".to_vec()),
        ("a trailing byte", [&have[..], &[0xc0]].concat()),
        ("a request cut short", have[..have.len() - 1].to_vec()),
        ("a missing field", b"\x81\xa3get\x80".to_vec()),
        ("an address of 31 bytes", pack(&Ask::Get { address: ByteBuf::from(vec![0; 31]) })),
        ("a nesting bomb", vec![0x91; 100_000]),
    ];
    for (what, bytes) in bad {
        assert_eq!(scene.session.ask_raw(bytes).await.refusal(), "unknown", "{what}");
    }
    for chunks in [vec![0; 33], vec![0; 32 * 4_097]] {
        let chunks = ByteBuf::from(chunks);
        for ask in [
            Ask::Have { chunks: chunks.clone() },
            Ask::Evict {
                nonce: ByteBuf::from(vec![0; 32]),
                groups: vec![Together {
                    chunks: chunks.clone(),
                    named: NamedBy::Records { hashes: ByteBuf::from(vec![1; 32]) },
                }],
            },
        ] {
            assert_eq!(scene.session.ask(&ask).await.refusal(), "malformed", "{}", chunks.len());
        }
    }
    let mut data_first = scene.session.open().await;
    data_first.data(vec![1; 10]).await.unwrap();
    let answer = within("an answer", next(&mut data_first.recv)).await.unwrap().unwrap();
    assert_eq!(answer.refusal(), "unknown");
    let join = Ask::Join { request: ByteBuf::new() };
    assert_eq!(scene.session.ask(&join).await.refusal(), "unknown", "outside the join realm");
    scene.works_on(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_reads_what_is_here_by_the_document_alone() {
    let scene = scene().await;
    let (first, _) = scene.put("first", 1).await;
    let absent = unknown_chunk(1, 500);
    let have = Ask::Have { chunks: joined_up(&[absent.address, first.address, absent.address]) };
    let bits = Answer::Have { chunks: ByteBuf::from(vec![0b010]) };
    assert_eq!(scene.session.ask(&have).await, bits);
    assert_eq!(scene.session.get(absent.address).await, None);

    let start = Ask::Log { log: ByteBuf::from(vec![0; 16]), after: 0 };
    let Answer::Log { known: true, hashes, log: stretch, last } = scene.session.ask(&start).await
    else {
        panic!("no page of the order");
    };
    assert_eq!(hashes.len(), 32);
    let rest = Ask::Log { log: stretch.clone(), after: last };
    let end = |known, log, last| Answer::Log { known, hashes: ByteBuf::new(), log, last };
    let nothing = scene.session.ask(&rest).await;
    assert_eq!(nothing, end(true, stretch.clone(), last), "no more");
    for (log, after) in [(stretch.clone(), last + 1), (ByteBuf::from(vec![7; 16]), 0)] {
        let lost = scene.session.ask(&Ask::Log { log, after }).await;
        assert_eq!(lost, end(false, stretch.clone(), last), "no position of this store");
    }
    let Answer::All { n: 1, sum, log: 3 } = scene.session.ask(&Ask::All {}).await else {
        panic!("one record, and three entries of the member log");
    };
    assert_eq!(sum, hashes, "of one record, its hash");
    let Answer::Records { records } =
        scene.session.ask(&Ask::Find { hashes: hashes.clone() }).await
    else {
        panic!("no records");
    };
    let found = stash_crypto::Record::decode(&records[0]).unwrap();
    assert_eq!(found.hash().as_bytes(), hashes.as_slice());
    let both = ByteBuf::from([&hashes[..], &[9; 32]].concat());
    let states = scene.session.ask(&Ask::Holding { hashes: both }).await;
    assert_eq!(states, Answer::Holding { states: ByteBuf::from(vec![2, 0]) });

    turned(&scene, &hashes).await;

    let log = log_of(&scene.session, 0).await;
    assert_eq!(log.len(), 3, "the root's keys, the founder, this owner");
    assert_eq!(log_of(&scene.session, 2).await, log[2..]);
    assert_eq!(log_of(&scene.session, u64::MAX).await, Vec::<ByteBuf>::new());
}

// B.8: what is whole there, and what has turned since.
async fn turned(scene: &Scene, hashes: &ByteBuf) {
    let ask = async |run, after| scene.session.ask(&Ask::Turned { run, after }).await;
    let Answer::Turned { known: false, records, run, last, n: 1, sum } = ask(0, 0).await else {
        panic!("one record is whole, and this is no position");
    };
    assert_eq!((records.len(), &sum), (0, hashes));
    let nothing = Answer::Turned { known: true, records, run, last, n: 1, sum };
    assert_eq!(ask(run, last).await, nothing);
    scene.put("second", 2).await;
    let Answer::Turned { known: true, records, run: same, last: next, n: 2, .. } =
        ask(run, last).await
    else {
        panic!("a second one has come");
    };
    assert_eq!((same, next), (run, last + 1));
    let second = scene.node.store.record_hashes_after(0, 9).unwrap().pop().unwrap().1;
    assert_eq!(records[..], [&second[..], &[2]].concat());
    let Answer::Turned { known: false, .. } = ask(run ^ 1, last).await else {
        panic!("of another run");
    };
}

// B.6: a node that has never had a full exchange takes records from a member, and each of them
// stands before the same rules as on a put stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_exchange_takes_good_records_and_leaves_bad_ones_out() {
    let stash = Stash::new();
    let founder = stash.founder().await;
    let owner = Client::member(&stash, &founder, Role::Owner).await;
    let late = stash.joined(&founder, Role::Keeper).await;
    let good = put_of(&stash, &owner.keys, "good", 1, &[]).bytes().to_vec();
    let mut bad = put_of(&stash, &owner.keys, "bad", 2, &[]).bytes().to_vec();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    let hash = |bytes: &[u8]| *stash_crypto::Record::decode(bytes).unwrap().hash().as_bytes();
    let hashes = ByteBuf::from([hash(&bad), hash(&good)].concat());
    let (first, second) = (ByteBuf::from(good), ByteBuf::from(bad));
    let _session = owner
        .connect_with(
            &late,
            script(move |ask, _| match ask {
                Ask::Log { log, after: 0 } => {
                    Act::Say(Answer::Log { known: true, hashes: hashes.clone(), log, last: 1 })
                }
                Ask::Find { .. } => {
                    Act::Say(Answer::Records { records: vec![second.clone(), first.clone()] })
                }
                _ => Act::Default,
            }),
        )
        .await;
    support::until("one exchange has ended, and the good record is here", || {
        let good = support::now(late.engine.records_of(stash.name("good"))).unwrap();
        support::now(late.engine.status()).unwrap().synchronised && good.len() == 1
    })
    .await;
    assert!(late.engine.records_of(stash.name("bad")).await.unwrap().is_empty());
}
