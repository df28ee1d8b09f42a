//! What a file system knows of a file beside its content: owner, ACLs, extended attributes, holes.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{SeekFrom, fgetxattr, flistxattr, lgetxattr, llistxattr, seek};
use rustix::io::Errno;
use stash_crypto::record::MAX_ATTRIBUTE_VALUE;

use crate::model::attributes::{Attributes, is_kept, mode_beside_acl};
use crate::model::holes::{Data, Holes};
use crate::model::plan::Plan;

/// Bytes of names that are read at once; Linux lists no more than [`LONGEST`].
const NAMES: usize = 1024;
/// Bytes of all names, and of one value, at most.
const LONGEST: usize = 65_536;
const ACCESS_ACL: &str = "system.posix_acl_access";

/// Where extended attributes are read: of a file that is open, or of what a path names, itself.
#[derive(Clone, Copy)]
pub(super) enum Of<'a> {
    File(&'a File),
    Path(&'a Path),
}

impl Of<'_> {
    fn list(self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Of::File(file) => flistxattr(file, buffer),
            Of::Path(path) => llistxattr(path, buffer),
        }
    }

    fn value(self, name: &str, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Of::File(file) => fgetxattr(file, name, buffer),
            Of::Path(path) => lgetxattr(path, name, buffer),
        }
    }

    /// Nothing where the file system has none, or does not say.
    fn names(self) -> Vec<u8> {
        let mut names = vec![0; NAMES];
        let mut listed = self.list(&mut names);
        if listed == Err(Errno::RANGE) {
            names.resize(LONGEST, 0);
            listed = self.list(&mut names);
        }
        names.truncate(listed.unwrap_or(0));
        names
    }
}

/// What is kept of a file beside its content.
pub(super) struct Facts {
    pub(super) attributes: Attributes,
    pub(super) mode: u32,
    /// Attributes that no record has room for.
    pub(super) left_out: Vec<String>,
}

impl Facts {
    /// Reads them. `mode` has the bits of the file.
    pub(super) fn read(of: Of<'_>, (user, group): (u32, u32), mode: u32) -> Facts {
        let attributes = Attributes::new(user, group);
        let mut facts = Facts { attributes, mode, left_out: Vec::new() };
        let names = of.names();
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            match std::str::from_utf8(name) {
                Ok(name) if is_kept(name) => facts.add(of, name),
                // Labels and sums that a machine gives to its own files.
                Ok(_) => {}
                Err(_) => facts.left_out.push(String::from_utf8_lossy(name).into_owned()),
            }
        }
        facts
    }

    fn add(&mut self, of: Of<'_>, name: &str) {
        let mut value = vec![0; MAX_ATTRIBUTE_VALUE];
        let mut read = of.value(name, &mut value);
        let too_long = read == Err(Errno::RANGE);
        if too_long && name == ACCESS_ACL {
            value.resize(LONGEST, 0);
            read = of.value(name, &mut value);
        }
        // Without an answer it is gone by now.
        value.truncate(read.unwrap_or(0));
        if name == ACCESS_ACL {
            self.mode = mode_beside_acl(self.mode, &value);
        }
        if too_long || (read.is_ok() && !self.attributes.add_extended(name, &value)) {
            self.left_out.push(name.to_owned());
        }
    }

    /// A sentence about what is left out.
    pub(super) fn note(&self) -> Option<String> {
        let names = self.left_out.join(", ");
        (!names.is_empty()).then(|| format!("stored without what does not fit: {names}"))
    }
}

/// True if fewer blocks are on the disk than the size asks for: only then may there be holes.
pub(super) fn may_have_holes(metadata: &Metadata) -> bool {
    metadata.blocks().saturating_mul(512) < metadata.len()
}

/// Asks the file system where the data of an open file is. Blocking.
pub(super) fn holes(file: &File, plan: Plan) -> io::Result<Holes> {
    let (size, mut at) = (plan.size(), 0);
    let mut data = Data::new(plan);
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // None up to the end.
            Err(Errno::NXIO) => break,
            // A file system that does not say.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                return Ok(Holes { runs: None, smaller: false });
            }
            Err(error) => return Err(error.into()),
        };
        let end = seek(file, SeekFrom::Hole(start))?;
        data.add(start..end);
        at = end.max(start + 1);
    }
    Ok(data.holes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn the_holes_of_a_file_are_found_where_its_file_system_has_some() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(&[1; 8192], 33 << 20).unwrap();
        file.sync_all().unwrap();
        let metadata = file.metadata().unwrap();
        assert!(may_have_holes(&metadata), "the temporary directory has no holes");
        let found = holes(&file, Plan::new(metadata.len(), None)).unwrap();
        assert_eq!(found.runs.unwrap().runs(), std::slice::from_ref(&(33..34)));
        assert!(found.smaller);
    }

    #[test]
    fn attributes_of_a_user_are_read_and_what_does_not_fit_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"x").unwrap();
        let set = |name: &str, value: &[u8]| {
            rustix::fs::setxattr(&path, name, value, rustix::fs::XattrFlags::empty())
        };
        if let Err(error) = set("user.note", b"blue") {
            eprintln!("SKIPPED, NO EXTENDED ATTRIBUTES IN THE TEMPORARY DIRECTORY: {error}");
            return;
        }
        set("user.long", &[7; 1025]).unwrap();
        let file = File::open(&path).unwrap();
        for of in [Of::File(&file), Of::Path(&path)] {
            let facts = Facts::read(of, (1, 2), 0o644);
            assert!(facts.note().unwrap().contains("user.long"));
            let attributes = facts.attributes.into_inner();
            assert_eq!(attributes["xattr.user.note"], b"blue");
            assert_eq!(attributes["posix.owner"], [1, 0, 0, 0, 2, 0, 0, 0]);
            assert_eq!(attributes["stash.put"], [1]);
            assert_eq!(attributes.len(), 3);
        }
    }
}
