//! The names of all settings, and how a value of each is written in a file.

/// The way in which a value stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In quotes.
    Text,
    /// `true` or `false`.
    Truth,
    /// A whole number.
    Count,
    /// Several, in quotes each.
    List,
}

/// Every setting that a file may have, in the order in which they are shown.
pub(crate) const KEYS: [(&str, Kind); 33] = [
    ("data_dir", Kind::Text),
    ("socket", Kind::Text),
    ("listen", Kind::List),
    ("advertise", Kind::List),
    ("name", Kind::Text),
    ("log", Kind::Text),
    ("passphrase_file", Kind::Text),
    ("create", Kind::Truth),
    ("keep", Kind::Text),
    ("network.bwlimit_up", Kind::Text),
    ("network.bwlimit_down", Kind::Text),
    ("network.background_down", Kind::Text),
    ("network.hours", Kind::List),
    ("network.limit_lan", Kind::Truth),
    ("network.discovery", Kind::Truth),
    ("notify.command", Kind::List),
    ("notify.grace", Kind::Text),
    ("notify.absent", Kind::Text),
    ("quota.soft", Kind::Text),
    ("quota.hard", Kind::Text),
    ("quota.reserve", Kind::Text),
    ("gc.interval", Kind::Text),
    ("gc.grace", Kind::Text),
    ("scrub.share", Kind::Text),
    ("scrub.interval", Kind::Text),
    ("repair.interval", Kind::Text),
    ("repair.grace", Kind::Text),
    ("repair.lapse", Kind::Text),
    ("repair.copies", Kind::Count),
    ("repair.challenge", Kind::Text),
    ("retention.age", Kind::Text),
    ("retention.versions", Kind::Count),
    ("retention.forget_at_once", Kind::Truth),
];

/// True of a setting that a running node takes from its file without a new start.
pub(crate) fn is_taken_anew(key: &str) -> bool {
    ["network.", "notify."].iter().any(|section| key.starts_with(section))
}

/// True of a setting whose value matters after the start of a node.
pub(crate) fn matters_later(key: &str) -> bool {
    key != "create"
}

/// Variables of the environment that set something, beside those that are named like their key.
const OTHERS: [&str; 7] = [
    "STASH_COMPLETE",
    "STASH_CONFIG",
    "STASH_BWLIMIT",
    "STASH_BACKGROUND_DOWN",
    // A node tells these to the program that passes its notices on, which may call stash.
    "STASH_NOTICE",
    "STASH_NOTICE_ABOUT",
    "STASH_NOTICE_TEXT",
];

/// Variables that look like settings, and are none: those with which a typo was made.
pub(crate) fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let variable = |key: &str| format!("STASH_{}", key.replace('.', "_").to_uppercase());
    let known = |name: &String| {
        let named = KEYS.iter().any(|(key, _)| variable(key) == *name);
        (named && !name.starts_with("STASH_NETWORK_BWLIMIT")) || OTHERS.contains(&name.as_str())
    };
    let mut unknown: Vec<_> =
        names.filter(|name| name.starts_with("STASH_") && !known(name)).collect();
    unknown.sort_unstable();
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_with_a_typo_is_found_and_every_documented_one_is_known() {
        let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md");
        let manual = std::fs::read_to_string(manual).expect("docs/operating.md of the repository");
        let is_name = |c: char| c.is_ascii_uppercase() || c == '_';
        let documented = manual.split(|c| !is_name(c)).filter(|word| word.starts_with("STASH_"));
        assert_eq!(unknown_variables(documented.map(str::to_owned)), [""; 0]);
        let typed = ["STASH_LISTN", "STASH_LISTEN", "HOME", "STASH_GC_GRACE"].map(str::to_owned);
        assert_eq!(unknown_variables(typed.into_iter()), ["STASH_LISTN"]);
    }
}
