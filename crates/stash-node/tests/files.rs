//! Files go in and come back on one node; the JSON has the documented shapes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first thing that goes wrong, and says what it skips"
)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::common::disk::{files_below, flip};
use crate::common::{Node, code, noise};

/// Sizes under test, each with its reason: empty, one byte, around the size that stands in the
/// record, around one and two chunks.
const SIZES: [usize; 9] =
    [0, 1, 4095, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (2 << 20) + 7];

#[test]
fn files_of_every_size_class_come_back_byte_for_byte() {
    let node = Node::start();
    for (seed, size) in SIZES.into_iter().enumerate() {
        node.file(&format!("tree/dir/{size}"), noise(seed as u64, size));
    }
    let done = node.json(&["put", "tree"]);
    let root = &done["roots"][0];
    assert_eq!(root["key"], "tree");
    assert_eq!(root["files"], SIZES.len());
    assert_eq!((&root["short"], &root["skipped"]), (&false.into(), &serde_json::json!([])));

    let back = node.json(&["get", "tree", "-o", "back"]);
    assert_eq!(back["files"], SIZES.len());
    for (seed, size) in SIZES.into_iter().enumerate() {
        let content = noise(seed as u64, size);
        assert_eq!(std::fs::read(node.path(&format!("back/dir/{size}"))).unwrap(), content);
        let cat = node.run(&["cat", &format!("tree/dir/{size}")]);
        assert_eq!(code(&cat), 0);
        assert_eq!(cat.stdout, content, "{size}");
    }

    let again = node.json(&["put", "tree"]);
    assert_eq!(again["roots"][0]["new"], 0);
    assert_eq!(again["roots"][0]["unchanged"], SIZES.len());
}

#[test]
fn a_file_without_output_comes_back_into_the_working_directory_with_its_mode() {
    let node = Node::start();
    let path = node.file("in/tool", "#!/bin/sh\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(node.ok(&["put", "in"]), "in: 1 file, 10 B, new, stored on 1 of 1 nodes\n");
    assert_eq!(node.ok(&["get", "in/tool"]), "tool: 1 file, 10 B\n");
    let mode = std::fs::metadata(node.path("tool")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert!(node.ok(&["ls", "-R", "-l"]).starts_with("-rwxr-xr-x        10 B  "));
}

/// Issue 16: whoever may write to the stash makes no program here that runs as another user.
#[test]
fn set_user_id_comes_back_only_when_it_is_asked_for() {
    let node = Node::start();
    let path = node.file("tool", "#!/bin/sh\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4755)).unwrap();
    node.ok(&["put", "tool"]);
    let all = ["--owner", "--acl", "--xattr", "--privileged"];
    for (flags, expected) in [(&[][..], 0o755), (&all[..3], 0o755), (&all[..], 0o4755)] {
        let got = node.json(&[&["get", "tool", "-o", "out", "--overwrite"], flags].concat());
        assert_eq!(got["lacking"], serde_json::json!([]), "{flags:?}");
        let mode = std::fs::metadata(node.path("out")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, expected, "{flags:?}");
    }
}

#[test]
fn stdin_is_stored_under_the_given_key_and_ranges_are_cut_out_of_it() {
    let node = Node::start();
    let content = noise(7, 3_000_000);
    let mut put = node.command(&["put", "-", "--as", "a b/ü"]);
    let mut put = put.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    put.stdin.take().unwrap().write_all(&content).unwrap();
    assert_eq!(code(&put.wait_with_output().unwrap()), 0);

    let ranges: [(&str, &[u8]); 5] = [
        ("0-0", &content[..1]),
        ("1048575-1048576", &content[1_048_575..=1_048_576]),
        ("2999999-", &content[2_999_999..]),
        ("-5", &content[2_999_995..]),
        ("2999990-18446744073709551615", &content[2_999_990..]),
    ];
    for (range, expected) in ranges {
        let cat = node.run(&["cat", "a b/ü", "--range", range]);
        assert_eq!((code(&cat), &cat.stdout[..]), (0, expected), "{range}");
    }
    // Fault case 40.
    node.fails(2, "usage", &["cat", "a b/ü", "--range", "3000000-"]);
    node.fails(2, "usage", &["cat", "a b/ü", "--range", "1-0"]);
}

#[test]
fn a_removed_key_is_gone_and_a_tree_is_removed_only_with_a_yes() {
    let node = Node::start();
    for name in ["t/a", "t/b", "t-old/c"] {
        node.file(name, name);
    }
    node.ok(&["put", "t", "t-old"]);
    node.fails(2, "usage", &["rm", "t"]);
    let problem = node.fails(2, "usage", &["rm", "-r", "t"]);
    assert!(problem["hint"].as_str().unwrap().contains("-y"));
    assert_eq!(node.keys(), ["t-old/c", "t/a", "t/b"]);
    // Fault case 116: a prefix is a path.
    let done = node.json(&["rm", "-r", "-y", "t"]);
    assert_eq!((&done["removed"], &done["short"]), (&2.into(), &false.into()));
    assert_eq!(node.keys(), ["t-old/c"]);
    node.json(&["rm", "t-old/c"]);
    node.fails(4, "not_found", &["cat", "t-old/c"]);
}

#[test]
fn evict_is_refused_where_no_other_node_holds_a_copy() {
    let node = Node::start();
    node.file("big", noise(1, 100_000));
    node.ok(&["put", "big"]);
    node.fails(9, "refused", &["evict", "big"]);
    assert_eq!(node.json(&["ls"])["entries"][0]["here"], "local");
    assert_eq!(node.run(&["cat", "big"]).stdout, noise(1, 100_000));
}

#[test]
fn every_json_document_has_the_documented_fields() {
    let node = Node::start();
    node.file("f", "content");
    let fields = |value: &serde_json::Value| -> Vec<String> {
        let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    let put = node.json(&["put", "f"]);
    let root =
        "bytes changed copies files key missing new notes replaced short skipped unchanged wanted";
    assert_eq!(fields(&put["roots"][0]).join(" "), root);
    assert_eq!(fields(&node.json(&["ls"])).join(" "), "entries folders next");
    node.file("t/g", "g");
    node.ok(&["put", "t"]);
    let folder = &node.json(&["ls"])["folders"][0];
    assert_eq!(fields(folder).join(" "), "bytes files key modified");
    assert_eq!(fields(&node.json(&["du"])).join(" "), "bytes files folders");
    node.ok(&["rm", "-r", "-y", "t"]);
    let entry = "chunks conflicts here key kind mode modified size";
    assert_eq!(fields(&node.json(&["ls"])["entries"][0]).join(" "), entry);
    let place = node.json(&["where", "f"]);
    assert_eq!(fields(&place).join(" "), "chunks inline key nodes");
    assert_eq!(fields(&place["nodes"][0]).join(" "), "chunks name node_id role state");
    let peer = &node.json(&["peers"])["peers"][0];
    assert_eq!(
        fields(peer).join(" "),
        "addresses challenged connected failed given in_doubt_since keep lapsed name node_id path role room shown \
         this"
    );
    let status = "alarms away bytes cache chunks confirmed connected damaged discovery files full gc incomplete label listen members \
                  missing_copies name node_id peers quarantined read_only records recovery_text refused repair role safety scrub \
                  stash_id store synchronised tasks tickets traffic version visits";
    assert_eq!(fields(&node.json(&["status"])).join(" "), status);
    let status = node.json(&["status"]);
    assert_eq!(fields(&status["safety"]).join(" "), "members needed sentence verdict");
    assert_eq!(status["safety"]["verdict"], "alone");
    assert_eq!(fields(&status["discovery"]).join(" "), "links state why");
    assert_eq!(status["discovery"]["state"], "loopback", "tests do not speak on networks");
    let peer = "connected founder free full in_doubt keep lapsed last_seen name node_id percent role seconds_to_go \
                this version";
    assert_eq!(fields(&status["peers"][0]).join(" "), peer);
    let tasks = status["tasks"].as_array().unwrap();
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md");
    let manual = std::fs::read_to_string(manual).expect("docs/operating.md of the repository");
    for task in tasks {
        assert_eq!(fields(task).join(" "), "last_run member name next_run state");
        let name = format!("`{}`", task["name"].as_str().unwrap());
        let row = |line: &str| line.split(" | ").next().is_some_and(|first| first.contains(&name));
        assert!(manual.lines().any(row), "operating.md has no row for {name}");
    }
    assert!(tasks.iter().any(|task| task["name"] == "retention"), "those of the vault, too");
    let room = "disk_free hard reserve soft state used why";
    assert_eq!(fields(&status["store"]).join(" "), room);
    let gc = "chunks collectable freed last running waiting waiting_chunks";
    assert_eq!(fields(&status["gc"]).join(" "), gc);
    let scrub = "done_bytes findings found healed last last_findings passes total_bytes unhealed";
    assert_eq!(fields(&status["scrub"]).join(" "), scrub);
    assert_eq!(fields(&status["repair"]).join(" "), "below copies last running");
    let repair = "below brought_back completed copies dry_run incomplete left members records";
    assert_eq!(fields(&node.json(&["repair"])).join(" "), repair);
    let gc = "bytes chunks dry_run forgotten_names forgotten_versions retention_waits_seconds \
              stray_bytes strays waiting_bytes waiting_chunks";
    assert_eq!(fields(&node.json(&["gc"])).join(" "), gc);
    let scrub = "bytes damaged findings found healed unhealed";
    assert_eq!(fields(&node.json(&["scrub"])).join(" "), scrub);
    let check = "bytes_read damaged files findings found healed missing rebuilt rows sound \
                 stray_bytes strays unhealed";
    assert_eq!(fields(&node.json(&["check"])).join(" "), check);
    let invite = node.json(&["invite", "--role", "keeper"]);
    assert_eq!(fields(&invite).join(" "), "expires role ticket");
    assert_eq!(fields(&node.json(&["key", "show"])).join(" "), "node_id role stash_id");
    assert_eq!(
        fields(&node.json(&["get", "f", "-o", "g"])).join(" "),
        "bytes code conflicts dry_run failed failed_more files lacking lacking_more not_kept outputs unchanged \
         unchanged_bytes"
    );
    assert_eq!(fields(&node.json(&["rm", "f"])).join(" "), "copies missing removed short wanted");
}

// Fault case 59: a chunk that rotted on the disk ends the transfer; no byte of it is released.
#[test]
fn a_rotten_last_chunk_breaks_the_transfer_after_right_bytes_only() {
    let node = Node::start();
    let content = noise(3, 3 << 20);
    node.file("big", &content);
    node.ok(&["put", "big"]);
    let (home, _) = node.stop();
    let chunks = files_below(&home.path().join("data/store/chunks"));
    assert_eq!(chunks.len(), 4, "three, and the mark of the directory: {chunks:?}");
    flip(&chunks[0], 1_000);

    let node = Node::start_in(home, |_| {});
    let cat = node.run(&["cat", "big"]);
    assert!([5, 6].contains(&code(&cat)), "{}", crate::common::stderr(&cat));
    assert!(cat.stdout.len() < content.len());
    assert!(content.starts_with(&cat.stdout), "only right bytes");
    let get = node.run(&["get", "big", "-o", "out"]);
    assert!([5, 6].contains(&code(&get)), "{}", crate::common::stderr(&get));
    assert!(!node.path("out").exists());
}

#[test]
fn a_purge_asks_and_gives_the_room_back() {
    let node = Node::start();
    node.file("kept", noise(1, 1 << 20));
    node.file("gone", noise(2, 2 << 20));
    node.ok(&["put", "kept", "gone"]);
    let problem = node.fails(2, "usage", &["rm", "--purge", "gone"]);
    assert!(problem["hint"].as_str().unwrap().contains("-y"));
    assert_eq!(node.keys(), ["gone", "kept"]);
    assert_eq!(node.ok(&["rm", "--purge", "-y", "gone"]), "purged 1 file, known to 1 of 1 nodes\n");
    assert_eq!(node.keys(), ["kept"]);
    assert_eq!(node.json(&["gc"])["chunks"], 0, "it has its grace");
    assert!(node.json(&["gc", "--now"])["bytes"].as_u64().unwrap() >= 2 << 20);
    node.fails(4, "not_found", &["rm", "--purge", "-y", "gone"]);
    // One that was removed before.
    node.ok(&["rm", "kept"]);
    assert_eq!(node.json(&["gc", "--now"])["chunks"], 0, "a removal keeps what it removes");
    assert_eq!(node.json(&["rm", "--purge", "-y", "kept"])["removed"], 1);
    assert!(node.json(&["gc", "--now"])["bytes"].as_u64().unwrap() >= 1 << 20);
}

// Fault case 85: nobody has seen this clock run yet.
#[test]
fn a_new_node_says_that_its_clock_has_to_be_watched_first() {
    let node = Node::start();
    let done = node.json(&["gc", "--dry-run"]);
    assert_eq!(done["retention_waits_seconds"], 24 * 3_600);
    assert!(node.ok(&["gc"]).contains("run for 24 h more"), "people are told");
}
