//! Directories of the disk in memory: what is, and what a power cut leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex};

use super::content::{FileNode, lock};
use super::survival::Fate;
use crate::DirEntry;

#[derive(Debug, Clone)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

impl Node {
    /// A separate copy of it as it is now, all of it durable.
    fn copy(&self) -> Node {
        match self {
            Node::File(file) => Node::File(file.copy()),
            Node::Dir(dir) => Node::Dir(dir.copy()),
        }
    }

    fn is(&self, other: &Node) -> bool {
        match (self, other) {
            (Node::File(a), Node::File(b)) => a.is(b),
            (Node::Dir(a), Node::Dir(b)) => Arc::ptr_eq(&a.0, &b.0),
            _ => false,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct DirNode(Arc<Mutex<Dir>>);

#[derive(Debug, Default)]
struct Dir {
    now: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
}

/// A name that was taken away: what it was, and what a power cut would have left of it.
#[derive(Debug)]
pub(super) struct Taken {
    now: Option<Node>,
    durable: Option<Node>,
}

impl Taken {
    /// A copy of it as it is now, all of it durable.
    pub(super) fn copy(&self) -> Taken {
        let now = self.now.as_ref().map(Node::copy);
        Taken { durable: now.clone(), now }
    }

    pub(super) fn crash(&self, fate: &mut Fate) {
        match &self.now {
            Some(Node::File(file)) => file.crash(fate),
            Some(Node::Dir(dir)) => dir.crash(fate),
            None => {}
        }
    }
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

fn split(path: &Path) -> io::Result<(&Path, String)> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(not_found)?;
    Ok((path.parent().ok_or_else(not_found)?, name.to_owned()))
}

impl DirNode {
    pub(super) fn dir(&self, path: &Path) -> io::Result<DirNode> {
        let mut dir = self.clone();
        for component in path.components() {
            let Component::Normal(name) = component else {
                continue;
            };
            let next = lock(&dir.0).now.get(name.to_str().ok_or_else(not_found)?).cloned();
            dir = match next {
                Some(Node::Dir(next)) => next,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(not_found()),
            };
        }
        Ok(dir)
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<FileNode> {
        let (dir, name) = split(path)?;
        let dir = self.dir(dir)?;
        let node = lock(&dir.0).now.get(&name).cloned();
        match node {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(not_found()),
        }
    }

    /// An error if the name is taken, or its directory is missing.
    pub(super) fn vacant(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = split(path)?;
        let dir = self.dir(dir)?;
        let taken = lock(&dir.0).now.contains_key(&name);
        if taken { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(()) }
    }

    /// Gives a node a name, replacing what has it.
    pub(super) fn insert(&self, path: &Path, node: Node) -> io::Result<()> {
        let (dir, name) = split(path)?;
        let dir = self.dir(dir)?;
        lock(&dir.0).now.insert(name, node);
        Ok(())
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = split(path)?;
        let dir = self.dir(dir)?;
        let removed = lock(&dir.0).now.remove(&name);
        removed.map(drop).ok_or_else(not_found)
    }

    /// Takes a name away, also from what a power cut leaves.
    pub(super) fn take(&self, path: &Path) -> io::Result<Taken> {
        let (dir, name) = split(path)?;
        let dir = self.dir(dir)?;
        let mut dir = lock(&dir.0);
        let now = Some(dir.now.remove(&name).ok_or_else(not_found)?);
        Ok(Taken { now, durable: dir.durable.remove(&name) })
    }

    /// Brings a name back. Directories are laid into each other; a file that has the name stays.
    pub(super) fn give(&self, path: &Path, taken: &Taken) -> io::Result<()> {
        let (dir, name) = split(path)?;
        self.dir(dir)?.lay(&name, taken);
        Ok(())
    }

    fn lay(&self, name: &str, taken: &Taken) {
        let mut dir = lock(&self.0);
        match (dir.now.get(name).cloned(), &taken.now) {
            (Some(Node::Dir(there)), Some(Node::Dir(back))) => {
                let below = lock(&back.0);
                for (name, node) in &below.now {
                    let durable = below.durable.get(name).cloned();
                    there.lay(name, &Taken { now: Some(node.clone()), durable });
                }
                // It may have been made anew, and not synced.
                dir.durable.insert(name.to_owned(), Node::Dir(there));
            }
            (Some(_), _) => {}
            (None, _) => {
                let back = |node: &Option<Node>| node.clone().map(|node| (name.to_owned(), node));
                dir.now.extend(back(&taken.now));
                dir.durable.extend(back(&taken.durable));
            }
        }
    }

    pub(super) fn entries(&self) -> Vec<DirEntry> {
        let entry = |(name, node): (&String, &Node)| DirEntry {
            name: name.clone(),
            is_dir: matches!(node, Node::Dir(_)),
        };
        lock(&self.0).now.iter().map(entry).collect()
    }

    pub(super) fn sync(&self) {
        let mut dir = lock(&self.0);
        dir.durable = dir.now.clone();
    }

    pub(super) fn walk(&self, at: &Path, visit: &mut dyn FnMut(&Path, &FileNode)) {
        for (name, node) in &lock(&self.0).now {
            match node {
                Node::File(file) => visit(&at.join(name), file),
                Node::Dir(dir) => dir.walk(&at.join(name), visit),
            }
        }
    }

    /// A copy that shares nothing, all of it durable.
    pub(super) fn copy(&self) -> DirNode {
        let copied = |(name, node): (&String, &Node)| (name.clone(), node.copy());
        let now: BTreeMap<_, _> = lock(&self.0).now.iter().map(copied).collect();
        DirNode(Arc::new(Mutex::new(Dir { durable: now.clone(), now })))
    }

    pub(super) fn bytes(&self) -> u64 {
        let mut bytes = 0;
        self.walk(Path::new("/"), &mut |_, file| bytes += file.len());
        bytes
    }

    /// Files and directories below this one.
    pub(super) fn nodes(&self) -> u64 {
        let below = |node: &Node| match node {
            Node::File(_) => 1,
            Node::Dir(dir) => 1 + dir.nodes(),
        };
        lock(&self.0).now.values().map(below).sum()
    }

    pub(super) fn crash(&self, fate: &mut Fate) {
        let mut dir = lock(&self.0);
        let mut left = BTreeMap::new();
        let names: BTreeSet<String> = dir.now.keys().chain(dir.durable.keys()).cloned().collect();
        for name in names {
            let (now, durable) = (dir.now.get(&name), dir.durable.get(&name));
            let synced = matches!((now, durable), (Some(a), Some(b)) if a.is(b));
            let node = if synced || fate.survives() { now } else { durable };
            if let Some(node) = node {
                match node {
                    Node::File(file) => file.crash(fate),
                    Node::Dir(dir) => dir.crash(fate),
                }
                left.insert(name, node.clone());
            }
        }
        dir.durable = left.clone();
        dir.now = left;
    }
}
