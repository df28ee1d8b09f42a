//! A part of the namespace: everything, or one name and what lies under it.

use stash_crypto::Key;

/// Everything, or a name with all that lies under it. `photos` covers `photos` and `photos/a`,
/// never `photos-old`; `photos/` covers only what lies under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every name.
    All,
    /// The name itself, if any, and every name that begins with `under`.
    Tree {
        /// The exact name that belongs to the scope.
        exact: Option<Key>,
        /// Begins every other name; ends with `/`.
        under: String,
    },
}

impl Scope {
    /// The scope of a command that only looks or reads: an empty prefix is every name.
    pub(crate) fn or_all(prefix: &str) -> Result<Scope, stash_crypto::record::KeyError> {
        if prefix.is_empty() { Ok(Scope::All) } else { Scope::named(prefix) }
    }

    /// The scope of a command that changes what it names. An empty name is an error: it is most
    /// likely a variable that a script did not set, and never stands for everything.
    pub(crate) fn named(prefix: &str) -> Result<Scope, stash_crypto::record::KeyError> {
        let name = prefix.strip_suffix('/').unwrap_or(prefix);
        let key = Key::new(name)?;
        let under = format!("{name}/");
        Ok(Scope::Tree { exact: (name.len() == prefix.len()).then_some(key), under })
    }

    /// What lies under a name, without the name itself.
    pub(crate) fn below(key: &Key) -> Scope {
        Scope::Tree { exact: None, under: format!("{key}/") }
    }

    /// The name itself, if it belongs to the scope.
    pub(crate) fn exact(&self) -> Option<&Key> {
        match self {
            Scope::All => None,
            Scope::Tree { exact, .. } => exact.as_ref(),
        }
    }

    /// The prefix of every other name of the scope.
    pub(crate) fn under(&self) -> &str {
        match self {
            Scope::All => "",
            Scope::Tree { under, .. } => under,
        }
    }

    /// The last segment of the scope's name: what a tree is called when it is written out.
    pub(crate) fn base_name(&self) -> Option<&str> {
        self.under().strip_suffix('/').map(base_name)
    }

    /// The path of `key` below the scope's name; for the name itself, its last segment.
    pub(crate) fn relative<'a>(&self, key: &'a Key) -> &'a str {
        let key = key.as_str();
        key.strip_prefix(self.under()).unwrap_or_else(|| base_name(key))
    }
}

/// The last segment of a name.
pub(crate) fn base_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault case 116: a prefix is a path, so that `rm -r photos` spares `photos-old`.
    #[test]
    fn a_prefix_is_a_path_and_not_a_beginning_of_letters() {
        let scope = Scope::named("photos").unwrap();
        assert_eq!(scope.exact().unwrap().as_str(), "photos");
        assert_eq!(scope.under(), "photos/");
        assert_eq!(Scope::named("a/b/").unwrap().exact(), None);
        assert_eq!(Scope::or_all("").unwrap(), Scope::All);
        assert_eq!(Scope::or_all("photos").unwrap(), scope);
    }

    #[test]
    fn names_are_written_out_below_the_last_segment_of_the_prefix() {
        let scope = Scope::named("a/photos").unwrap();
        assert_eq!(scope.base_name(), Some("photos"));
        assert_eq!(scope.relative(&Key::new("a/photos/2024/x").unwrap()), "2024/x");
        assert_eq!(scope.relative(&Key::new("a/photos").unwrap()), "photos");
        assert_eq!(Scope::All.relative(&Key::new("a/b").unwrap()), "a/b");
    }

    /// Fault case 83.
    #[test]
    fn a_prefix_that_no_key_can_have_is_refused() {
        for prefix in ["", "/", "../x", "/etc", "a//b", "a/./b", "a/..", "a\0b", "//"] {
            assert!(Scope::named(prefix).is_err(), "{prefix:?}");
        }
    }
}
