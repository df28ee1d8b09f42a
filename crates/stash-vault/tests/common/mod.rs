//! Real nodes on loopback, each in a directory of its own.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

pub(crate) mod torture;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stash_vault::crypto::{Clear, Keyring, Manifest, Meta, RecordDraft, RecordKind, RecoveryText};
use stash_vault::server::{Position, Write};
use stash_vault::{
    GetOptions, Home, InitOptions, JoinOptions, Key, Node, Progress, PutOptions, PutReport,
    RecoverOptions, Role, RunOptions, Vault, Wait,
};
use tempfile::TempDir;

/// Longest wait for something that is bound to happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A directory for a test, with room for nodes and files.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes an input file.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) async fn founder(&self) -> Node {
        let dir = self.path("founder");
        Home::init(&dir, InitOptions { display_name: "founder".into(), passphrase: None }).unwrap();
        open(&dir).await
    }

    /// A further node, joined by a ticket and connected to the founder.
    pub(crate) async fn member(&self, founder: &Node, name: &str, role: Role) -> Node {
        let dir = self.path(name);
        let ticket = founder.engine.invite(role, Duration::from_secs(600)).await.unwrap();
        let options = JoinOptions { display_name: name.into(), passphrase: None };
        let home = Home::join(&dir, &ticket, options).await.unwrap();
        assert_eq!(home.role(), role);
        let node = open(&dir).await;
        connected(&[founder, &node]).await;
        node
    }

    /// A founder again after the first one was destroyed, from its recovery text alone.
    /// Whoever does not answer is gone for good.
    pub(crate) async fn recovered(&self, text: &str) -> Node {
        std::fs::remove_dir_all(self.path("founder")).unwrap();
        let dir = self.path("recovered");
        let options =
            RecoverOptions { display_name: "again".into(), alone: true, ..Default::default() };
        let text = RecoveryText::parse(text).unwrap();
        let (home, _) = Home::recover(&dir, &text, options).await.unwrap();
        assert_eq!(home.role(), Role::Owner);
        open(&dir).await
    }
}

pub(crate) async fn open(dir: &Path) -> Node {
    let options =
        RunOptions { listen: vec!["127.0.0.1:0".parse().unwrap()], ..RunOptions::default() };
    Home::open(dir, None, options).await.unwrap()
}

/// Opens a node where the others saw it last.
pub(crate) async fn open_at(dir: &Path, listen: Vec<SocketAddr>) -> Node {
    Home::open(dir, None, RunOptions { listen, ..RunOptions::default() }).await.unwrap()
}

pub(crate) async fn close(node: Node) {
    node.shutdown(Duration::from_secs(5)).await;
}

/// Waits until every node sees every member connected and knows where it listens: that is said after
/// they have met, and a recovery text that is made before names nobody.
pub(crate) async fn connected(nodes: &[&Node]) {
    until(|| {
        nodes.iter().all(|node| {
            let members = node.engine.members();
            nodes.iter().all(|other| {
                let id = other.engine.node_id();
                members.iter().any(|member| {
                    member.node == id && member.connected && !member.addresses.is_empty()
                })
            })
        })
    })
    .await;
}

pub(crate) async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.expect("it should have happened by now");
}

/// The keys that a node lists.
pub(crate) async fn lists(node: &Node) -> Vec<String> {
    let listed = vault(node).ls("", None, 100).await.unwrap();
    listed.iter().map(|entry| entry.key.as_str().to_owned()).collect()
}

/// Waits until a node lists exactly these.
pub(crate) async fn shows(node: &Node, keys: &[&str]) {
    let wait = async {
        while lists(node).await != keys {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let done = tokio::time::timeout(SOON, wait).await;
    if done.is_err() {
        panic!("{:?} instead of {keys:?}", lists(node).await);
    }
}

pub(crate) fn vault(node: &Node) -> Vault {
    node.vault.clone().expect("a node that reads")
}

pub(crate) fn all() -> PutOptions {
    PutOptions { wait: Wait::All, jobs: 0 }
}

pub(crate) async fn put(node: &Node, path: &Path) -> PutReport {
    vault(node).put_path(path, None, all(), &Progress::new()).await.unwrap()
}

pub(crate) async fn get(node: &Node, name: &str, output: &Path) -> stash_vault::GetReport {
    let options = GetOptions::default();
    vault(node).get_path(name, Some(output), options, &Progress::new()).await.unwrap()
}

/// Writes a version with the founder's keys, as an owner whose program keeps to none of our rules.
pub(crate) async fn forge(place: &Place, node: &Node, key: &str, change: impl FnOnce(&mut Meta)) {
    let keyring = std::fs::read(place.path("founder/keyring")).unwrap();
    let keyring = Keyring::decode(&keyring, None).unwrap();
    let key = Key::new(key).unwrap();
    let name = vault(node).name_id(&key);
    let mut meta = Meta::new(key, 4);
    meta.inline = Some(b"evil".to_vec());
    meta.mode = Some(0o644);
    change(&mut meta);
    meta.size = meta.inline.as_ref().map_or(meta.size, |bytes| bytes.len() as u64);
    let meta_keys = keyring.read[0].meta_keys();
    let draft = move |at: Position| {
        let clear = Clear {
            stash: at.stash,
            kind: RecordKind::Put,
            name,
            dot: at.dot,
            previous: at.previous,
            height: at.height,
            epoch: 0,
            seen: at.seen,
            manifest: Manifest::EMPTY,
        };
        RecordDraft { clear, meta: Some(meta.clone()) }.sign(keyring.node.signer(), &meta_keys)
    };
    let upload = node.engine.upload(Wait::Local);
    upload.commit(vec![Write { name, draft: Box::new(draft) }]).await.unwrap();
}

/// Bytes that no compressor or deduplicator makes smaller; every seed gives others.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Every file below a directory, but for the mark of the directory of chunk files.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with("store-id") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Copies a directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(path, to.join(name)).unwrap();
        }
    }
}

/// True if these bytes stand in any file below a directory.
pub(crate) fn planted(dir: &Path, marker: &[u8]) -> Option<PathBuf> {
    files(dir).into_iter().find(|path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(marker.len()).any(|window| window == marker)
    })
}
