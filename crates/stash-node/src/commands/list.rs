//! `stash ls`, `du` and `find`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stash_api::Client;
use stash_api::files::{Entry, Find, Folder, Kind, Listing, Sum};
use stash_api::versions::Which;

use super::context::{Context, Finish};
use super::versions;
use crate::cli::{self, Ls};
use crate::output::{self, Output, Side, grouped, part_of_table, table};
use crate::units::Span;
use crate::zone::local_or;

/// Entries asked for at once.
const PAGE: u64 = 1000;

/// The columns of a long line.
const COLUMNS: [Side; 5] = [Side::Left, Side::Right, Side::Left, Side::Left, Side::Left];

/// Their usual widths, so that they do not move from one page to the next.
const WIDTHS: [usize; 5] = [10, 10, 25, 7, 0];

pub(super) async fn run(context: &Context, ls: Ls) -> anyhow::Result<Finish> {
    let client = context.client()?;
    let by_versions = [
        (Which::Conflicts, ls.conflicts),
        (Which::Deleted, ls.deleted),
        (Which::Versions, ls.versions),
    ];
    let prefix = ls.prefix.unwrap_or_default();
    if let Some((which, _)) = by_versions.into_iter().find(|(_, wanted)| *wanted) {
        return versions::names(&context.output, &client, which, &prefix).await;
    }
    let all = ls.recursive;
    let mut lines = Lines::new(&context.output, ls.long);
    let mut after = None;
    loop {
        let route = match all {
            true => Listing::route(&prefix, after.as_deref(), PAGE),
            false => Listing::level(&prefix, after.as_deref(), PAGE),
        };
        after = lines.page(client.get(&route).await?)?;
        if after.is_none() {
            return lines.end();
        }
    }
}

pub(super) async fn find(context: &Context, find: cli::Find) -> anyhow::Result<Finish> {
    let client = context.client()?;
    let mut lines = Lines::new(&context.output, find.long);
    let wanted = Find {
        prefix: find.prefix.unwrap_or_default(),
        name: find.name,
        at_least: find.larger.map(|size| size.0),
        at_most: find.smaller.map(|size| size.0),
        since: find.newer.map(ago),
        before: find.older.map(ago),
    };
    let mut after = None;
    loop {
        after = lines.page(client.get(&wanted.route(after.as_deref(), PAGE)).await?)?;
        if after.is_none() {
            return lines.end();
        }
    }
}

/// The time so long ago, in seconds since 1970.
fn ago(span: Span) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    seconds(now).saturating_sub(seconds(span.0))
}

/// Pages of a listing, printed as they come, or with `--json` as one document.
struct Lines<'a> {
    output: &'a Output,
    long: bool,
    widths: [usize; 5],
    all: Listing,
}

impl<'a> Lines<'a> {
    fn new(output: &'a Output, long: bool) -> Self {
        let all = Listing { entries: Vec::new(), folders: Vec::new(), next: None };
        Self { output, long, widths: WIDTHS, all }
    }

    /// Prints a page; after what the next one begins.
    fn page(&mut self, page: Listing) -> anyhow::Result<Option<String>> {
        let Listing { entries, folders, next } = page;
        if self.output.json() {
            self.all.entries.extend(entries);
            self.all.folders.extend(folders);
        } else {
            let text =
                lines(self.output, &entries, &folders, self.long.then_some(&mut self.widths));
            self.output.raw(&text)?;
        }
        Ok(next)
    }

    fn end(self) -> anyhow::Result<Finish> {
        if self.output.json() {
            self.output.result(&self.all, |_| String::new())?;
        }
        Ok(Finish::Done)
    }
}

/// A line for each, in the order of their names; with `widths` a long one.
fn lines(
    output: &Output,
    entries: &[Entry],
    folders: &[Folder],
    widths: Option<&mut [usize; 5]>,
) -> String {
    let long = widths.is_some();
    let files = entries.iter().map(|entry| (&entry.key, of_file(output, entry, long)));
    let folders = folders.iter().map(|folder| (&folder.key, of_folder(output, folder, long)));
    let mut rows: Vec<(&String, Vec<String>)> = files.chain(folders).collect();
    rows.sort_by_key(|(key, _)| *key);
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, row)| row).collect();
    match widths {
        Some(widths) => part_of_table(&COLUMNS, widths, &rows),
        None => rows.iter().map(|row| row.join("  ") + "\n").collect(),
    }
}

fn of_file(output: &Output, entry: &Entry, long: bool) -> Vec<String> {
    // An empty directory with a slash.
    let slash = if entry.kind == Kind::Directory { "/" } else { "" };
    let name = format!("{}{slash}", output.shown(&entry.key));
    if !long {
        return vec![name];
    }
    let conflicts = match entry.conflicts {
        0 => String::new(),
        more => format!(" (+{more} concurrent)"),
    };
    vec![
        output::mode(entry.kind, entry.mode),
        output::size(entry.size),
        local_or(entry.modified.as_deref(), "-"),
        entry.here.word().to_owned(),
        format!("{name}{conflicts}"),
    ]
}

fn of_folder(output: &Output, folder: &Folder, long: bool) -> Vec<String> {
    let name = format!("{}/", output.shown(&folder.key));
    let (files, bytes) = (files(folder.files), output::size(folder.bytes));
    match long {
        false => vec![name, format!("{files}, {bytes}")],
        true => {
            let modified = local_or(folder.modified.as_deref(), "-");
            vec!["d".to_owned(), bytes, modified, files, name]
        }
    }
}

fn files(number: u64) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} file{plural}", grouped(number))
}

/// How many files lie below a name.
pub(super) async fn sum(client: &Client, prefix: &str) -> anyhow::Result<Sum> {
    Ok(client.get(&Sum::route(prefix)).await?)
}

/// `stash du --json`.
#[derive(serde::Serialize)]
struct Usage {
    folders: Vec<Folder>,
    files: u64,
    bytes: u64,
}

pub(super) async fn du(context: &Context, du: cli::Du) -> anyhow::Result<Finish> {
    let (client, prefix) = (context.client()?, du.prefix.unwrap_or_default());
    let mut folders = Vec::new();
    // Depth first, and of each level in order: what is to be looked at lies on a stack.
    let mut waiting = vec![(prefix.clone(), 0)];
    while let Some((name, level)) = waiting.pop() {
        if level >= du.depth {
            continue;
        }
        let below = folders_of(&client, &name, level == 0).await?;
        waiting.extend(below.iter().rev().map(|folder| (format!("{}/", folder.key), level + 1)));
        folders.extend(below);
    }
    folders.sort_by(|a, b| a.key.split('/').cmp(b.key.split('/')));
    let Sum { files, bytes } = sum(&client, &prefix).await?;
    let usage = Usage { folders, files, bytes };
    context.output.result(&usage, |usage| {
        let row = |name: String, count, bytes| vec![output::size(bytes), self::files(count), name];
        let folders = usage.folders.iter();
        let mut rows: Vec<Vec<String>> = folders
            .map(|one| row(format!("{}/", context.output.shown(&one.key)), one.files, one.bytes))
            .collect();
        let all =
            if prefix.is_empty() { "in all".to_owned() } else { context.output.shown(&prefix) };
        rows.push(row(all, usage.files, usage.bytes));
        table(&[Side::Right, Side::Right, Side::Left], &rows)
    })?;
    Ok(Finish::Done)
}

/// The folders right below a name. `named`: the user named it, so something should be there.
async fn folders_of(client: &Client, name: &str, named: bool) -> anyhow::Result<Vec<Folder>> {
    let (mut folders, mut after) = (Vec::new(), None);
    loop {
        let page = match client.get(&Listing::level(name, after.as_deref(), PAGE)).await {
            // It was removed while this looked.
            Err(error) if !named && crate::error::is_not_found(&error) => return Ok(folders),
            page => page?,
        };
        folders.extend(page.folders);
        after = page.next;
        if after.is_none() {
            return Ok(folders);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::local;
    use stash_api::files::Here;

    const AT: &str = "2023-11-14T22:13:20Z";

    fn entry(key: &str, size: u64, here: Here, conflicts: u64) -> Entry {
        let (modified, key, kind, mode) = (Some(AT.into()), key.into(), Kind::File, Some(0o644));
        Entry { key, kind, size, modified, mode, chunks: 1, here, conflicts }
    }

    fn folder(key: &str, files: u64) -> Folder {
        Folder { key: key.into(), files, bytes: 64 << 20, modified: Some(AT.into()) }
    }

    #[test]
    fn long_lines_have_columns_that_do_not_move() {
        let output = Output::new(false, false);
        let mut widths = WIDTHS;
        let long = |entries: &[Entry], folders: &[Folder], widths: &mut [usize; 5]| {
            lines(&output, entries, folders, Some(widths))
        };
        let entries = [entry("a", 5, Here::Local, 0), entry("b/c", 64 << 20, Here::Evicted, 1)];
        let at = local(AT);
        assert_eq!(
            long(&entries, &[], &mut widths),
            format!(
                "-rw-r--r--         5 B  {at}  local    a\n\
                 -rw-r--r--    64.0 MiB  {at}  evicted  b/c (+1 concurrent)\n"
            )
        );
        assert_eq!(
            long(&[], &[folder("b", 2166)], &mut widths),
            format!("d             64.0 MiB  {at}  2,166 files  b/\n")
        );
        let empty = Entry { kind: Kind::Directory, ..entry("d", 0, Here::Local, 0) };
        assert_eq!(
            long(&[empty], &[], &mut widths),
            format!("drw-r--r--         0 B  {at}  local        d/\n")
        );
    }

    #[test]
    fn files_and_folders_stand_in_one_order() {
        let entries = [entry("a", 5, Here::Local, 0), entry("c", 5, Here::Local, 0)];
        let text = lines(&Output::new(false, false), &entries, &[folder("b", 1)], None);
        assert_eq!(text, "a\nb/  1 file, 64.0 MiB\nc\n");
    }
}
