//! Needs of power cuts, and how to get what a machine lacks.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::powercut::arguments::FileSystem;
use crate::tools::{absent, find};

/// Something that is missing.
#[derive(Debug)]
pub(super) struct Need {
    /// The name for `--allow-missing`.
    pub(super) name: &'static str,
    why: String,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.why)
    }
}

/// Programs that every run needs, and the Debian packages that have them. The names are also those of the needs.
const PROGRAMS: &[(&str, &str)] =
    &[("strace", "strace"), ("unshare", "util-linux"), ("mount", "mount"), ("umount", "mount")];

/// All that is missing for cutting these file systems.
pub(super) fn missing(file_systems: &[FileSystem]) -> Vec<Need> {
    let mut missing = vec![];
    let mut need = |name, why: Option<String>| missing.extend(why.map(|why| Need { name, why }));
    let root = rustix::process::geteuid().is_root();
    need("root", (!root).then(|| "only root mounts file systems; run it with sudo".into()));
    let control = Path::new("/dev/loop-control").exists();
    need("loop", (!control).then(|| "the kernel has no loop devices (modprobe loop)".into()));
    for (program, package) in PROGRAMS {
        need(program, absent(program, package));
    }
    let shutdown = shutdown_program().is_none();
    let why = "no program can shut a file system down (apt-get install xfsprogs, or python3)";
    need("shutdown", shutdown.then(|| why.into()));
    for fs in file_systems {
        let (kernel, programs, package) = parts(*fs);
        let absent = programs.iter().find_map(|program| absent(program, package));
        need(fs.name(), absent.or_else(|| unknown_to_kernel(kernel)));
    }
    missing
}

/// The kernel's name of a file system, the programs for it, and the package that has them.
fn parts(fs: FileSystem) -> (&'static str, &'static [&'static str], &'static str) {
    match fs {
        FileSystem::Ext4 => ("ext4", &["mkfs.ext4"], "e2fsprogs"),
        FileSystem::Xfs => ("xfs", &["mkfs.xfs"], "xfsprogs"),
        FileSystem::Bare => ("ext4", &["mkfs.ext4", "e2fsck"], "e2fsprogs"),
    }
}

/// The program that shuts a file system down: `xfs_io` from xfsprogs, which does so for others as well, or else python.
pub(super) fn shutdown_program() -> Option<&'static str> {
    ["xfs_io", "python3"].into_iter().find(|program| find(program).is_some())
}

fn unknown_to_kernel(fs: &str) -> Option<String> {
    let known = || {
        let page = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        page.lines().any(|line| line.trim() == fs)
    };
    if known() {
        return None;
    }
    let mut load = Command::new("modprobe");
    load.arg(fs).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let loaded = load.status().is_ok_and(|status| status.success());
    (!loaded || !known()).then(|| format!("the kernel has no {fs} (/proc/filesystems)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_need_is_told_by_the_name_that_allows_it() {
        let need = Need { name: "xfs", why: "mkfs.xfs is not installed".into() };
        assert_eq!(need.to_string(), "xfs: mkfs.xfs is not installed");
    }
}
