//! Paths that mean another file to each process: `/dev/stdin`, `/dev/fd/3`, `/proc/self/fd/3`.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Links that are followed in one path; path_resolution(7) has the same number.
const LINKS: usize = 40;

/// True of a path that leads through a link of procfs. What such a link points to depends on who
/// follows it, or is an open file of some process: a path of this kind, passed to another process,
/// names a file that nobody meant. Blocking.
#[must_use]
pub fn is_per_process(path: &Path) -> bool {
    let Ok(path) = std::path::absolute(path) else { return false };
    let (mut at, mut rest) = (PathBuf::from("/"), parts(&path));
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let here = at.join(&part);
        match fs::read_link(&here) {
            Ok(_) if is_procfs(&at) => return true,
            // No open follows so many either.
            Ok(_) if links == LINKS => return false,
            Ok(target) => {
                links += 1;
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                rest.extend(parts(&target));
            }
            // Not a link, or not there.
            Err(_) => at = here,
        }
    }
    false
}

/// The components of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

fn is_procfs(directory: &Path) -> bool {
    rustix::fs::statfs(directory).is_ok_and(|found| found.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn descriptors_are_recognised_by_every_path_that_leads_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        symlink("/dev/stdin", at("in")).unwrap();
        symlink("/proc/self", at("self")).unwrap();
        symlink("in", at("again")).unwrap();
        for path in ["/dev/stdin", "/dev/stdout", "/dev/fd/63", "/proc/self/fd/0", "/proc/1/fd/3"] {
            // Of another user's process not even the links can be read; an open fails as well.
            let hidden = path.starts_with("/proc/1/") && fs::read_link(path).is_err();
            assert!(is_per_process(Path::new(path)) || hidden, "{path}");
        }
        assert!(is_per_process(&at("in")) && is_per_process(&at("again")));
        assert!(is_per_process(&at("self/cwd/f")));
        assert!(is_per_process(&at("none/../in")));
    }

    #[test]
    fn files_and_their_links_are_what_they_are_to_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("f"), "f").unwrap();
        symlink("f", at("link")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for path in [at("f"), at("link"), at("none"), at("loop"), "/proc/version".into()] {
            assert!(!is_per_process(&path), "{}", path.display());
        }
        assert!(!is_per_process(Path::new("/dev/null")));
    }
}
