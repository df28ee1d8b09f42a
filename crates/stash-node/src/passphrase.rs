//! The passphrase of the keys: from a file or the terminal, never from an argument.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{Class, Problem};

/// Bytes of a passphrase file.
const FILE_MAX: usize = 4096;

/// Where the passphrase comes from.
pub(crate) enum Source<'a> {
    /// The whole of this file, less one newline at its end.
    File(&'a Path),
    /// The terminal of the process.
    Terminal,
}

impl<'a> Source<'a> {
    /// The file if one is set, else the terminal.
    pub(crate) fn new(file: Option<&'a Path>) -> Self {
        file.map_or(Self::Terminal, Source::File)
    }

    /// Asks for the passphrase that opens the keys.
    pub(crate) fn existing(&self) -> Result<Zeroizing<String>, Problem> {
        match self {
            Self::File(path) => read(path),
            Self::Terminal => ask("Passphrase: "),
        }
    }

    /// Asks for a new passphrase, on the terminal twice.
    pub(crate) fn chosen(&self) -> Result<Zeroizing<String>, Problem> {
        let passphrase = self.existing()?;
        if passphrase.is_empty() {
            return Err(Problem::new(Class::Passphrase, "the passphrase is empty"));
        }
        if matches!(self, Self::Terminal) && *ask("Once more: ")? != *passphrase {
            return Err(Problem::new(Class::Passphrase, "the two passphrases differ"));
        }
        Ok(passphrase)
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, Problem> {
    let cannot = |why: &str| {
        let message = format!("cannot read the passphrase from {}: {why}", path.display());
        Problem::new(Class::Passphrase, message)
    };
    // Reserved whole, so that no part of it stays behind in a buffer that grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_MAX + 1));
    let file = File::open(path).map_err(|e| cannot(&e.to_string()))?;
    let found = file.metadata().map_err(|e| cannot(&e.to_string()))?;
    if stash_vault::home::is_exposed(path, &found) {
        let message = format!("the passphrase file {} can be read by other users", path.display());
        return Err(Problem::new(Class::Refused, message)
            .hint(format!("if nobody did read it: chmod 600 {}", path.display())));
    }
    file.take(FILE_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|e| cannot(&e.to_string()))?;
    if bytes.len() > FILE_MAX {
        return Err(cannot("the file is too long"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| cannot("it is not UTF-8"))?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    Ok(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Problem> {
    let hint = "name a file with it in STASH_PASSPHRASE_FILE";
    if !std::io::stdin().is_terminal() {
        let message = "the keys need a passphrase, and there is no terminal to ask on";
        return Err(Problem::new(Class::Passphrase, message).hint(hint));
    }
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|e| {
        let message = format!("cannot ask for the passphrase: {e}");
        Problem::new(Class::Passphrase, message).hint(hint)
    })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    /// A passphrase file in a directory of its own, for its owner alone.
    fn private(dir: &Path, content: &[u8]) -> PathBuf {
        let path = dir.join("passphrase");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn from(content: &[u8]) -> Result<Zeroizing<String>, Problem> {
        let dir = tempfile::tempdir().unwrap();
        let path = private(dir.path(), content);
        Source::new(Some(&path)).existing()
    }

    #[test]
    fn one_line_end_does_not_belong_to_the_passphrase() {
        assert_eq!(*from(b"a b \n").unwrap(), "a b ");
        assert_eq!(*from(b"a\n\n").unwrap(), "a\n");
        assert_eq!(*from(b"a\r\n").unwrap(), "a");
        assert_eq!(*from(b"a").unwrap(), "a");
    }

    #[test]
    fn a_file_that_will_not_do_has_the_passphrase_code() {
        for content in [&b"\xff"[..], &[b'a'; 5000]] {
            assert_eq!(from(content).unwrap_err().code, Class::Passphrase);
        }
        let missing = Source::new(Some(Path::new("/nonexistent/p"))).existing();
        assert_eq!(missing.unwrap_err().code, Class::Passphrase);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        std::fs::write(&path, "secret\n").unwrap();
        // Or else the directory keeps others away.
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        for (mode, refused) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let read = Source::new(Some(&path)).existing();
            assert_eq!(read.is_err(), refused, "{mode:o}");
            if let Err(problem) = read {
                assert_eq!(problem.code, Class::Refused);
                assert!(problem.hint.unwrap().contains("chmod 600"));
            }
        }
    }

    #[test]
    fn an_empty_passphrase_cannot_be_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let path = private(dir.path(), b"\n");
        let problem = Source::new(Some(&path)).chosen().unwrap_err();
        assert_eq!(problem.code, Class::Passphrase);
    }
}
