//! Where things lie: the XDG base directories, and the limit on a socket's path.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::Problem;

/// Reads one variable of the environment; an argument so that tests need no process state.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The configuration of the machine.
pub(crate) const SYSTEM_FILE: &str = "/etc/stash/config.toml";

/// Bytes that fit into `sun_path` of a Unix socket address, its closing NUL aside (unix(7)).
pub(crate) const SOCKET_PATH_MAX: usize = 107;

/// The name of the socket in its directory.
const SOCKET_NAME: &str = "stash.sock";

/// `$XDG_DATA_HOME/stash`.
pub(crate) fn data_dir(env: Environment<'_>) -> Result<PathBuf, Problem> {
    base(env, "XDG_DATA_HOME", ".local/share").map(|base| base.join("stash")).ok_or_else(|| {
        Problem::usage("no data directory: neither XDG_DATA_HOME nor HOME is an absolute path")
            .hint("name one with --data-dir DIR")
    })
}

/// `$XDG_CONFIG_HOME/stash/config.toml`, if there is a home at all.
pub(crate) fn user_file(env: Environment<'_>) -> Option<PathBuf> {
    base(env, "XDG_CONFIG_HOME", ".config").map(|base| base.join("stash/config.toml"))
}

/// `$XDG_STATE_HOME/stash/data-directories`, if there is a home at all: which data directories hold a
/// stash.
pub(crate) fn known_file(env: Environment<'_>) -> Option<PathBuf> {
    base(env, "XDG_STATE_HOME", ".local/state").map(|base| base.join("stash/data-directories"))
}

/// The socket of the daemon that serves `data_dir`. The user's own stash is reached at
/// `$XDG_RUNTIME_DIR/stash/stash.sock`; a directory that was named (`named`), and any directory on
/// a system without a runtime directory, has its socket inside, so that several can be served.
pub(crate) fn socket(env: Environment<'_>, data_dir: &Path, named: bool) -> PathBuf {
    let runtime = absolute(env("XDG_RUNTIME_DIR")).filter(|_| !named);
    runtime.map_or_else(|| data_dir.to_owned(), |dir| dir.join("stash")).join(SOCKET_NAME)
}

/// Refuses a path that does not fit into a socket address.
pub(crate) fn check_socket(path: &Path) -> Result<(), Problem> {
    let length = path.as_os_str().as_bytes().len();
    if length <= SOCKET_PATH_MAX {
        return Ok(());
    }
    Err(Problem::usage(format!(
        "the socket path {} has {length} bytes, and the system allows {SOCKET_PATH_MAX}",
        path.display()
    ))
    .hint("name a shorter one with --socket PATH or STASH_SOCKET"))
}

/// An XDG base directory; relative values are invalid by the specification and ignored.
fn base(env: Environment<'_>, variable: &str, below_home: &str) -> Option<PathBuf> {
    absolute(env(variable)).or_else(|| Some(absolute(env("HOME"))?.join(below_home)))
}

fn absolute(value: Option<OsString>) -> Option<PathBuf> {
    value.map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v))
    }

    #[test]
    fn xdg_directories_win_over_home_and_relative_ones_are_ignored() {
        let home = env(&[("HOME", "/h")]);
        assert_eq!(data_dir(&home).unwrap(), Path::new("/h/.local/share/stash"));
        assert_eq!(user_file(&home).unwrap(), Path::new("/h/.config/stash/config.toml"));
        let xdg = env(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d"), ("XDG_CONFIG_HOME", "c")]);
        assert_eq!(data_dir(&xdg).unwrap(), Path::new("/d/stash"));
        assert_eq!(user_file(&xdg).unwrap(), Path::new("/h/.config/stash/config.toml"));
    }

    #[test]
    fn without_a_home_the_hint_names_the_flag() {
        let problem = data_dir(&env(&[])).unwrap_err();
        assert!(problem.hint.unwrap().contains("--data-dir"));
        assert_eq!(user_file(&env(&[])), None);
    }

    #[test]
    fn the_socket_lies_in_the_runtime_directory_unless_the_data_directory_was_named() {
        let with = env(&[("XDG_RUNTIME_DIR", "/run/user/1")]);
        let dir = Path::new("/d");
        assert_eq!(socket(&with, dir, false), Path::new("/run/user/1/stash/stash.sock"));
        assert_eq!(socket(&with, dir, true), Path::new("/d/stash.sock"));
        assert_eq!(socket(&env(&[]), dir, false), Path::new("/d/stash.sock"));
    }

    #[test]
    fn a_socket_path_of_107_bytes_fits_and_one_of_108_is_refused_with_its_length() {
        let fits = PathBuf::from(format!("/{}", "a".repeat(106)));
        assert_eq!(check_socket(&fits), Ok(()));
        let long = PathBuf::from(format!("/{}", "a".repeat(107)));
        let problem = check_socket(&long).unwrap_err();
        assert!(problem.message.contains("has 108 bytes"), "{}", problem.message);
        assert!(problem.hint.unwrap().contains("--socket"));
    }
}
