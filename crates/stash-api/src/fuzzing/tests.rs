//! The target, from texts that are in order on: random, with a seed.

use stash_fuzz::Corpus;

#[test]
fn bodies_hold_their_promises_whatever_the_bytes() {
    let body =
        |name: &str, which: u8, text: &str| (name.to_owned(), [&[which], text.as_bytes()].concat());
    let status = r#"{"safety":{"verdict":"not_safe","sentence":"s","needed":2,
        "members":[{"node_id":"n","name":null,"has":"some","whole":1,"age":2}]},"node_id":"a","stash_id":"b","role":"owner","name":null,
        "listen":["127.0.0.1:1","[::1]:2"],"synchronised":true,"members":3,"connected":2,
        "records":4,"files":null,"chunks":5,"bytes":6,"missing_copies":0,"incomplete":0,"read_only":null,"away":null,
        "alarms":["x"],"quarantined":0,"traffic":{"sent":1,"received":2,"up":131072,"down":null,
        "background_down":null},"store":{"used":1,"soft":null,"hard":2,"reserve":null,
        "disk_free":3,"state":"refusing","why":"w"},"gc":{"running":false,"last":null,"freed":0,
        "collectable":1,"chunks":1,"waiting":2,"waiting_chunks":2},"scrub":{"passes":1,
        "last":"1970-01-01T00:00:00Z","done_bytes":1,"total_bytes":2,"findings":0,
        "last_findings":1,"found":1,"healed":0,"unhealed":1},"repair":{"running":false,
        "last":null,"copies":[0,1,2,3],"below":4},"damaged":[{"kind":"chunk","id":"a",
        "why":"w","names":["n"],"keys":null}],"version":"0.1.0"}"#;
    let done = r#"{"done":{"roots":[{"key":"a","files":1,"bytes":2,"new":1,"unchanged":0,
        "skipped":[{"path":"p","why":"w"}],"copies":1,"wanted":2,"short":true,
        "missing":[{"node_id":"n","why":"w"}]}]}}"#;
    let listing = r#"{"entries":[{"key":"a","size":1,"modified":"1970-01-01T00:00:00Z",
        "mode":420,"chunks":1,"here":"partial","conflicts":0}],"next":"a"}"#;
    let holders = r#"{"key":"a","chunks":1,"inline":false,"nodes":[{"node_id":"n","name":"x",
        "role":"keeper","chunks":1,"state":"complete"}]}"#;
    let peers = r#"{"peers":[{"node_id":"n","name":null,"role":"reader","this":false,
        "connected":true,"addresses":["192.0.2.7:7979"],
        "challenged":"1970-01-01T00:00:00Z","shown":1,"failed":0,"in_doubt_since":null}],
        "removed":[{"node_id":"m","name":"x","role":"owner"}]}"#;
    let changed = r#"{"node_id":"n","name":"x","role":null,"epoch":1,"asked":2,"silent":["m"]}"#;
    let error = r#"{"error":{"code":"not_found","message":"m","hint":null}}"#;
    let seeds = [
        body("put", 0, r#"{"paths":["/a","/b"],"as":"k","wait":"all"}"#),
        body("get", 1, r#"{"key":"a","output":"/b","overwrite":true}"#),
        body("evict", 2, r#"{"key":"a","recursive":true}"#),
        body("rm", 3, r#"{"key":"a"}"#),
        body("invite", 4, r#"{"role":"keeper","expires_seconds":86400}"#),
        body("peer-remove", 4, r#"{"peer":"attic"}"#),
        body("peer-role", 4, r#"{"peer":"attic","role":"reader"}"#),
        body("peer-changed", 14, changed),
        body("join", 5, r#"{"ticket":"stashticket1","name":"x"}"#),
        body("status", 6, status),
        body("peers", 7, peers),
        body("listing", 8, listing),
        body("where", 9, holders),
        body("put-done", 10, done),
        body("progress", 11, r#"{"progress":{"files":1,"bytes":2,"total_bytes":null}}"#),
        body("late-error", 12, error),
        body("error", 15, error),
        body("refused-key", 0, r#"{"paths":["/a"],"wiat":"all"}"#),
        body("refused-deep", 0, &"[".repeat(200)),
    ];
    Corpus::open(env!("CARGO_MANIFEST_DIR"), "body", super::body, &seeds).run(4000);
}
