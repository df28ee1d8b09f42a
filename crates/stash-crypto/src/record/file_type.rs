//! What a version is: a file, a symbolic link, or a directory.

/// Longest target of a symbolic link in bytes: `PATH_MAX` of Linux without its NUL.
pub const LINK_MAX: usize = 4095;

/// What a version is. Types beside the regular file have a flag of the meta each, so that a program
/// which does not know them sets the record aside, and takes no link for a file with a path in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FileType {
    /// A file with content.
    #[default]
    Regular,
    /// A symbolic link. Its target stands inline: 1 to [`LINK_MAX`] bytes without a NUL, not always
    /// UTF-8. Whoever reads it MUST NOT follow it.
    Link,
    /// A directory. It has no content; what lies in it has records of its own, under longer keys.
    Directory,
}

impl FileType {
    /// True if a version of this type can have this content.
    pub(crate) fn admits(self, inline: Option<&[u8]>, with_holes: bool) -> bool {
        match (self, inline) {
            (FileType::Regular, None) => true,
            (FileType::Regular, Some(_)) => !with_holes,
            (FileType::Link, Some(target)) => {
                !with_holes && (1..=LINK_MAX).contains(&target.len()) && !target.contains(&0)
            }
            (FileType::Directory, Some(content)) => !with_holes && content.is_empty(),
            (FileType::Link | FileType::Directory, None) => false,
        }
    }
}
