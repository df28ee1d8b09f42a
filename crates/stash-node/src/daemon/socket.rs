//! The daemon's end of the Unix socket: private, and never taken from a daemon that lives.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::error::{Class, Problem};
use crate::paths;

/// A listening socket with mode 0600. Dropping it removes the file.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
    /// Held while the socket is ours, so that two daemons never race for a stale one.
    _lock: File,
}

impl Socket {
    /// Binds `path`. A socket that a dead daemon left is replaced; a live one, and anything that is
    /// not a socket, is refused.
    pub(crate) fn bind(path: &Path) -> Result<Self, Problem> {
        paths::check_socket(path)?;
        let cannot = |e: io::Error| {
            Problem::new(Class::Failed, format!("cannot listen on {}: {e}", path.display()))
        };
        private_directory(path)?;
        let lock = lock(path)?;
        clear(path)?;
        let listener = UnixListener::bind(path).map_err(cannot)?;
        // Until this line strangers are kept out by the check of the peer's user alone.
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(cannot)?;
        let metadata = std::fs::symlink_metadata(path).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let inode = (metadata.dev(), metadata.ino());
        Ok(Self { listener, path: path.to_owned(), inode, _lock: lock })
    }

    /// The listener, for the runtime that is entered.
    pub(crate) fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(self.listener.try_clone()?)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.inode);
        if ours {
            // Left behind, it is stale: the next daemon replaces it.
            let _stale = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes the directory with mode 0700, or checks that only this user can write to it.
fn private_directory(path: &Path) -> Result<(), Problem> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let cannot = |e: io::Error| {
        Problem::new(Class::Failed, format!("cannot use the directory {}: {e}", dir.display()))
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(cannot)?;
    let metadata = std::fs::metadata(dir).map_err(cannot)?;
    let owner = rustix::process::geteuid().as_raw();
    if metadata.uid() == owner && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    let why =
        if metadata.uid() == owner { "others can write to it" } else { "it is another user's" };
    Err(Problem::new(Class::Refused, format!("the socket is not safe in {}: {why}", dir.display()))
        .hint("name a path in a directory of your own with --socket PATH"))
}

/// Takes the lock beside the socket and writes this process's id into it.
fn lock(path: &Path) -> Result<File, Problem> {
    let name = lock_of(path);
    let cannot =
        |e: io::Error| Problem::new(Class::Failed, format!("cannot lock {}: {e}", name.display()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(&name)
        .map_err(cannot)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(taken(path, written(&mut file))),
        Err(e) => return Err(cannot(e.into())),
    }
    file.set_len(0).map_err(cannot)?;
    file.write_all(std::process::id().to_string().as_bytes()).map_err(cannot)?;
    Ok(file)
}

fn no_follow() -> i32 {
    // The flag fits: it is one of the bits of open(2)'s int.
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

/// The process that has the lock beside a socket. Does not try the lock: a node that starts meanwhile would find
/// it taken.
pub(crate) fn holder(path: &Path) -> Option<u32> {
    let mut file =
        OpenOptions::new().read(true).custom_flags(no_follow()).open(lock_of(path)).ok()?;
    let inode = file.metadata().ok()?.ino();
    let pid = written(&mut file)?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    has_lock(&locks, pid, inode).then_some(pid)
}

/// True if a process has locked the file of this inode, by the list of all locks; proc(5).
fn has_lock(locks: &str, pid: u32, inode: u64) -> bool {
    let (pid, inode) = (pid.to_string(), format!(":{inode}"));
    locks.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words[..], [_, "FLOCK", _, "WRITE", holder, file, ..] if holder == pid && file.ends_with(&inode))
    })
}

/// The file of the lock beside a socket.
fn lock_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// The process that wrote its id into the lock.
fn written(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn taken(path: &Path, pid: Option<u32>) -> Problem {
    let who = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    let message = format!("another stash daemon{who} already serves {}", path.display());
    let problem = Problem::new(Class::Locked, message);
    if let Some(pid) = pid.filter(|_| !path.exists()) {
        return problem
            .hint(format!("its socket is gone: stop it (kill {pid}), and start it again"));
    }
    problem.hint("ask it with: stash status; to serve a second stash, name --data-dir and --socket")
}

/// Removes a socket that nobody answers.
fn clear(path: &Path) -> Result<(), Problem> {
    let refuse = |why: &str| {
        Problem::new(Class::Refused, format!("{} {why}; it is left as it is", path.display()))
            .hint("move it away, or name another path with --socket PATH")
    };
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(refuse(&format!("cannot be examined ({e})"))),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(refuse("is in the way and is not a socket"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(taken(path, None)),
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path)
            .map_err(|e| refuse(&format!("is stale and cannot be removed ({e})"))),
        Err(e) => Err(refuse(&format!("cannot be tried ({e})"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    // Fault case 123.
    #[test]
    fn the_directory_is_made_private_and_so_is_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/stash/s.sock");
        let socket = Socket::bind(&path).unwrap();
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _socket = Socket::bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    // Fault case 89.
    #[test]
    fn a_live_socket_is_never_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let _socket = Socket::bind(&path).unwrap();
        let problem = Socket::bind(&path).map(|_| ()).unwrap_err();
        assert_eq!(problem.code, Class::Locked);
        let pid = std::process::id().to_string();
        assert!(problem.message.contains(&pid), "{}", problem.message);

        let foreign = dir.path().join("foreign.sock");
        let _listener = UnixListener::bind(&foreign).unwrap();
        let problem = Socket::bind(&foreign).map(|_| ()).unwrap_err();
        assert_eq!(problem.code, Class::Locked);
    }

    // Fault case 123.
    #[test]
    fn a_symlink_or_a_file_at_the_path_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("precious");
        std::fs::write(&file, "kept").unwrap();
        let link = dir.path().join("link.sock");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            let problem = Socket::bind(path).map(|_| ()).unwrap_err();
            assert_eq!(problem.code, Class::Refused);
        }
        assert_eq!(std::fs::read_to_string(&link).unwrap(), "kept");
    }

    // Fault case 123.
    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        let problem = Socket::bind(&open.join("s.sock")).map(|_| ()).unwrap_err();
        assert_eq!(problem.code, Class::Refused);
        assert!(problem.hint.unwrap().contains("--socket"));
    }

    #[test]
    fn who_has_the_lock_is_known_without_trying_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        assert_eq!(holder(&path), None);
        let socket = Socket::bind(&path).unwrap();
        assert_eq!(holder(&path), Some(std::process::id()));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(holder(&path), Some(std::process::id()), "with or without the socket");
        drop(socket);
        assert_eq!(holder(&path), None, "the file of the lock stays, and means nothing");
        let locks = "1: POSIX  ADVISORY  WRITE 7 08:01:99 0 EOF\n2: FLOCK  ADVISORY  WRITE 7 00:2f:12 0 EOF\n";
        assert!(has_lock(locks, 7, 12));
        for (pid, inode) in [(7, 99), (8, 12), (7, 2)] {
            assert!(!has_lock(locks, pid, inode), "{pid} {inode}");
        }
    }

    #[test]
    fn the_lock_beside_the_socket_follows_no_symlink() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "kept").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("s.sock.lock")).unwrap();
        assert!(Socket::bind(&dir.path().join("s.sock")).is_err());
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "kept");
    }
}
