//! Files and directories that are taken away from under a node, and bringing them back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::cluster::Node;

/// The things that are taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// All of `chunks/`.
    Whole,
    /// All of it, and an empty directory is in its place, as where a disk is mounted.
    Empty,
    /// The file that marks it.
    Marker,
    /// All of it, with a link to where it went.
    Link,
    /// Some of the directories in it.
    Directories,
    /// Some of its files.
    Files,
}

pub(super) const WAYS: [Way; 6] =
    [Way::Empty, Way::Files, Way::Whole, Way::Directories, Way::Marker, Way::Link];

impl Way {
    /// True if nothing of it is to be judged.
    pub(super) fn is_whole(self) -> bool {
        matches!(self, Way::Whole | Way::Empty | Way::Marker | Way::Link)
    }
}

/// The things that were taken away.
pub(super) struct Hidden {
    /// Where each was, and where it is now.
    moved: Vec<(PathBuf, PathBuf)>,
}

impl Hidden {
    pub(super) fn take(node: &Node, way: Way, rng: &mut StdRng) -> Result<Self> {
        Self::take_from(&node.data(), way, rng)
    }

    pub(super) fn take_from(data: &Path, way: Way, rng: &mut StdRng) -> Result<Self> {
        let chunks = data.join("store/chunks");
        let aside = data.join("away");
        fs::create_dir_all(&aside)?;
        let whole = |path: PathBuf| vec![path];
        let chosen = match way {
            Way::Whole | Way::Empty | Way::Link => whole(chunks.clone()),
            Way::Marker => whole(chunks.join("store-id")),
            Way::Directories => {
                let all = fs::read_dir(&chunks)?.map(|entry| Ok(entry?.path()));
                let mut all = all.collect::<io::Result<Vec<_>>>()?;
                all.retain(|path| path.is_dir() && rng.random_bool(0.6));
                all
            }
            Way::Files => {
                let mut all = files_below(&chunks)?;
                let is_marker = |path: &PathBuf| path.ends_with("store-id");
                all.retain(|path| !is_marker(path) && rng.random_bool(0.6));
                all
            }
        };
        let mut moved = vec![];
        for (n, from) in chosen.into_iter().enumerate() {
            let to = aside.join(n.to_string());
            match fs::rename(&from, &to) {
                // The node has removed it just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                renamed => renamed.with_context(|| from.display().to_string())?,
            }
            moved.push((from, to));
        }
        match way {
            Way::Empty => fs::create_dir(&chunks)?,
            Way::Link => std::os::unix::fs::symlink(aside.join("0"), &chunks)?,
            _ => {}
        }
        Ok(Self { moved })
    }

    /// Puts everything back. What has taken its place meanwhile stays.
    pub(super) fn bring_back(self) -> Result<()> {
        self.moved.iter().try_for_each(|(place, now)| back(now, place))
    }
}

fn back(now: &Path, place: &Path) -> Result<()> {
    let there = fs::symlink_metadata(place);
    let context = || place.display().to_string();
    match there {
        Ok(there) if there.is_symlink() => fs::remove_file(place).with_context(context)?,
        Ok(there) if there.is_dir() => {
            if fs::remove_dir(place).is_err() {
                // Something was stored in it.
                for entry in fs::read_dir(now)? {
                    let entry = entry?;
                    back(&entry.path(), &place.join(entry.file_name()))?;
                }
                return fs::remove_dir(now).with_context(context);
            }
        }
        Ok(_) => return fs::remove_file(now).with_context(context),
        Err(_) => {}
    }
    if let Some(above) = place.parent() {
        fs::create_dir_all(above)?;
    }
    fs::rename(now, place).with_context(context)
}

fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
