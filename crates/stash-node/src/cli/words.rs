//! Arguments that are one of a few words.

use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// Numbers of members that must have a thing stored before the command returns, each with its help.
pub(super) const WAITS: &[[&str; 2]] = &[
    ["local", "This node"],
    ["one", "One other member"],
    ["quorum", "Half of the members, and one"],
    ["all", "Every member"],
];

/// The roles of a member, each with its help.
pub(super) const ROLES: &[[&str; 2]] = &[
    ["owner", "Reads and writes"],
    ["reader", "Reads"],
    ["keeper", "Stores, and can read neither names nor contents"],
];

/// A parser of these words, shown with their help, as the type that they stand for.
pub(super) fn words<T>(words: &[[&'static str; 2]]) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: std::error::Error + Send + Sync> + Clone + Send + Sync + 'static,
{
    let words = words.iter().map(|[word, help]| PossibleValue::new(*word).help(*help));
    PossibleValuesParser::new(words).try_map(|word| word.parse::<T>())
}
