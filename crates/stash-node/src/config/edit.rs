//! Changes of a configuration file that leave everything else in it as it is.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use toml_edit::{Array, DocumentMut, Item, Table, Value};

use super::file::{FILE_MAX, parse};
use super::keys::{KEYS, Kind};
use crate::error::{Class, Problem, io_class};

/// A change of one setting that was written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    /// The value that stood there before, as it stood there.
    pub(crate) was: Option<String>,
    /// The value that stands there now; `None` if it was taken out.
    pub(crate) now: Option<String>,
}

/// The text of a file with one setting changed, and the change: `value` as people write it, or `None` to take the
/// setting out. Pure.
fn edited(
    path: &Path,
    text: &str,
    key: &str,
    value: Option<&str>,
) -> Result<(String, Edit), Problem> {
    let (_, kind) = KEYS.iter().find(|(known, _)| *known == key).ok_or_else(|| unknown(key))?;
    // With line and key in the message, which the editor's own parser does not give.
    parse(path, text)?;
    let mut document: DocumentMut =
        text.parse().map_err(|error| Problem::usage(format!("{}: {error}", path.display())))?;
    let (section, name) = match key.split_once('.') {
        Some((section, name)) => (Some(section), name),
        None => (None, key),
    };
    let table = match section {
        None => document.as_table_mut(),
        Some(section) => document
            .entry(section)
            .or_insert_with(|| Item::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| {
                let message =
                    format!("{}: [{section}] is not written as a section", path.display());
                Problem::usage(message).hint("change it in an editor")
            })?,
    };
    let shown = |table: &Table| table.get(name).and_then(Item::as_value).map(bare);
    let was = shown(table);
    let Some(value) = value else {
        table.remove(name);
        return Ok((document.to_string(), Edit { was, now: None }));
    };
    let mut value = written(key, *kind, value)?;
    match table.get_mut(name).and_then(Item::as_value_mut) {
        Some(old) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        None => {
            table.insert(name, Item::Value(value));
        }
    }
    let now = shown(table);
    let text = document.to_string();
    parse(path, &text).map_err(|problem| Problem { hint: None, ..problem })?;
    Ok((text, Edit { was, now }))
}

/// A value without the spaces and the comment around it.
fn bare(value: &Value) -> String {
    value.clone().decorated("", "").to_string()
}

fn unknown(key: &str) -> Problem {
    let near = KEYS.iter().filter(|(known, _)| known.rsplit('.').next() == key.rsplit('.').next());
    let near: Vec<&str> = near.map(|(known, _)| *known).collect();
    let hint = match near[..] {
        [] => "`stash config show` lists every setting".to_owned(),
        _ => format!("is one of these meant: {}?", near.join(", ")),
    };
    Problem::usage(format!("{key:?} is no setting")).hint(hint)
}

fn written(key: &str, kind: Kind, text: &str) -> Result<Value, Problem> {
    let wrong = |what: &str| Problem::usage(format!("{key} is {what}, and not {text:?}"));
    match kind {
        Kind::Text => Ok(text.into()),
        Kind::Truth => text.parse::<bool>().map(Value::from).map_err(|_| wrong("true or false")),
        Kind::Count => text.parse::<i64>().map(Value::from).map_err(|_| wrong("a number")),
        Kind::List => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(Value::Array(parts.collect::<Array>()))
        }
    }
}

/// Changes one setting of a file, which is replaced as a whole or not at all. `accept` is shown the file that
/// would come: if it refuses that, nothing is changed.
pub(crate) fn edit(
    path: &Path,
    key: &str,
    value: Option<&str>,
    accept: impl FnOnce(&Path) -> Result<(), Problem>,
) -> Result<Edit, Problem> {
    let cannot = |error: io::Error| {
        Problem::new(io_class(&error), format!("cannot change {}: {error}", path.display()))
    };
    // A link stays one: many keep their files elsewhere.
    let place = match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        place => place.map_err(cannot)?,
    };
    let text = match fs::read(&place) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        bytes => String::from_utf8(bytes.map_err(cannot)?)
            .map_err(|_| Problem::new(Class::Usage, format!("{} is not UTF-8", path.display())))?,
    };
    if text.len() as u64 > FILE_MAX {
        return Err(Problem::usage(format!("{} has more than {FILE_MAX} bytes", path.display())));
    }
    let (text, edit) = edited(path, &text, key, value)?;
    let mode = fs::metadata(&place).map_or(0o600, |metadata| metadata.permissions().mode() & 0o777);
    let draft = draft(&place);
    let done =
        write(&draft, &text, mode).map_err(cannot).and_then(|()| accept(&draft)).and_then(|()| {
            fs::rename(&draft, &place).map_err(cannot)?;
            let directory = place.parent().unwrap_or(Path::new("/"));
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(cannot)
        });
    if done.is_err() {
        // It may never have been there.
        let _absent = fs::remove_file(&draft);
    }
    done.map(|()| edit)
}

/// The file that is written first, in the same directory.
fn draft(place: &Path) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    PathBuf::from(name)
}

fn write(draft: &Path, text: &str, mode: u32) -> io::Result<()> {
    if let Some(directory) = draft.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TEMPLATE;

    fn change(text: &str, key: &str, value: Option<&str>) -> Result<(String, Edit), Problem> {
        edited(Path::new("/c.toml"), text, key, value)
    }

    #[test]
    fn a_change_keeps_comments_and_order() {
        let text = "# mine\nname = \"a\" # short\n\n[quota]\n# of the NAS\nhard = \"1 GiB\"\n";
        let (text, edit) = change(text, "name", Some("b")).unwrap();
        assert_eq!(edit, Edit { was: Some("\"a\"".into()), now: Some("\"b\"".into()) });
        let (text, _) = change(&text, "quota.soft", Some("512 MiB")).unwrap();
        let (text, _) = change(&text, "network.bwlimit_up", Some("2 MiB")).unwrap();
        let (text, edit) = change(&text, "quota.hard", None).unwrap();
        assert_eq!((edit.was.as_deref(), edit.now), (Some("\"1 GiB\""), None));
        let expected = "# mine\nname = \"b\" # short\n\n[quota]\nsoft = \"512 MiB\"\n\n[network]\n\
                        bwlimit_up = \"2 MiB\"\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn every_setting_can_be_written_into_the_file_of_the_first_run() {
        for (key, kind) in KEYS {
            let value = match (key, kind) {
                ("network.hours", _) => "up 1 MiB/s 08:00-22:00",
                (_, Kind::List) => "127.0.0.1:1, [::1]:2",
                (_, Kind::Truth) => "true",
                (_, Kind::Count) => "3",
                (key, _) if key.starts_with("network.") || key.starts_with("quota.") => "2 MiB",
                ("scrub.share", _) => "3 %",
                ("keep", _) => "2 MiB",
                _ => "90s",
            };
            let (text, edit) = change(TEMPLATE, key, Some(value)).unwrap();
            assert!(edit.now.is_some() && text.contains("create ="), "{key}: {text}");
            assert!(text.starts_with("# stash configuration;"), "{key}: {text}");
        }
    }

    #[test]
    fn what_the_file_could_not_be_read_with_is_refused() {
        for (key, value) in [
            ("quota.hard", "much"),
            ("keep", "some"),
            ("listen", "he re"),
            ("create", "maybe"),
            ("repair.copies", "two"),
            ("network.hours", "up 2MiB"),
        ] {
            assert!(change("", key, Some(value)).is_err(), "{key}");
        }
        let problem = change("", "bwlimit_up", Some("2 MiB")).unwrap_err();
        assert!(problem.hint.unwrap().contains("network.bwlimit_up"));
        let problem = change("listen_at = 1\n", "name", Some("b")).unwrap_err();
        assert!(problem.message.contains("line 1"), "{}", problem.message);
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_behind_its_link_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&file, "name = \"a\"\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        edit(&link, "name", Some("b"), |_| Ok(())).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "name = \"b\"\n");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        let refused = edit(&link, "name", Some("c"), |_| Err(Problem::usage("no"))).unwrap_err();
        assert_eq!(refused.message, "no");
        assert_eq!(fs::read_to_string(&file).unwrap(), "name = \"b\"\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no draft is left");
        let new = dir.path().join("conf/config.toml");
        edit(&new, "name", Some("b"), |_| Ok(())).unwrap();
        assert_eq!(fs::metadata(&new).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
