//! Finding a setting in its sources: the first that has one wins.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Serialize;

use super::file::File;
use crate::error::Problem;
use crate::paths::Environment;
use crate::units::Place;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The command line.
    Flag,
    /// This variable.
    Environment(&'static str),
    /// This file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Setting<T> {
    /// The value.
    pub(crate) value: T,
    /// Its source.
    pub(crate) origin: Origin,
}

/// Finds one setting after the other in the sources below the flags.
pub(super) struct Lookup<'a> {
    pub(super) env: Environment<'a>,
    pub(super) files: &'a [(PathBuf, File)],
}

impl Lookup<'_> {
    /// The first source that has a value.
    pub(super) fn find<T>(
        &self,
        variable: &'static str,
        flag: Option<T>,
        parse: impl Fn(&str) -> Result<T, String>,
        file: impl Fn(&File) -> Option<T>,
    ) -> Result<Option<Setting<T>>, Problem> {
        if let Some(value) = flag {
            return Ok(Some(Setting { value, origin: Origin::Flag }));
        }
        if let Some(raw) = (self.env)(variable).filter(|raw| !raw.is_empty()) {
            let value = raw
                .to_str()
                .ok_or_else(|| "not UTF-8".to_owned())
                .and_then(parse)
                .map_err(|why| Problem::usage(format!("environment {variable}: {why}")))?;
            return Ok(Some(Setting { value, origin: Origin::Environment(variable) }));
        }
        Ok(self.files.iter().find_map(|(path, content)| {
            let origin = Origin::File(path.clone());
            file(content).map(|value| Setting { value, origin })
        }))
    }

    /// The same of a value that is written as its type says.
    pub(super) fn read<T: FromStr<Err = String>>(
        &self,
        variable: &'static str,
        flag: Option<T>,
        file: impl Fn(&File) -> Option<T>,
    ) -> Result<Option<Setting<T>>, Problem> {
        self.find(variable, flag, str::parse, file)
    }
}

pub(super) fn or_default<T>(
    found: Option<Setting<T>>,
    default: impl FnOnce() -> Result<T, Problem>,
) -> Result<Setting<T>, Problem> {
    found.map_or_else(|| Ok(Setting { value: default()?, origin: Origin::Default }), Ok)
}

/// The setting that was found, or else this value.
pub(super) fn or<T>(found: Option<Setting<T>>, value: T) -> Setting<T> {
    found.unwrap_or(Setting { value, origin: Origin::Default })
}

pub(super) fn optional<T>(found: Option<Setting<T>>) -> Setting<Option<T>> {
    or(found.map(|Setting { value, origin }| Setting { value: Some(value), origin }), None)
}

/// Relative paths mean: below the file that says so, or below the working directory.
pub(super) fn absolute(setting: Setting<PathBuf>) -> Result<Setting<PathBuf>, Problem> {
    let Setting { value, origin } = setting;
    let value = match &origin {
        Origin::File(file) => file.parent().map_or(value.clone(), |dir| dir.join(&value)),
        _ => value,
    };
    let value = std::path::absolute(&value)
        .map_err(|e| Problem::usage(format!("{} ({origin}): {e}", value.display())))?;
    Ok(Setting { value, origin })
}

pub(super) fn many(flags: &[Place]) -> Option<Vec<Place>> {
    (!flags.is_empty()).then(|| flags.to_vec())
}

pub(super) fn text(value: &str) -> Result<String, String> {
    Ok(value.to_owned())
}

pub(super) fn addresses(value: &str) -> Result<Vec<Place>, String> {
    value.split(',').map(|one| one.trim().parse()).collect()
}

pub(super) fn count(value: &str) -> Result<u32, String> {
    value.parse().map_err(|_| format!("{value:?} is no count"))
}

pub(super) fn boolean(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("{value:?} is neither true nor false"))
}
