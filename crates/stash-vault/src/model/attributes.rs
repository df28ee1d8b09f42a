//! The attributes that a put of a path gives a version, and which of them make it another one. Pure.
//!
//! docs/format.md, A.7, has the list. Whatever else is called otherwise belongs to whoever wrote it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use stash_crypto::Meta;
use stash_crypto::record::{FileType, MAX_ATTRIBUTE_NAME, MAX_ATTRIBUTE_VALUE, MAX_ATTRIBUTES};

use crate::model::source::escaped;

/// Says which kinds of attribute the writer looked for: a [`GENERATION`].
const PUT: &str = "stash.put";
/// User and group by number: two u32.
const OWNER: &str = "posix.owner";
/// The access ACL, as Linux stores it.
pub(crate) const ACL: &str = "posix.acl";
/// The ACL that a directory passes on, likewise.
pub(crate) const DEFAULT_ACL: &str = "posix.acl.default";
/// Equal in all names of one file with hard links.
const LINK: &str = "posix.link";
/// The last segments of a path that is not UTF-8, as bytes.
const PATH: &str = "posix.path";
/// Empty: blocks of zeros were holes.
const HOLES: &str = "posix.holes";
/// Begins the names of extended attributes.
const XATTR: &str = "xattr.";

/// The kinds of attribute that this program looks for. Raised with every kind that is added: so that a
/// version of an older program, which did not look for it, is no other one for its lack.
pub(crate) const GENERATION: u8 = 1;

/// The attributes of a file, link or directory that is put by its path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes(BTreeMap<String, Vec<u8>>);

impl Attributes {
    /// Those of every path: its owner, its group, and who looked.
    pub(crate) fn new(user: u32, group: u32) -> Attributes {
        let owner = [user.to_le_bytes(), group.to_le_bytes()].concat();
        Attributes([(PUT.to_owned(), vec![GENERATION]), (OWNER.to_owned(), owner)].into())
    }

    /// The bytes of a name that the key does not give back.
    pub(crate) fn set_path(&mut self, path: &[u8]) {
        self.0.insert(PATH.to_owned(), path.to_vec());
    }

    /// What all names of one file have in common.
    pub(crate) fn set_link(&mut self, id: [u8; 16]) {
        self.0.insert(LINK.to_owned(), id.to_vec());
    }

    /// Blocks of zeros are holes that are too small to be left out.
    pub(crate) fn set_holes(&mut self) {
        self.0.insert(HOLES.to_owned(), Vec::new());
    }

    /// Adds an ACL or an extended attribute by its name in Linux; `false` if it does not fit.
    pub(crate) fn add_extended(&mut self, name: &str, value: &[u8]) -> bool {
        let name = match name {
            "system.posix_acl_access" => ACL.to_owned(),
            "system.posix_acl_default" => DEFAULT_ACL.to_owned(),
            other => format!("{XATTR}{other}"),
        };
        let fits = name.len() <= MAX_ATTRIBUTE_NAME
            && value.len() <= MAX_ATTRIBUTE_VALUE
            && self.0.len() < MAX_ATTRIBUTES;
        if fits {
            self.0.insert(name, value.to_vec());
        }
        fits
    }

    /// As a meta has them.
    pub(crate) fn into_inner(self) -> BTreeMap<String, Vec<u8>> {
        self.0
    }
}

/// True of extended attributes that belong to a file and not to the machine: users' own, those of root's
/// programs, the capabilities of a program, and ACLs.
pub(crate) fn is_kept(name: &str) -> bool {
    let own = ["user.", "trusted."].iter().any(|space| name.starts_with(space));
    let named = ["security.capability", "system.posix_acl_access", "system.posix_acl_default"];
    own || named.contains(&name)
}

/// The mode of a file with this access ACL: in place of the mask, which stands in the bits of the group
/// there, what the group itself may do. Without the ACL, nobody may more than with it.
pub(crate) fn mode_beside_acl(mode: u32, acl: &[u8]) -> u32 {
    const GROUP: u16 = 4;
    const MASK: u16 = 16;
    let entries = acl.get(4..).unwrap_or_default().chunks_exact(8);
    let permissions = |wanted: u16| {
        let mut entries = entries.clone();
        entries
            .find(|entry| entry[..2] == wanted.to_le_bytes())
            .map(|entry| u32::from(entry[2]) & 7)
    };
    match permissions(GROUP) {
        Some(group) => mode & !0o070 | (group & permissions(MASK).unwrap_or(7)) << 3,
        None => mode,
    }
}

/// True if two versions say the same of a path by their attributes. Only those count for which both
/// writers looked: not those of doors, and none that came with a later program.
pub(crate) fn agree(new: &Meta, stored: &Meta) -> bool {
    let generation =
        |meta: &Meta| meta.attributes.get(PUT).and_then(|value| value.first().copied());
    let looked = generation(new).unwrap_or(GENERATION).min(generation(stored).unwrap_or(0));
    let counted = |meta: &Meta| -> Vec<(String, Vec<u8>)> {
        let attributes = meta.attributes.iter().filter(|(name, _)| counts(name, looked));
        attributes.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    counted(new) == counted(stored)
}

/// True of a kind of attribute that a writer of this generation looked for.
fn counts(name: &str, generation: u8) -> bool {
    let first = [OWNER, ACL, DEFAULT_ACL, LINK, PATH, HOLES];
    generation >= 1 && (first.contains(&name) || name.starts_with(XATTR))
}

/// User and group, by number. The number of nobody is none.
pub(crate) fn owner(meta: &Meta) -> Option<(u32, u32)> {
    let ([user, group], []) = meta.attributes.get(OWNER)?.as_chunks::<4>() else { return None };
    let owner = (u32::from_le_bytes(*user), u32::from_le_bytes(*group));
    (owner.0 != u32::MAX && owner.1 != u32::MAX).then_some(owner)
}

/// The ACLs that a path may have, by their names in Linux, and what is stored of each. Only directories
/// pass one on.
pub(crate) fn acls(meta: &Meta) -> impl Iterator<Item = (&'static str, Option<&[u8]>)> {
    let own = [("system.posix_acl_access", ACL), ("system.posix_acl_default", DEFAULT_ACL)];
    let count = if meta.file_type == FileType::Directory { 2 } else { 1 };
    let stored = |name: &str| meta.attributes.get(name).map(Vec::as_slice);
    own.into_iter().take(count).map(move |(name, attribute)| (name, stored(attribute)))
}

/// True if the writer looked for ACLs: one that is not stored was not there.
pub(crate) fn says_all_acls(meta: &Meta) -> bool {
    meta.attributes.contains_key(PUT)
}

/// Extended attributes by their names in Linux: those that a put keeps, whatever else is stored.
pub(crate) fn extended(meta: &Meta) -> impl Iterator<Item = (&str, &[u8])> {
    let named = meta
        .attributes
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(XATTR)?, value.as_slice())));
    named.filter(|(name, _)| is_kept(name) && !name.starts_with("system."))
}

/// What all names of one file with hard links have in common; `None` of a file with one name.
pub(crate) fn link_id(meta: &Meta) -> Option<&[u8]> {
    meta.attributes.get(LINK).map(Vec::as_slice)
}

/// True of a file whose blocks of zeros come back as holes.
pub(crate) fn has_holes(meta: &Meta) -> bool {
    meta.runs.is_some() || meta.attributes.contains_key(HOLES)
}

/// The segments of a path below a prefix, in the bytes that they had. `relative` is the end of the key.
/// What the attribute says counts only where it means this key: it leads nowhere else.
pub(crate) fn path_below(meta: &Meta, relative: &str) -> Vec<OsString> {
    let mut path: Vec<OsString> = relative.split('/').map(OsString::from).collect();
    let raw = meta.attributes.get(PATH).map(Vec::as_slice).unwrap_or_default();
    let raw: Vec<&[u8]> = raw.split(|byte| *byte == b'/').collect();
    let key: Vec<&str> = meta.key.as_str().split('/').collect();
    let pairs = || key.iter().rev().zip(raw.iter().rev());
    if raw.len() <= key.len() && pairs().all(|(segment, raw)| escaped(raw) == *segment) {
        for (segment, raw) in path.iter_mut().rev().zip(raw.iter().rev()) {
            *segment = OsString::from_vec(raw.to_vec());
        }
    }
    debug_assert!(path.iter().all(|segment| !segment.as_bytes().contains(&b'/')));
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use stash_crypto::Key;

    fn meta(key: &str, attributes: &[(&str, &[u8])]) -> Meta {
        let mut meta = Meta::new(Key::new(key).unwrap(), 0);
        let own = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        meta.attributes = own.collect();
        meta
    }

    /// Issue 16: an upgrade rewrites no tree, and neither do two programs of different age in turns.
    #[test]
    fn only_attributes_for_which_both_writers_looked_make_a_version_another_one() {
        let now =
            |more: &[(&str, &[u8])]| meta("k", &[&[(PUT, &[1][..]), (OWNER, b"o")], more].concat());
        let before = meta("k", &[]);
        assert!(agree(&now(&[("xattr.user.a", b"1")]), &before), "it did not look");
        assert!(!agree(&now(&[("xattr.user.a", b"1")]), &now(&[])));
        assert!(!agree(&now(&[]), &now(&[(ACL, b"1")])), "an ACL that is gone");
        let door = [("content-type", &b"text/plain"[..]), ("md5", b"x")];
        assert!(agree(&now(&[]), &now(&door)) && agree(&now(&door), &now(&[])));
        let later = meta("k", &[(PUT, &[9]), (OWNER, b"o"), ("posix.birth", b"1")]);
        assert!(agree(&now(&[]), &later));
        let other = meta("k", &[(PUT, &[9]), (OWNER, b"p")]);
        assert!(!agree(&now(&[]), &other), "what both know counts");
    }

    /// F10: the bits of the group in a mode are the mask of the ACL.
    #[test]
    fn a_group_gains_nothing_when_an_acl_is_left_out() {
        let entry = |tag: u16, bits: u16| [tag.to_le_bytes(), bits.to_le_bytes()].concat();
        let acl = |entries: &[(u16, u16)]| {
            let mut acl = vec![2, 0, 0, 0];
            for (tag, bits) in entries {
                acl.extend([entry(*tag, *bits), vec![0xff; 4]].concat());
            }
            acl
        };
        let with_mask = acl(&[(1, 6), (2, 7), (4, 4), (16, 7), (32, 0)]);
        assert_eq!(mode_beside_acl(0o670, &with_mask), 0o640);
        let narrow = acl(&[(1, 6), (4, 7), (16, 1), (32, 4)]);
        assert_eq!(mode_beside_acl(0o4614, &narrow), 0o4614);
        assert_eq!(mode_beside_acl(0o640, &[]), 0o640);
        assert_eq!(mode_beside_acl(0o640, &with_mask[..9]), 0o640);
    }

    #[test]
    fn what_does_not_fit_is_said_and_left_out() {
        let mut attributes = Attributes::new(0, 0);
        assert!(attributes.add_extended("user.a", &[1; 1024]));
        assert!(!attributes.add_extended("user.b", &[1; 1025]));
        assert!(!attributes.add_extended(&format!("user.{}", "x".repeat(250)), b""));
        for at in 0..29 {
            assert!(attributes.add_extended(&format!("user.{at:02}"), b""), "{at}");
        }
        assert!(!attributes.add_extended("user.c", b""));
        assert_eq!(attributes.into_inner().len(), 32);
        assert!(is_kept("user.x") && is_kept("trusted.x") && is_kept("security.capability"));
        assert!(!is_kept("security.selinux") && !is_kept("system.nfs4_acl"));
    }

    #[test]
    fn a_path_comes_back_in_its_bytes_and_leads_nowhere_else() {
        let path = |meta: &Meta, relative: &str| -> Vec<Vec<u8>> {
            path_below(meta, relative).into_iter().map(OsString::into_vec).collect()
        };
        let odd = meta("t/caf\\xE9/x", &[(PATH, b"caf\xe9/x")]);
        assert_eq!(path(&odd, "t/caf\\xE9/x"), [&b"t"[..], b"caf\xe9", b"x"]);
        assert_eq!(path(&odd, "caf\\xE9/x"), [&b"caf\xe9"[..], b"x"]);
        assert_eq!(path(&odd, "x"), [b"x"]);
        // Moved below another directory it is still right; what is made up is not believed.
        let moved = meta("u/v/caf\\xE9/x", &[(PATH, b"caf\xe9/x")]);
        assert_eq!(path(&moved, "caf\\xE9/x"), [&b"caf\xe9"[..], b"x"]);
        for bad in [&b".."[..], b"../../x", b"caf\xe9/../x", b"caf\xe9/y", b"a\0", b"", b"/x"] {
            let bad = meta("t/caf\\xE9/x", &[(PATH, bad)]);
            let plain = [&b"t"[..], b"caf\\xE9", b"x"];
            assert_eq!(path(&bad, "t/caf\\xE9/x"), plain, "{bad:?}");
        }
    }
}
