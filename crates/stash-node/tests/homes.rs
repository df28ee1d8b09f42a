//! The data directory when it is not as the node left it: not mounted, or open to others.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Output;

use crate::common::{Node, code, private_dir, stash, stderr};

fn up(home: &Path, data: &Path) -> Output {
    // The port is taken: a node that would serve ends all the same.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    stash(home, data).args(["up", "--listen", &address]).output().unwrap()
}

/// Refused, with what to do, and nothing was made.
fn is_missed(home: &Path, data: &Path) {
    let output = up(home, data);
    assert_eq!(code(&output), 10, "{}", stderr(&output));
    for word in ["mounted", "stash init", "stash join"] {
        assert!(stderr(&output).contains(word), "{word}: {}", stderr(&output));
    }
    assert!(!data.join("keyring").exists());
}

// Fault case 81.
#[test]
fn a_node_that_joined_founds_no_stash_where_its_disk_is_not_mounted() {
    let founder = Node::start();
    let home = private_dir();
    let (data, away) = (home.path().join("data"), home.path().join("away"));
    let ticket = founder.ok(&["invite", "--role", "keeper"]);
    let join = stash(home.path(), &data).args(["join", ticket.trim()]).output().unwrap();
    assert_eq!(code(&join), 0, "{}", stderr(&join));

    std::fs::rename(&data, &away).unwrap();
    is_missed(home.path(), &data);
    std::fs::create_dir(&data).unwrap();
    is_missed(home.path(), &data);
    // Another directory of the same user is a new one.
    let other = up(home.path(), &home.path().join("other"));
    assert_eq!(code(&other), 5, "{}", stderr(&other));
    assert!(home.path().join("other/keyring").exists());

    // The disk is back.
    std::fs::remove_dir(&data).unwrap();
    std::fs::rename(&away, &data).unwrap();
    let output = up(home.path(), &data);
    assert_eq!(code(&output), 5, "the port is taken: {}", stderr(&output));
}

#[test]
fn a_stash_that_is_gone_for_good_is_begun_anew_by_init_and_by_nothing_else() {
    let home = private_dir();
    let data = home.path().join("data");
    assert_eq!(code(&up(home.path(), &data)), 5);
    std::fs::remove_dir_all(&data).unwrap();
    is_missed(home.path(), &data);
    let init = stash(home.path(), &data).arg("init").output().unwrap();
    assert_eq!(code(&init), 0, "{}", stderr(&init));
    std::fs::remove_dir_all(&data).unwrap();
    is_missed(home.path(), &data);
    // Whoever says so expressly may found one at every start.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = stash(home.path(), &data)
        .args(["up", "--listen", &address])
        .env("STASH_CREATE", "true")
        .output()
        .unwrap();
    assert_eq!(code(&output), 5, "{}", stderr(&output));
    assert!(data.join("keyring").exists());
}

#[test]
fn a_stash_of_before_the_list_is_on_it_after_its_next_start() {
    let home = private_dir();
    let data = home.path().join("data");
    assert_eq!(code(&up(home.path(), &data)), 5);
    std::fs::remove_dir_all(home.path().join(".local")).unwrap();
    assert_eq!(code(&up(home.path(), &data)), 5);
    std::fs::remove_dir_all(&data).unwrap();
    is_missed(home.path(), &data);
}

#[test]
fn a_join_into_the_default_directory_writes_the_configuration() {
    let founder = Node::start();
    let home = private_dir();
    let ticket = founder.ok(&["invite", "--role", "reader"]);
    let config = home.path().join("conf/config.toml");
    let join = stash(home.path(), &home.path().join("data"))
        .args(["join", ticket.trim()])
        .env("STASH_CONFIG", &config)
        .output()
        .unwrap();
    assert_eq!(code(&join), 0, "{}", stderr(&join));
    assert!(std::fs::read_to_string(&config).unwrap().contains("\ncreate = false\n"));
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn keys_that_others_could_read_are_shut_at_the_start_and_it_says_so() {
    let node = Node::start();
    let (home, _) = node.stop();
    let data = home.path().join("data");
    let keyring = data.join("keyring");
    std::fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&keyring, Permissions::from_mode(0o644)).unwrap();
    let node = Node::start_in(home, |_| {});
    assert_eq!((mode(&data), mode(&keyring)), (0o700, 0o600));
    let (_home, log) = node.stop();
    let told = log.iter().filter(|line| line.contains("could look into it")).count();
    assert_eq!(told, 2, "{log:#?}");
}

#[test]
fn a_passphrase_file_that_others_can_read_is_refused() {
    let home = private_dir();
    let (data, file) = (home.path().join("data"), home.path().join("passphrase"));
    std::fs::write(&file, "correct horse\n").unwrap();
    std::fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
    let init = |bits| {
        std::fs::set_permissions(&file, Permissions::from_mode(bits)).unwrap();
        stash(home.path(), &data).arg("init").env("STASH_PASSPHRASE_FILE", &file).output().unwrap()
    };
    let refused = init(0o644);
    assert_eq!(code(&refused), 9, "{}", stderr(&refused));
    assert!(stderr(&refused).contains("chmod 600"), "{}", stderr(&refused));
    assert!(!data.join("keyring").exists());
    assert_eq!(code(&init(0o600)), 0);
}
