//! Programs of the system that a task needs, and how to get them.

use std::path::PathBuf;
use std::process::Command;

/// A command of a program, found as [`find`] does.
pub(crate) fn command(program: &str) -> Command {
    Command::new(find(program).unwrap_or_else(|| program.into()))
}

/// The program in `PATH`, or where programs of root are even if `PATH` does not say so.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|place| place.join(program)).find(|path| path.is_file())
}

/// Says that a program is missing, and which Debian package has it.
pub(crate) fn absent(program: &str, package: &str) -> Option<String> {
    find(program)
        .is_none()
        .then(|| format!("{program} is not installed (apt-get install {package})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_named_with_its_package() {
        let why = absent("no-such-program", "some-package").unwrap();
        assert!(why.contains("no-such-program") && why.contains("some-package"), "{why}");
        assert_eq!(absent("sh", "dash"), None);
    }
}
