use std::path::Path;

use stash_crypto::record::FileType;
use stash_runs::disk::{Disk, MemDisk};
use stash_server::Wait;
use stash_server::store::Quota;
use tempfile::TempDir;
use tokio::sync::broadcast;

use super::*;
use crate::index::{Binding, Root};
use crate::model::scope::Scope;
use crate::{Home, InitOptions, Node, Progress, PutOptions, RunOptions};

/// Files of a scene: names enough that they are merged, if each is written to a file of its own.
const FILES: usize = 20;

/// A node with files, and an index of them beside its own.
struct Scene {
    _temp: TempDir,
    node: Node,
    disk: MemDisk,
    follow: Follow,
    expected: Vec<(String, u64)>,
    names: Vec<NameId>,
}

impl Scene {
    async fn new() -> Scene {
        let temp = tempfile::tempdir().unwrap();
        let data = temp.path().join("data");
        let files = temp.path().join("files");
        std::fs::create_dir(&files).unwrap();
        (0..FILES).for_each(|n| std::fs::write(files.join(format!("{n:02}")), [1]).unwrap());
        Home::init(&data, InitOptions::default()).unwrap();
        let node = Home::open(&data, None, RunOptions::default()).await.unwrap();
        let vault = node.vault.as_ref().unwrap();
        let options = PutOptions { wait: Wait::Local, jobs: 1 };
        vault.put_path(&files, None, options, &Progress::new()).await.unwrap();

        let disk = MemDisk::new(0);
        disk.create_dir(Path::new("/data")).unwrap();
        let root =
            Root { disk: Arc::new(disk.clone()), path: "/data".into(), quota: Quota::default() };
        let stash = stash_crypto::StashId::from_bytes([1; 32]);
        let binding = Binding { store: [1; 16], stash, aside: 0 };
        let index = Arc::new(NameIndex::open(&root, binding, 0, &|_| true).unwrap());
        let jobs = Jobs::default();
        let follow = Follow {
            engine: node.engine.clone(),
            index,
            keys: Arc::clone(&vault.inner.keys),
            merges: Merges::new(NAMES.directory, jobs.clone()),
            jobs,
            mended: BTreeSet::new(),
        };
        let mut scene =
            Scene { _temp: temp, node, disk, follow, expected: Vec::new(), names: Vec::new() };
        scene.catch_up().await;
        scene.expected = scene.listed();
        scene.names = scene.page().into_iter().map(|(_, entry)| entry.name).collect();
        assert_eq!(scene.names.len(), FILES);
        scene
    }

    async fn catch_up(&mut self) {
        while self.follow.page().await.unwrap() {}
    }

    /// The files, without the directory in which they lie.
    fn page(&self) -> Vec<(stash_crypto::Key, IndexEntry)> {
        let page = self.follow.index.page(&Scope::All, None, 1000).unwrap();
        let is_file = |(_, entry): &(_, IndexEntry)| entry.file_type == FileType::Regular;
        page.into_iter().filter(is_file).collect()
    }

    fn listed(&self) -> Vec<(String, u64)> {
        self.page().into_iter().map(|(key, entry)| (key.to_string(), entry.size)).collect()
    }

    /// Lists none of the names, as if the records of all were damaged when their turn came.
    fn unlist(&self) {
        let nothing = |name: &NameId| NameUpdate {
            name: *name,
            key: None,
            shown: Shown::Nothing,
            alarmed: false,
        };
        let updates: Vec<_> = self.names.iter().map(nothing).collect();
        let index = &self.follow.index;
        let (generation, cursor) = index.position();
        index.apply(generation, &updates, cursor, None).unwrap();
        index.sync().unwrap();
        assert_eq!(index.len(), 0);
    }

    /// Notes all names, told by a channel that holds so many of them.
    async fn note(&mut self, room: usize) {
        let (told, mut mended) = broadcast::channel(room);
        for name in &self.names[1..] {
            told.send(*name).unwrap();
        }
        let first = self.names[0];
        self.follow.note(first, &mut mended).await;
    }

    async fn close(self) {
        let Scene { node, follow, .. } = self;
        follow.jobs.ended().await;
        drop(follow);
        node.shutdown(Duration::from_secs(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_names_that_were_mended_at_once_are_listed_and_written_together() {
    let mut scene = Scene::new().await;
    scene.unlist();
    scene.note(FILES).await;
    assert_eq!(scene.follow.mended.len(), FILES);
    assert_eq!(scene.listed(), [], "noted, and not looked at");
    let files = scene.disk.files().len();
    let before = scene.follow.index.position();
    scene.follow.again().await;
    assert!(scene.follow.mended.is_empty());
    assert_eq!((scene.listed(), scene.follow.index.position()), (scene.expected.clone(), before));
    assert_eq!(scene.disk.files().len(), files + 1, "one file for all of them");
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_mended_names_than_can_be_told_make_the_index_begin_anew() {
    let mut scene = Scene::new().await;
    scene.unlist();
    scene.note(FILES / 4).await;
    assert!(scene.follow.mended.is_empty());
    assert_eq!(scene.follow.index.position(), (1, 0));
    scene.catch_up().await;
    assert_eq!(scene.listed(), scene.expected);
    scene.close().await;
}

/// Fault case 44.
#[tokio::test(flavor = "multi_thread")]
async fn mended_names_wait_on_a_full_disk_and_the_index_stays() {
    let mut scene = Scene::new().await;
    scene.unlist();
    scene.note(FILES).await;
    scene.disk.set_capacity(Some(scene.disk.used()));
    scene.follow.again().await;
    assert_eq!(scene.follow.mended.len(), FILES, "what is not durable is looked at again");
    scene.disk.set_capacity(None);
    scene.follow.again().await;
    assert!(scene.follow.mended.is_empty());
    assert_eq!(scene.follow.index.position().0, 0, "it did not begin anew");
    assert_eq!(scene.listed(), scene.expected);
    scene.close().await;
}
