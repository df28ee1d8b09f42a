//! What files have beside their content: mode and time, and if asked for owner, ACLs and extended attributes.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chownat, fchmod,
    fchown, fgetxattr, fremovexattr, fsetxattr, futimens, utimensat,
};
use rustix::io::Errno;
use stash_crypto::Meta;
use stash_crypto::record::MAX_ATTRIBUTE_VALUE;

use super::options::Restore;
use crate::model::attributes::{acls, extended, owner, says_all_acls};

/// Begins the names of attributes that a user may give to a file.
const OWN: &str = "user.";

/// What could not be given back, and why.
#[derive(Default)]
struct Lacks(Vec<String>);

impl Lacks {
    fn note(&mut self, what: &str, given: Result<(), Errno>) {
        if let Err(error) = given {
            self.0.push(format!("{what} ({})", std::io::Error::from(error)));
        }
    }

    fn sentence(self) -> Option<String> {
        let list = self.0.join(", ");
        (!list.is_empty()).then(|| format!("given back without {list}"))
    }
}

/// Gives an open file or directory what its meta says, as far as it is asked for, and of its mode these
/// bits. What it lacks afterwards is told; that mode or time could not be given is an error.
pub(super) fn give(
    file: impl AsFd,
    meta: &Meta,
    bits: u32,
    restore: Restore,
) -> Result<Option<String>, Errno> {
    let (file, mut lacks) = (file.as_fd(), Lacks::default());
    // While the mode lets its owner write.
    if restore.xattr {
        set_extended(file, meta, &mut lacks, |name| name.starts_with(OWN));
    }
    if restore.owner
        && let Some(owner) = owner(meta)
    {
        set_owner(owner, &mut lacks, |user, group| fchown(file, user, group));
    }
    // A change of owner takes these away.
    if restore.xattr && restore.privileged {
        set_extended(file, meta, &mut lacks, |name| !name.starts_with(OWN));
    }
    if let Some(mode) = meta.mode {
        fchmod(file, Mode::from_raw_mode(mode & bits))?;
    }
    // Behind the mode, which would change the mask of an ACL.
    if restore.acl {
        set_acls(file, meta, &mut lacks);
    }
    if let Some(modified) = meta.modified {
        futimens(file, &times(modified))?;
    }
    Ok(lacks.sentence())
}

/// What a file that is there lacks of what is asked for beside its mode.
pub(super) fn missing(file: impl AsFd, stat: &Stat, meta: &Meta, restore: Restore) -> Vec<String> {
    let file = file.as_fd();
    let mut list = Vec::new();
    if restore.owner
        && let Some((user, group)) = owner(meta)
        && (stat.st_uid, stat.st_gid) != (user, group)
    {
        list.push(format!("owner {user}:{group}"));
    }
    let has = |name: &str| {
        let mut value = vec![0; MAX_ATTRIBUTE_VALUE];
        let len = fgetxattr(file, name, &mut value).ok()?;
        value.truncate(len);
        Some(value)
    };
    let given = |name: &str| name.starts_with(OWN) || restore.privileged;
    for (name, value) in extended(meta).filter(|(name, _)| restore.xattr && given(name)) {
        if has(name).as_deref() != Some(value) {
            list.push(name.to_owned());
        }
    }
    for (name, value) in acls(meta).filter(|_| restore.acl) {
        if has(name).as_deref() != value && (value.is_some() || says_all_acls(meta)) {
            list.push(name.to_owned());
        }
    }
    list
}

/// Gives a link in a directory its owner and time.
pub(super) fn give_link(
    directory: BorrowedFd<'_>,
    name: &str,
    meta: &Meta,
    restore: Restore,
) -> Result<Option<String>, Errno> {
    let mut lacks = Lacks::default();
    if restore.owner
        && let Some(owner) = owner(meta)
    {
        set_owner(owner, &mut lacks, |user, group| {
            chownat(directory, name, user, group, AtFlags::SYMLINK_NOFOLLOW)
        });
    }
    if let Some(modified) = meta.modified {
        utimensat(directory, name, &times(modified), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(lacks.sentence())
}

/// Gives owner and group. Whoever may not give files away may give them to a group of their own.
fn set_owner(
    (user, group): (u32, u32),
    lacks: &mut Lacks,
    chown: impl Fn(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
) {
    let group = Some(Gid::from_raw(group));
    let given = chown(Some(Uid::from_raw(user)), group);
    if given == Err(Errno::PERM) {
        lacks.note("owner", given);
        lacks.note("group", chown(None, group));
    } else {
        lacks.note("owner and group", given);
    }
}

fn set_extended(
    file: BorrowedFd<'_>,
    meta: &Meta,
    lacks: &mut Lacks,
    wanted: impl Fn(&str) -> bool,
) {
    for (name, value) in extended(meta).filter(|(name, _)| wanted(name)) {
        lacks.note(name, fsetxattr(file, name, value, XattrFlags::empty()));
    }
}

/// Gives the ACLs that are stored; those that a new file has from its directory alone, it loses.
fn set_acls(file: BorrowedFd<'_>, meta: &Meta, lacks: &mut Lacks) {
    for (name, value) in acls(meta) {
        let given = match value {
            Some(value) => fsetxattr(file, name, value, XattrFlags::empty()),
            None if says_all_acls(meta) => match fremovexattr(file, name) {
                Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
                removed => removed,
            },
            None => Ok(()),
        };
        lacks.note(name, given);
    }
}

fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    let as_it_is = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let modified = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) };
    Timestamps { last_access: as_it_is, last_modification: modified }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::BTreeMap;
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;

    use stash_crypto::Key;

    const ALL: Restore = Restore { owner: true, acl: true, xattr: true, privileged: true };

    fn meta(attributes: &[(&str, &[u8])]) -> Meta {
        let mut meta = Meta::new(Key::new("k").unwrap(), 0);
        meta.mode = Some(0o4440);
        meta.modified = Some((-5, 7));
        let own = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        meta.attributes = BTreeMap::from_iter(own);
        meta
    }

    fn owner_of(user: u32, group: u32) -> Vec<u8> {
        [user.to_le_bytes(), group.to_le_bytes()].concat()
    }

    /// user::rw-, user:1:rw-, group::r--, mask::rw-, other::---
    fn acl() -> Vec<u8> {
        let entry = |tag: u16, bits: u16, id: u32| {
            [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let none = u32::MAX;
        let entries = [(1, 6, none), (2, 6, 1), (4, 4, none), (16, 6, none), (32, 0, none)]
            .map(|(t, b, i)| entry(t, b, i));
        [vec![2, 0, 0, 0], entries.concat()].concat()
    }

    fn value(file: &File, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 1024];
        let len = fgetxattr(file, name, &mut value).ok()?;
        value.truncate(len);
        Some(value)
    }

    /// Says loudly where the file system cannot do what is tested.
    fn can(file: &File, name: &str, value: &[u8]) -> bool {
        let set = fsetxattr(file, name, value, XattrFlags::empty());
        if let Err(error) = set {
            eprintln!("SKIPPED, NO {name} IN THE TEMPORARY DIRECTORY: {error}");
        }
        set.is_ok() && fremovexattr(file, name).is_ok()
    }

    #[test]
    fn what_is_asked_for_is_given_and_nothing_else() {
        let file = tempfile::tempfile().unwrap();
        if !can(&file, "user.note", b"x") || !can(&file, "system.posix_acl_access", &acl()) {
            return;
        }
        let own = owner_of(rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let acl = acl();
        let meta = meta(&[
            ("stash.put", &[1]),
            ("posix.owner", &own),
            ("posix.acl", &acl),
            ("xattr.user.note", b"blue"),
            ("content-type", b"text/plain"),
        ]);
        assert_eq!(give(&file, &meta, 0o777, Restore::default()), Ok(None));
        let found = file.metadata().unwrap();
        assert_eq!((found.mode() & 0o7777, found.mtime(), found.mtime_nsec()), (0o440, -5, 7));
        assert_eq!(value(&file, "user.note"), None);
        assert_eq!(value(&file, "system.posix_acl_access"), None);

        let file = tempfile::tempfile().unwrap();
        assert_eq!(give(&file, &meta, 0o7777, ALL), Ok(None));
        assert_eq!(value(&file, "user.note").as_deref(), Some(&b"blue"[..]));
        assert_eq!(value(&file, "system.posix_acl_access"), Some(acl));
        let found = file.metadata().unwrap();
        // The mask stands in the bits of the group; the ACL says what its owner may.
        assert_eq!((found.mode() & 0o7777, found.mtime()), (0o4660, -5));
    }

    #[test]
    fn an_acl_of_the_directory_alone_is_taken_off() {
        let file = tempfile::tempfile().unwrap();
        let name = "system.posix_acl_access";
        if !can(&file, name, &acl()) {
            return;
        }
        for (attributes, left) in [(&[][..], true), (&[("stash.put", &[1][..])], false)] {
            fsetxattr(&file, name, &acl(), XattrFlags::empty()).unwrap();
            assert_eq!(give(&file, &meta(attributes), 0o777, ALL), Ok(None));
            assert_eq!(value(&file, name).is_some(), left, "{attributes:?}");
        }
    }

    #[test]
    fn privileges_are_given_with_privileged_alone() {
        let file = tempfile::tempfile().unwrap();
        if !can(&file, "trusted.note", b"x") {
            return;
        }
        let meta = meta(&[("xattr.trusted.note", b"1"), ("xattr.security.selinux", b"evil")]);
        for privileged in [false, true] {
            let restore = Restore { privileged, ..ALL };
            assert_eq!(give(&file, &meta, 0o777, restore), Ok(None));
            assert_eq!(value(&file, "trusted.note").is_some(), privileged);
        }
        assert_ne!(value(&file, "security.selinux").as_deref(), Some(&b"evil"[..]));
    }

    #[test]
    fn what_cannot_be_given_is_told_and_the_rest_is_given() {
        let file = tempfile::tempfile().unwrap();
        let meta = meta(&[
            ("stash.put", &[1]),
            ("posix.acl", b"no acl"),
            ("posix.owner", b"short"),
            ("xattr.user.\0", b"1"),
        ]);
        let lacks = give(&file, &meta, 0o777, ALL).unwrap().unwrap();
        assert!(
            lacks.starts_with("given back without ") && lacks.contains("posix_acl_access ("),
            "{lacks}"
        );
        assert_eq!(file.metadata().unwrap().mtime(), -5);
        let nobody = meta_with_owner(u32::MAX);
        assert_eq!(give(&file, &nobody, 0o777, ALL), Ok(None), "no owner at all");
        if !rustix::process::geteuid().is_root() {
            let lacks = give(&file, &meta_with_owner(0), 0o777, ALL).unwrap().unwrap();
            assert!(lacks.contains("owner ("), "{lacks}");
        }
    }

    fn meta_with_owner(user: u32) -> Meta {
        meta(&[("posix.owner", &owner_of(user, 0))])
    }
}
