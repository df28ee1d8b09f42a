//! `ready.json`: the sign that a node serves, for scripts that start one.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use stash_api::node::Ready;

/// The name of the file in the data directory.
pub(crate) const READY: &str = "ready.json";

/// The file while the node serves; dropping it removes the file.
pub(crate) struct ReadyFile(PathBuf);

impl ReadyFile {
    /// Writes the file: readers see the whole of it or none.
    pub(crate) fn write(data_dir: &Path, ready: &Ready) -> anyhow::Result<Self> {
        let path = data_dir.join(READY);
        let draft = data_dir.join(format!("{READY}.new"));
        let cannot = || format!("cannot write {}", path.display());
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .with_context(cannot)?;
        let mut text = serde_json::to_vec(ready)?;
        text.push(b'\n');
        file.write_all(&text).with_context(cannot)?;
        std::fs::rename(&draft, &path).with_context(cannot)?;
        Ok(Self(path))
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        // Left behind, it names a process that is gone, which readers have to expect anyway.
        let _gone_already = std::fs::remove_file(&self.0);
    }
}

/// Removes the file that a killed process left. A file of a running one stays.
pub(crate) fn remove_stale(data_dir: &Path) {
    let path = data_dir.join(READY);
    if read(data_dir).is_none_or(|ready| !runs(ready.pid)) {
        let _absent = std::fs::remove_file(path);
    }
}

/// Reads the file.
pub(crate) fn read(data_dir: &Path) -> Option<Ready> {
    serde_json::from_slice(&std::fs::read(data_dir.join(READY)).ok()?).ok()
}

/// True if a process with this id runs.
pub(crate) fn runs(pid: u32) -> bool {
    i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
        && !std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| is_zombie(&stat))
}

/// True of a process that has ended, and whose parent has not looked yet; proc(5).
fn is_zombie(stat: &str) -> bool {
    // The name before it may hold anything, brackets included.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(pid: u32) -> Ready {
        let listen = vec!["127.0.0.1:7979".parse().unwrap()];
        Ready { pid, node_id: "ab".into(), listen, socket: "/s".into() }
    }

    #[test]
    fn the_file_exists_while_its_value_does() {
        let dir = tempfile::tempdir().unwrap();
        let file = ReadyFile::write(dir.path(), &ready(1)).unwrap();
        assert_eq!(read(dir.path()), Some(ready(1)));
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_process_that_nobody_has_waited_for_runs_no_more() {
        assert!(is_zombie("12 (a) S) (b) Z 1 2") && !is_zombie("12 (a) Z) S 1 2"));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let begun = std::time::Instant::now();
        while runs(child.id()) {
            assert!(begun.elapsed() < std::time::Duration::from_secs(60));
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        child.wait().unwrap();
    }

    #[test]
    fn only_the_file_of_a_dead_process_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        let file = ReadyFile::write(dir.path(), &ready(std::process::id())).unwrap();
        remove_stale(dir.path());
        assert!(read(dir.path()).is_some());
        std::mem::forget(file);
        // Above the largest process id of Linux.
        let _dead = ReadyFile::write(dir.path(), &ready(0x7fff_fffe)).unwrap();
        remove_stale(dir.path());
        assert_eq!(read(dir.path()), None);
    }
}
