//! `stash history`, `undelete`, `resolve`, and the listings by versions.

use stash_api::Client;
use stash_api::versions::{
    History, Name, Names, ResolveDone, ResolveRequest, UndeleteRequest, Version, Which,
};

use super::context::{Context, Finish};
use super::put::{absolute, note_missing};
use crate::cli;
use crate::error::Class;
use crate::output::{self, Output, Side, short, table};
use crate::progress::Bar;
use crate::zone::local_or;

/// Versions, or names, asked for at once.
const PAGE: u64 = 100;

/// The columns of a version.
const COLUMNS: [Side; 7] =
    [Side::Left, Side::Left, Side::Left, Side::Right, Side::Left, Side::Left, Side::Left];

pub(super) async fn history(context: &Context, history: cli::History) -> anyhow::Result<Finish> {
    let (client, output) = (context.client()?, &context.output);
    let mut all: Option<History> = None;
    let mut after = None;
    loop {
        let route = History::route(&history.key, after.as_deref(), PAGE);
        let page = client.get(&route).await?;
        after = page.next.clone();
        match &mut all {
            None => all = Some(page),
            Some(all) => {
                all.versions.extend(page.versions);
                all.next = None;
            }
        }
        if after.is_none() {
            break;
        }
    }
    let Some(all) = all else { return Ok(Finish::Done) };
    output.result(&all, |all| {
        let rows: Vec<_> = all.versions.iter().map(|version| row(output, version)).collect();
        table(&COLUMNS, &rows)
    })?;
    for alarm in &all.alarms {
        let version = alarm.version.get(..12).unwrap_or(&alarm.version);
        output.note(&format!("ALARM: {version} is set aside: {}", output::visible(&alarm.why)));
    }
    Ok(Finish::Done)
}

fn row(output: &Output, version: &Version) -> Vec<String> {
    let writer = version.writer_name.as_deref().unwrap_or_else(|| short(&version.writer));
    let (size, here) = match version.kind.as_str() {
        "put" => (output::size(version.size), version.here.word()),
        _ => ("-".to_owned(), "-"),
    };
    vec![
        version.version.get(..12).unwrap_or(&version.version).to_owned(),
        version.kind.clone(),
        local_or(version.written.as_deref(), "-"),
        size,
        here.to_owned(),
        version.place.clone(),
        output.shown(writer),
    ]
}

/// `stash ls --conflicts`, `--deleted` and `--versions`.
pub(super) async fn names(
    output: &Output,
    client: &Client,
    which: Which,
    prefix: &str,
) -> anyhow::Result<Finish> {
    let mut all = Names { entries: Vec::new(), next: None };
    let mut after = None;
    loop {
        let page = client.get(&Names::route(which, prefix, after.as_deref(), PAGE)).await?;
        if output.json() {
            all.entries.extend(page.entries);
        } else if which == Which::Deleted {
            output.raw(&removed(output, &page.entries))?;
        } else {
            let texts = page.entries.iter().map(|name| versions(output, name));
            output.raw(&texts.collect::<String>())?;
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

/// When each was removed, and how large the file is that can be brought back.
fn removed(output: &Output, names: &[Name]) -> String {
    let row = |name: &Name| {
        let removed = name.versions.iter().find(|version| version.kind == "removed");
        let file = name.versions.iter().find(|version| version.kind == "put");
        vec![
            local_or(removed.and_then(|removed| removed.written.as_deref()), "-"),
            file.map_or_else(|| "-".to_owned(), |file| output::size(file.size)),
            output.shown(&name.key),
        ]
    };
    let rows: Vec<_> = names.iter().map(row).collect();
    table(&[Side::Left, Side::Right, Side::Left], &rows)
}

/// A name, and its versions indented below it.
fn versions(output: &Output, name: &Name) -> String {
    let rows: Vec<_> = name.versions.iter().map(|version| row(output, version)).collect();
    let mut text = format!("{}\n", output.shown(&name.key));
    for line in table(&COLUMNS, &rows).lines() {
        text += &format!("  {line}\n");
    }
    if name.more > 0 {
        text += &format!("  and {} more\n", name.more);
    }
    text
}

pub(super) async fn undelete(context: &Context, undelete: cli::Undelete) -> anyhow::Result<Finish> {
    let output = &context.output;
    let wait = Some(undelete.wait.to_string());
    let request = UndeleteRequest { key: undelete.key, recursive: undelete.recursive, wait };
    let mut bar = Bar::new(output.bars(), "undelete");
    let done = context.client()?.operate(&request, |far| bar.show(far)).await?;
    drop(bar);
    output.done(&done, |done| {
        let (files, bytes) = (output::count(done.restored, "file"), output::size(done.bytes));
        let (copies, wanted) = (done.copies, done.wanted);
        format!("brought back {files}, {bytes}, stored on {copies} of {wanted} nodes\n")
    })?;
    for skipped in &done.skipped {
        output.note(&format!("skipped {}: {}", output::visible(&skipped.key), skipped.why));
    }
    note_missing(output, &done.missing);
    Ok(if done.short {
        Finish::With(Class::Short)
    } else if done.unavailable > 0 {
        Finish::With(Class::Temporary)
    } else {
        Finish::Done
    })
}

pub(super) async fn resolve(context: &Context, resolve: cli::Resolve) -> anyhow::Result<Finish> {
    let output = &context.output;
    let file = resolve.file.as_deref().map(absolute).transpose()?;
    let wait = Some(resolve.wait.to_string());
    let request = ResolveRequest { key: resolve.key, take: resolve.take, file, wait };
    let mut bar = Bar::new(output.bars(), "resolve");
    let done = context.client()?.operate(&request, |far| bar.show(far)).await?;
    drop(bar);
    output.done(&done, |done| line(output, done))?;
    note_missing(output, &done.missing);
    Ok(if done.short { Finish::With(Class::Short) } else { Finish::Done })
}

fn line(output: &Output, done: &ResolveDone) -> String {
    let version = done.version.get(..12).unwrap_or(&done.version);
    let what = match done.covered {
        0 => "it is the only one already".to_owned(),
        covered => format!("in the place of {}", output::count(covered, "version")),
    };
    let (copies, wanted) = (done.copies, done.wanted);
    format!(
        "{}: {version}, {what}, stored on {copies} of {wanted} nodes\n",
        output.shown(&done.key)
    )
}
