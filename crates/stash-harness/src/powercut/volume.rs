//! A file system in an image file: made, mounted, shut down as a power cut would, mounted again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::needs;
use crate::powercut::arguments::{FileSystem, Journal};
use crate::process::Running;
use crate::tools;

/// Size of an image; the file has holes where nothing was written. mkfs.xfs makes none below 300 MiB.
const IMAGE_BYTES: u64 = 320 << 20;

/// Size of an image that is copied whole at each cut: ten times what a run writes.
const BARE_BYTES: u64 = 64 << 20;

/// The longest that one of the programs here may take; they take milliseconds.
const PROGRAM: Duration = Duration::from_secs(60);

/// FS_IOC_SHUTDOWN of `linux/fs.h`, `_IOR('X', 125, __u32)`; python's arguments are directory and flag.
const PYTHON: &str = "import fcntl, os, struct, sys; \
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', int(sys.argv[2])))";

/// A file system in an image file.
#[derive(Debug)]
pub(super) struct Volume {
    fs: FileSystem,
    image: PathBuf,
    pub(super) mounted_at: PathBuf,
    options: &'static str,
}

impl Volume {
    /// Makes a new one in `directory`, not mounted, in place of the one that is there.
    pub(super) fn make(fs: FileSystem, directory: &Path, options: &'static str) -> Result<Self> {
        let (image, mounted_at) = (directory.join("image"), directory.join("mounted"));
        fs::create_dir_all(&mounted_at)?;
        let bytes = if fs == FileSystem::Bare { BARE_BYTES } else { IMAGE_BYTES };
        File::create(&image).and_then(|file| file.set_len(bytes)).context("image")?;
        let (mkfs, switches): (_, &[&str]) = match fs {
            FileSystem::Ext4 => ("mkfs.ext4", &["-q"]),
            FileSystem::Xfs => ("mkfs.xfs", &["-q"]),
            // Without sums, so that a repair reads all inodes, also of groups whose descriptors were not written.
            FileSystem::Bare => (
                "mkfs.ext4",
                &["-q", "-O", "^has_journal,^metadata_csum,^uninit_bg", "-E", "lazy_itable_init=0"],
            ),
        };
        program(tools::command(mkfs).args(switches).arg(&image))?;
        Ok(Self { fs, image, mounted_at, options })
    }

    /// Mounts it, which replays its journal. The kernel frees the loop device with the last user.
    pub(super) fn mount(&self) -> Result<()> {
        let kind = if self.fs == FileSystem::Xfs { "xfs" } else { "ext4" };
        let mut mount = tools::command("mount");
        mount.args(["-t", kind, "-o"]).arg(format!("loop,{}", self.options));
        program(mount.arg(&self.image).arg(&self.mounted_at))
    }

    /// The image stays as it is at this moment, as if the power were gone. What is mounted can be unmounted only, and
    /// then restored.
    pub(super) fn cut(&self, journal: Journal) -> Result<()> {
        if self.fs == FileSystem::Bare {
            // Without a journal, unmounting would write all the same: a copy keeps what there is now. What the kernel
            // writes while it is made, it was free to write, or not, at any time.
            let mut copy = tools::command("cp");
            return program(copy.arg("--sparse=always").arg(&self.image).arg(self.copy()));
        }
        if needs::shutdown_program() == Some("xfs_io") {
            let shutdown = match journal {
                Journal::Flushed => "shutdown -f",
                Journal::Dropped => "shutdown",
            };
            return program(
                tools::command("xfs_io").args(["-x", "-c", shutdown]).arg(&self.mounted_at),
            );
        }
        let flag = match journal {
            Journal::Flushed => "1",
            Journal::Dropped => "2",
        };
        program(tools::command("python3").args(["-c", PYTHON]).arg(&self.mounted_at).arg(flag))
    }

    /// Mounts what a cut left, repaired where a machine would repair it as it starts.
    pub(super) fn restore(&self) -> Result<()> {
        if self.fs == FileSystem::Bare {
            fs::rename(self.copy(), &self.image)?;
            let mut repair = tools::command("e2fsck");
            repair.arg("-fy").arg(&self.image);
            // 1: errors were found, and corrected.
            Running::spawn(&mut repair, "e2fsck".into())?.finish(PROGRAM)?.expect(&[0, 1])?;
        }
        self.mount()
    }

    fn copy(&self) -> PathBuf {
        self.image.with_extension("cut")
    }

    pub(super) fn unmount(&self) -> Result<()> {
        program(tools::command("umount").arg(&self.mounted_at))
    }
}

/// Runs a program that says nothing when all is well. `xfs_io` exits with 0 even if it failed.
fn program(command: &mut Command) -> Result<()> {
    let what = format!("{command:?}");
    let reply = Running::spawn(command, what)?.finish(PROGRAM)?.expect(&[0])?;
    anyhow::ensure!(reply.stderr.is_empty(), "`{}` said: {}", reply.what, reply.stderr.trim());
    Ok(())
}
