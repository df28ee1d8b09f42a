//! Directories: the workspace, one run's directory under `target/`, and a short one for sockets.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rand::RngExt;

/// The longest path that a Unix socket can have, in bytes (`sun_path` less its zero byte).
const SOCKET_PATH: usize = 107;

/// Room for the longest file name used in the socket directory, with its slash.
const SOCKET_NAME: usize = 16;

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = manifest.ancestors().find(|directory| directory.join("Cargo.lock").exists());
    root.map_or(manifest.clone(), Path::to_path_buf)
}

/// `target/cluster/<run>` and a socket directory; both go when dropped, the first only if nobody asked to keep it.
#[derive(Debug)]
pub struct RunDirectory {
    /// The directory of the run.
    pub path: PathBuf,
    /// A short path, for sockets.
    pub sockets: PathBuf,
    keep: bool,
}

impl RunDirectory {
    /// Makes both. They are kept until somebody says otherwise: a failure leaves its logs behind.
    pub fn create() -> Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let run = format!("{since}-{}", std::process::id());
        let runs = workspace().join("target/cluster");
        fs::create_dir_all(&runs).with_context(|| runs.display().to_string())?;
        spread(&runs);
        let path = runs.join(run);
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        let sockets = socket_directory(&std::env::temp_dir())
            .or_else(|_| socket_directory(Path::new("/tmp")))?;
        // Kept until the work has succeeded: a failure leaves its logs behind.
        Ok(Self { path, sockets, keep: true })
    }

    /// Says whether the first stays.
    pub fn keep(&mut self, keep: bool) {
        self.keep = keep;
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.sockets).ok();
        if !self.keep {
            fs::remove_dir_all(&self.path).ok();
        }
    }
}

/// Has ext4 lay each directory in this one into another part of the disk, like those at the root. Where it
/// has no journal, it passes slowly over inodes that were removed in the last minutes (`recently_deleted`
/// in Linux's `fs/ext4/ialloc.c`), and the run before leaves thousands. A hint that other file systems
/// do not know.
#[cfg(target_os = "linux")]
fn spread(dir: &Path) {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let Ok(dir) = fs::File::open(dir) else { return };
    if let Ok(flags) = ioctl_getflags(&dir) {
        // Without it, figures vary more.
        let _ = ioctl_setflags(&dir, flags | IFlags::TOPDIR);
    }
}

#[cfg(not(target_os = "linux"))]
fn spread(_: &Path) {}

fn socket_directory(parent: &Path) -> Result<PathBuf> {
    let path = parent.join(format!("stash-{:08x}", rand::rng().random::<u32>()));
    if path.as_os_str().len() + SOCKET_NAME > SOCKET_PATH {
        bail!("{} is too long for a socket path of {SOCKET_PATH} bytes", path.display());
    }
    fs::DirBuilder::new().mode(0o700).create(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_too_long_for_sockets_is_refused_before_anything_is_made() {
        let deep = std::env::temp_dir().join("d".repeat(100));
        let error = socket_directory(&deep).unwrap_err().to_string();
        assert!(error.contains("too long") && !deep.exists(), "{error}");
    }

    #[test]
    fn the_workspace_is_where_the_root_manifest_is() {
        assert!(workspace().join("Cargo.lock").exists());
    }
}
