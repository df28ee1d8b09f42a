//! Bodies are the documents of `docs/api.md`, to the letter.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stash_api::error::{Code, ErrorBody};
use stash_api::files::{
    EvictDone, EvictRequest, Find, GetRequest, Listing, PutDone, PutRequest, RmRequest, Sum, Where,
};
use stash_api::members::{
    InviteDone, InviteRequest, JoinDone, JoinRequest, PeerAddress, PeerAddressed, PeerChanged,
    PeerRemove, PeerRole, Peers,
};
use stash_api::node::{Ready, Recovery, Status, Version};
use stash_api::repair::{RepairDone, RepairRequest};
use stash_api::settings::{Reloaded, Settings};
use stash_api::tickets::{TicketRevoke, TicketRevoked, Tickets};
use stash_api::upkeep::{CheckDone, CheckRequest, GcDone, GcRequest, ScrubDone, ScrubRequest};
use stash_api::versions::{
    History, Names, ResolveDone, ResolveRequest, UndeleteDone, UndeleteRequest,
};

const AT: &str = "2026-11-23T01:02:03Z";

/// The document is read, and written with the same names, values and nulls.
fn is_kept<T: Serialize + DeserializeOwned>(document: &Value) -> T {
    let read: T = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), *document);
    read
}

fn ticket() -> Value {
    json!({"id": "00", "role": "keeper", "state": "used", "made": AT, "expires": AT,
           "used_by": "01", "used_by_name": "attic", "used_at": null})
}

fn damaged() -> Value {
    json!({"kind": "chunk", "id": "00", "why": "w", "names": ["n"], "keys": null})
}

fn version() -> Value {
    json!({"version": "00", "kind": "put", "written": AT, "size": 5, "modified": AT, "mode": 420,
           "chunks": 0, "writer": "01", "writer_name": null, "here": "partial", "place": "head"})
}

fn status() -> Value {
    json!({
        "safety": {"verdict": "not_safe", "sentence": "s", "needed": 2,
                   "members": [{"node_id": "00", "name": null, "has": "some", "whole": 1, "age": 2}]},
        "peers": [{"node_id": "00", "name": "laptop", "role": "owner", "founder": true, "this": true, "connected": true,
                   "last_seen": AT, "in_doubt": false, "lapsed": false, "percent": 99, "seconds_to_go": null, "free": 5,
                   "full": false, "version": null, "keep": 7}],
        "label": null,
        "node_id": "00", "stash_id": "01", "role": "owner", "name": "laptop",
        "listen": ["127.0.0.1:7979"],
        "confirmed": {"at": AT, "days": 0, "missing": 1},
        "recovery_text": {"printed": true, "named": 2, "found": 1},
        "visits": false, "synchronised": true, "members": 3, "connected": 2, "records": 4,
        "files": null, "chunks": 5, "bytes": 6, "cache": {"keep": 7, "stuck": "w"}, "missing_copies": 7, "incomplete": 8, "refused": 9,
        "full": ["nas is full"], "read_only": null, "away": null, "alarms": ["x"], "quarantined": 0,
        "tickets": [ticket()],
        "discovery": {"state": "failing", "links": 0, "why": "w"},
        "traffic": {"sent": 1, "received": 2, "up": 3, "down": null, "background_down": null},
        "store": {"used": 1, "soft": null, "hard": 2, "reserve": null, "disk_free": 3,
                  "state": "enough", "why": null},
        "gc": {"running": false, "last": null, "freed": 0, "collectable": 1, "chunks": 2,
               "waiting": 3, "waiting_chunks": 4},
        "scrub": {"passes": 1, "last": AT, "done_bytes": 2, "total_bytes": 3, "findings": 4,
                  "last_findings": 5, "found": 6, "healed": 7, "unhealed": 8},
        "repair": {"running": true, "last": AT, "copies": [0, 1, 2, 3], "below": 4},
        "damaged": [damaged()],
        "tasks": [{"name": "upkeep", "member": null, "state": "waiting", "last_run": null, "next_run": AT}],
        "version": "0.1.0"
    })
}

fn put_done() -> Value {
    json!({"roots": [{"key": "Photos", "files": 3, "bytes": 7, "new": 2, "changed": 1,
            "replaced": [{"node_id": "00", "name": "lap2", "files": 1}], "unchanged": 1,
            "skipped": [{"path": "/a", "why": "it cannot be read"}],
            "notes": [{"path": "/b", "why": "a socket is not stored"}], "copies": 2, "wanted": 3, "short": true,
            "missing": [{"node_id": "00", "why": "not connected"}]}],
           "confirmed_days": null})
}

/// A document without one of its fields.
fn without(mut document: Value, field: &str) -> Value {
    document.as_object_mut().unwrap().remove(field).unwrap();
    document
}

#[test]
fn a_status_has_its_documented_fields_and_no_others() {
    let read: Status = is_kept(&status());
    assert_eq!((read.members, read.confirmed.unwrap().missing), (3, 1));
}

#[test]
fn an_error_has_its_documented_fields_and_no_others() {
    let document = json!({"error": {"code": "not_found", "message": "m", "hint": null}});
    assert_eq!(is_kept::<ErrorBody>(&document).error.code, Code::NotFound);
    let text = serde_json::to_string(&is_kept::<ErrorBody>(&document)).unwrap();
    assert_eq!(text, r#"{"error":{"code":"not_found","message":"m","hint":null}}"#);
    let unknown = json!({"error": {"code": "lost", "message": "m", "hint": null}});
    assert!(serde_json::from_value::<ErrorBody>(unknown).is_err());
}

#[test]
fn answers_about_files_have_their_documented_fields_and_no_others() {
    is_kept::<PutDone>(&put_done());
    is_kept::<Listing>(
        &json!({"entries": [{"key": "a/b", "kind": "link", "size": 5, "modified": null,
        "mode": null, "chunks": 0, "here": "local", "conflicts": 0}],
        "folders": [{"key": "a/c", "files": 3, "bytes": 7, "modified": AT}], "next": "a/b"}),
    );
    is_kept::<Sum>(&json!({"files": 3, "bytes": 7}));
    is_kept::<Where>(&json!({"key": "a", "chunks": 3, "inline": false, "nodes": [{"node_id": "00",
        "name": null, "role": "keeper", "chunks": null, "state": "unreachable"}]}));
    let stopped = json!({"code": "temporary", "message": "m", "hint": "h"});
    is_kept::<EvictDone>(&json!({"key": "a", "files": 0, "chunks": 1, "bytes": 2,
        "proven_by": ["00"], "stopped": stopped}));
}

#[test]
fn answers_about_settings_have_their_documented_fields_and_no_others() {
    is_kept::<Version>(&json!({"version": "0.1.0", "pid": 4711}));
    let one = json!({"name": "gc.grace", "value": "1d", "origin": "default"});
    is_kept::<Settings>(&json!({ "settings": [one] }));
    is_kept::<Reloaded>(&json!({"taken": ["network.hours"], "at_next_start": []}));
}

#[test]
fn what_is_looked_for_stands_in_the_query() {
    assert_eq!(Find::default().route(None, 10).path(), "/v1/find?prefix=&limit=10");
    let find = Find {
        prefix: "a b".into(),
        name: Some("*.jpg".into()),
        at_least: Some(1),
        at_most: Some(2),
        since: Some(-3),
        before: Some(4),
    };
    let path = "/v1/find?prefix=a%20b&name=%2A%2Ejpg&at_least=1&at_most=2&since=-3&before=4&limit=10&after=k";
    assert_eq!(find.route(Some("k"), 10).path(), path);
    assert_eq!(Listing::level("a", None, 5).path(), "/v1/ls?folders=true&prefix=a&limit=5");
}

#[test]
fn answers_about_versions_have_their_documented_fields_and_no_others() {
    is_kept::<History>(&json!({"key": "a/b", "versions": [version()],
        "alarms": [{"version": "02", "why": "w"}], "next": null}));
    let name = json!({"key": "a", "versions": [version()], "more": 1});
    is_kept::<Names>(&json!({"entries": [name], "next": null}));
    is_kept::<UndeleteDone>(&json!({"restored": 1, "bytes": 2, "unavailable": 1,
        "skipped": [{"key": "a", "why": "w"}], "copies": 1, "wanted": 2, "short": false, "missing": []}));
    is_kept::<ResolveDone>(&json!({"key": "a", "version": "00", "covered": 1, "copies": 1,
        "wanted": 2, "short": false, "missing": []}));
}

#[test]
fn answers_about_members_have_their_documented_fields_and_no_others() {
    let room = json!({"used": 1, "limit": null, "full": true, "lacks": 2});
    is_kept::<Peers>(&json!({"peers": [{"node_id": "00", "name": "laptop", "role": "owner",
        "this": true, "connected": true, "addresses": ["192.0.2.7:7979", "a.b:1"], "given": ["a.b:1"],
        "path": {"address": "192.0.2.7:7979", "kind": "direct", "dialled": true, "discovered": true}, "challenged": AT,
        "shown": 1, "failed": 0, "in_doubt_since": null, "lapsed": false, "room": room, "keep": null}],
        "removed": [{"node_id": "01", "name": null, "role": "reader"}]}));
    is_kept::<PeerChanged>(&json!({"node_id": "00", "name": null, "role": null, "epoch": 1,
        "asked": 2, "silent": ["01"], "open_tickets": [ticket()]}));
    is_kept::<InviteDone>(&json!({"ticket": "stashticket1", "role": "keeper", "expires": AT}));
    is_kept::<JoinDone>(&json!({"stash_id": "00", "node_id": "01", "role": "keeper",
        "addresses_of": null}));
    is_kept::<PeerAddressed>(&json!({"node_id": "00", "name": null, "given": ["a.b:1"]}));
    is_kept::<Recovery>(&json!({"recovery": "stash recov ery1q"}));
    is_kept::<Tickets>(&json!({"tickets": [ticket()]}));
    is_kept::<TicketRevoked>(&json!({"id": "00", "role": "owner"}));
    is_kept::<Ready>(&json!({"pid": 1, "node_id": "00", "listen": ["[::1]:2"], "socket": "/s"}));
}

#[test]
fn answers_about_upkeep_have_their_documented_fields_and_no_others() {
    is_kept::<GcDone>(&json!({"dry_run": true, "chunks": 1, "bytes": 2, "waiting_chunks": 3,
        "waiting_bytes": 4, "strays": 5, "stray_bytes": 6, "forgotten_versions": 7,
        "forgotten_names": 8, "retention_waits_seconds": null}));
    is_kept::<ScrubDone>(&json!({"bytes": 1, "found": 1, "healed": 0, "unhealed": 1,
        "findings": ["f"], "damaged": [damaged()]}));
    let rebuilt = json!({"whole": false, "entries": 1, "announced": 2, "notes": ["n"]});
    is_kept::<CheckDone>(
        &json!({"sound": false, "rows": 1, "files": 2, "bytes_read": 3, "found": 4,
        "healed": 5, "unhealed": 6, "findings": [], "damaged": [], "missing": 7, "strays": 8,
        "stray_bytes": 9, "rebuilt": rebuilt}),
    );
    let member = json!({"node_id": "00", "name": null, "asked": true, "counts": true, "whole": 1,
        "incomplete": 2, "absent": 3, "given_up": 4, "unknown": 5});
    is_kept::<RepairDone>(&json!({"dry_run": false, "records": 1, "copies": [0, 1, 2, 3],
        "below": 4, "incomplete": 5, "brought_back": 6, "completed": 7, "left": 8, "members": [member]}));
}

#[test]
fn an_answer_with_more_fields_than_are_known_is_taken() {
    let mut more = put_done();
    more["later"] = json!(1);
    more["roots"][0]["later"] = json!({"a": 1});
    let done: PutDone = serde_json::from_value(more).unwrap();
    assert_eq!((done.roots[0].copies, done.roots[0].wanted, done.roots[0].short), (2, 3, true));
}

#[test]
fn a_missing_field_is_an_error_unless_it_came_later() {
    let absent = [
        "safety",
        "peers",
        "label",
        "cache",
        "confirmed",
        "recovery_text",
        "visits",
        "refused",
        "full",
        "tickets",
        "discovery",
        "tasks",
    ];
    // Null and absent are the same to serde.
    let nullable = ["name", "files", "read_only", "away"];
    for field in status().as_object().unwrap().keys() {
        let read = serde_json::from_value::<Status>(without(status(), field));
        let optional = absent.contains(&&field[..]) || nullable.contains(&&field[..]);
        assert_eq!(read.is_ok(), optional, "{field}");
    }
    let roots = json!([{"key": "a", "files": 2, "bytes": 7, "new": 2, "unchanged": 0}]);
    assert!(serde_json::from_value::<PutDone>(json!({ "roots": roots })).is_err());
}

/// The request is kept as a whole, and refused with another field or without `required`.
fn is_strict<T: Serialize + DeserializeOwned>(document: &Value, required: &[&str]) {
    is_kept::<T>(document);
    let mut more = document.clone();
    more["wiat"] = json!("all");
    assert!(serde_json::from_value::<T>(more).is_err(), "{document}");
    for field in document.as_object().unwrap().keys() {
        let read = serde_json::from_value::<T>(without(document.clone(), field));
        assert_eq!(read.is_err(), required.contains(&&field[..]), "{field} of {document}");
    }
}

#[test]
fn a_request_is_refused_with_an_unknown_field_or_without_a_required_one() {
    is_strict::<PutRequest>(&json!({"paths": ["/a"], "as": "k", "wait": "all"}), &["paths"]);
    let get = json!({"key": "a", "output": "/b", "overwrite": true, "restore": {"owner": true, "acl": false, "xattr": true, "privileged": false},
        "keys": [], "verify": false, "dry_run": true, "umask": 18, "keep": false, "version": null});
    is_strict::<GetRequest>(&get, &["output"]);
    let rm = json!({"key": "a", "recursive": true, "purge": true, "expect": 101, "wait": null});
    is_strict::<RmRequest>(&rm, &["key"]);
    is_strict::<EvictRequest>(&json!({"key": "a", "recursive": true, "copies": 2}), &["key"]);
    let undelete = json!({"key": "a", "recursive": true, "wait": "one"});
    is_strict::<UndeleteRequest>(&undelete, &["key"]);
    let resolve = json!({"key": "a", "take": "00", "file": null, "wait": null});
    is_strict::<ResolveRequest>(&resolve, &["key"]);
    is_strict::<GcRequest>(&json!({"dry_run": true, "now": true}), &[]);
    is_strict::<ScrubRequest>(&json!({}), &[]);
    is_strict::<RepairRequest>(&json!({"dry_run": true}), &[]);
    is_strict::<CheckRequest>(&json!({"read_data": true}), &[]);
    let invite = json!({"role": "keeper", "expires_seconds": 1, "alone": true});
    is_strict::<InviteRequest>(&invite, &["role", "expires_seconds"]);
    is_strict::<JoinRequest>(&json!({"ticket": "t", "name": "n"}), &["ticket"]);
    is_strict::<PeerRemove>(&json!({"peer": "nas", "alone": true}), &["peer"]);
    let address = json!({"peer": "nas", "addresses": ["a.b:1"]});
    is_strict::<PeerAddress>(&address, &["peer", "addresses"]);
    let role = json!({"peer": "nas", "role": "reader", "alone": true});
    is_strict::<PeerRole>(&role, &["peer", "role"]);
    is_strict::<TicketRevoke>(&json!({"id": "00112233"}), &["id"]);
}

#[test]
fn what_a_request_leaves_out_has_its_documented_default() {
    fn read<T: DeserializeOwned + Debug>(document: Value) -> T {
        serde_json::from_value(document).unwrap()
    }
    let get: GetRequest = read(json!({"key": "a", "output": "/b"}));
    assert!(get.keep && !get.overwrite && get.version.is_none());
    let rm: RmRequest = read(json!({"key": "a"}));
    assert!(!rm.recursive && !rm.purge && rm.wait.is_none());
    let invite: InviteRequest = read(json!({"role": "owner", "expires_seconds": 1}));
    assert!(!invite.alone);
}
