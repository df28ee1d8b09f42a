//! `stash ls`.

use stash_api::Client;
use stash_api::files::{Entry, Kind, Listing};
use stash_api::versions::Which;

use super::context::{Context, Finish};
use super::versions;
use crate::cli::Ls;
use crate::output::{self, Output, Side, table};

/// Entries asked for at once.
const PAGE: u64 = 1000;

pub(super) async fn run(context: &Context, ls: Ls) -> anyhow::Result<Finish> {
    let client = context.client()?;
    let by_versions = [
        (Which::Conflicts, ls.conflicts),
        (Which::Deleted, ls.deleted),
        (Which::Versions, ls.versions),
    ];
    if let Some((which, _)) = by_versions.into_iter().find(|(_, wanted)| *wanted) {
        let prefix = ls.prefix.unwrap_or_default();
        return versions::names(&context.output, &client, which, &prefix).await;
    }
    let prefix = ls.prefix.unwrap_or_default();
    let output = &context.output;
    let mut all = Listing { entries: Vec::new(), next: None };
    let mut after = None;
    loop {
        let page = page(&client, &prefix, after.as_deref()).await?;
        if output.json() {
            all.entries.extend(page.entries);
        } else {
            output.raw(&lines(output, &page.entries, ls.long))?;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if output.json() {
        output.result(&all, |_| String::new())?;
    }
    Ok(Finish::Done)
}

/// A page of a listing.
pub(super) async fn page(
    client: &Client,
    prefix: &str,
    after: Option<&str>,
) -> anyhow::Result<Listing> {
    Ok(client.get(&Listing::route(prefix, after, PAGE)).await?)
}

fn lines(output: &Output, entries: &[Entry], long: bool) -> String {
    if !long {
        return entries.iter().map(|entry| format!("{}\n", name(output, entry))).collect();
    }
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            let conflicts = match entry.conflicts {
                0 => String::new(),
                more => format!(" (+{more} concurrent)"),
            };
            vec![
                output::mode(entry.kind, entry.mode),
                output::size(entry.size),
                entry.modified.clone().unwrap_or_else(|| "-".to_owned()),
                entry.here.word().to_owned(),
                format!("{}{conflicts}", name(output, entry)),
            ]
        })
        .collect();
    table(&[Side::Left, Side::Right, Side::Left, Side::Left, Side::Left], &rows)
}

/// The key; that of an empty directory with a slash.
fn name(output: &Output, entry: &Entry) -> String {
    let slash = if entry.kind == Kind::Directory { "/" } else { "" };
    format!("{}{slash}", output.shown(&entry.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use stash_api::files::Here;

    fn entry(key: &str, size: u64, here: Here, conflicts: u64) -> Entry {
        let modified = Some("2023-11-14T22:13:20Z".to_owned());
        let (key, kind, mode) = (key.into(), Kind::File, Some(0o644));
        Entry { key, kind, size, modified, mode, chunks: 1, here, conflicts }
    }

    #[test]
    fn long_lines_have_aligned_columns() {
        let entries = [entry("a", 5, Here::Local, 0), entry("b/c", 64 << 20, Here::Evicted, 1)];
        let text = lines(&Output::new(false, false), &entries, true);
        assert_eq!(
            text,
            "-rw-r--r--       5 B  2023-11-14T22:13:20Z  local    a\n\
             -rw-r--r--  64.0 MiB  2023-11-14T22:13:20Z  evicted  b/c (+1 concurrent)\n"
        );
        let empty = Entry { kind: Kind::Directory, ..entry("d", 0, Here::Local, 0) };
        let text = lines(&Output::new(false, false), &[empty], true);
        assert_eq!(text, "drw-r--r--  0 B  2023-11-14T22:13:20Z  local  d/\n");
    }
}
