//! Input of a user, refused with the same words by a command and by the daemon.

use std::path::Path;

use stash_vault::Key;

use crate::error::Problem;

/// Refuses a path that is another file to the node than to its client.
pub(crate) fn same_to_all(path: &Path) -> Result<(), Problem> {
    if !stash_vault::is_per_process(path) {
        return Ok(());
    }
    Err(Problem::usage(format!("{} is another file to each process", path.display()))
        .hint("use -: stash put - --as KEY for stdin, stash get KEY -o - for stdout"))
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@%,:".contains(c);
    match word.chars().all(is_plain) && !word.is_empty() {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A key that the user typed.
pub(crate) fn key(text: &str) -> Result<Key, Problem> {
    Key::new(text).map_err(|e| {
        // A key of a megabyte is not repeated.
        let shown: String = text.chars().take(80).collect();
        Problem::usage(format!("'{shown}' is no key: {e}"))
            .hint("a key is a relative path such as photos/2024/a.jpg")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Class;

    #[test]
    fn a_word_is_quoted_where_a_shell_would_take_it_apart() {
        assert_eq!(quoted("/mnt/Fotos-2024/ü.jpg"), "/mnt/Fotos-2024/ü.jpg");
        assert_eq!(
            ["", "a b", "$HOME", "it's"].map(quoted),
            ["''", "'a b'", "'$HOME'", r"'it'\''s'"]
        );
    }

    // Fault case 83.
    #[test]
    fn what_can_be_no_key_is_a_usage_error_that_does_not_repeat_all_of_it() {
        for text in ["", "/etc/passwd", "../x", "a//b", "a\0b", &"x".repeat(1025)] {
            let problem = key(text).unwrap_err();
            assert_eq!(problem.code, Class::Usage);
            assert!(problem.message.len() < 300);
        }
        assert!(key(&"x".repeat(1024)).is_ok());
    }
}
