//! `stash put`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use stash_api::files::{Missing, PutDone, PutRequest, PutRoot, Replaced, object_path};
use stash_api::{Client, client};
use stash_vault::Wait;
use tokio::sync::oneshot;
use tokio_util::io::ReaderStream;

use super::context::{Context, Finish};
use super::status::OLD_DAYS;
use crate::cli::Put;
use crate::error::{self, Class, Problem};
use crate::output::{self, Output, short};
use crate::progress::Bar;
use crate::typed::{self, quoted};

/// Bytes read from stdin at once.
const PIECE: usize = 256 * 1024;

/// The longest wait for an answer once the daemon has the whole of stdin: its own waits for members
/// end long before.
const AFTER_THE_END: Duration = Duration::from_secs(600);

pub(super) async fn run(context: &Context, put: Put) -> anyhow::Result<Finish> {
    let client = context.client()?;
    let waits = put.wait != Wait::Local;
    let mut bar = Bar::new(context.output.bars(), "put");
    let done = if put.paths.iter().any(|path| path == Path::new("-")) {
        let [_] = &put.paths[..] else {
            return Err(Problem::usage("`-` stands alone: stdin is one file").into());
        };
        let key = put.key.as_deref().ok_or_else(|| {
            Problem::usage("stdin has no name").hint("name it: stash put - --as KEY")
        })?;
        typed::key(key)?;
        from_stdin(&client, key, put.wait, bar).await?
    } else {
        let paths = put.paths.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?;
        let wait = Some(put.wait.to_string());
        let request = PutRequest { paths, key: put.key, wait };
        let done = client.operate(&request, |far| bar.show(far)).await?;
        drop(bar);
        done
    };
    report(&context.output, &done, waits)?;
    Ok(finish(&done))
}

/// The path as the daemon can use it, whose working directory is another, and whose open files are.
pub(super) fn absolute(path: &Path) -> Result<String, Problem> {
    typed::same_to_all(path)?;
    let absolute: PathBuf = std::path::absolute(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Problem::usage("the working directory is not there any more"),
        _ => Problem::usage(format!("{:?} is no path: {e}", path.display())),
    })?;
    absolute.into_os_string().into_string().map_err(|raw| {
        Problem::usage(format!("the path {} is not UTF-8", raw.display()))
            .hint("pass the file through stdin: stash put - --as KEY < FILE")
    })
}

async fn from_stdin(
    client: &Client,
    key: &str,
    wait: Wait,
    mut bar: Bar,
) -> anyhow::Result<PutDone> {
    // Dropped with the body, when the daemon has all of it.
    let (unsent, sent) = oneshot::channel::<()>();
    let pieces = ReaderStream::with_capacity(tokio::io::stdin(), PIECE).inspect_ok(move |piece| {
        let _unsent = &unsent;
        bar.add(piece.len() as u64);
    });
    let body = StreamBody::new(pieces.map_ok(Frame::data).map_err(|e| {
        io::Error::other(Problem::new(Class::Unreadable, format!("cannot read stdin: {e}")))
    }));
    client.answers().await?;
    let path = format!("{}?wait={wait}", object_path(key));
    let request = Request::put(path).body(body.boxed_unsync())?;
    let patience = async {
        let _dropped = sent.await;
        tokio::time::sleep(AFTER_THE_END).await;
    };
    tokio::select! {
        response = client.send(request, None) => Ok(client::document(response?).await?),
        () = patience => Err(error::gone_away().into()),
    }
}

/// Prints a line a root on stdout, and what is missing on stderr. `waits`: for other members.
fn report(output: &Output, done: &PutDone, waits: bool) -> anyhow::Result<()> {
    output.done(done, |done| {
        done.roots.iter().filter(|root| root.wanted > 0).map(|root| line(output, root)).collect()
    })?;
    for root in &done.roots {
        for skipped in &root.skipped {
            output.note(&format!("skipped {}: {}", output::visible(&skipped.path), skipped.why));
        }
        for note in &root.notes {
            output.note(&format!("{}: {}", output::visible(&note.path), note.why));
        }
        for replaced in &root.replaced {
            output.note(&replaces(root, replaced));
        }
        if waits {
            note_missing(output, &root.missing);
        }
    }
    if done.roots.iter().any(|root| root.wanted == 1) {
        output.note("this is no backup yet: add a machine with stash invite --role keeper");
    }
    if let Some(days) = done.confirmed_days.filter(|days| *days >= OLD_DAYS) {
        output.note(&format!(
            "the founder confirmed the members {days} days ago: one that was removed since could read this"
        ));
    }
    Ok(())
}

fn line(output: &Output, root: &PutRoot) -> String {
    format!(
        "{}: {}, {}, {}, {}\n",
        output.shown(&root.key),
        output::count(root.files, "file"),
        output::size(root.bytes),
        change(root),
        stored(root.copies, root.wanted, &root.missing),
    )
}

/// What was new in it, what changed, and what was there.
fn change(root: &PutRoot) -> String {
    let added = root.new.saturating_sub(root.changed);
    let parts = [(added, "new"), (root.changed, "changed"), (root.unchanged, "unchanged")];
    let parts: Vec<(u64, &str)> = parts.into_iter().filter(|(files, _)| *files > 0).collect();
    match parts[..] {
        [] => "nothing new".to_owned(),
        [(_, word)] => word.to_owned(),
        _ => parts
            .iter()
            .map(|(files, word)| format!("{files} {word}"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// On how many nodes it is. Where each lacks another part of it, more have each file than have all of them.
pub(super) fn stored(copies: u64, wanted: u64, missing: &[Missing]) -> String {
    let whole = wanted.saturating_sub(missing.len() as u64);
    match (copies, wanted) {
        (1, 1) => "stored on 1 of 1 nodes".to_owned(),
        _ if whole < copies => {
            format!("each stored on {copies} of {wanted} nodes at least, all of it on {whole}")
        }
        _ => format!("stored on {copies} of {wanted} nodes"),
    }
}

/// A sentence about versions of others that were replaced.
fn replaces(root: &PutRoot, replaced: &Replaced) -> String {
    let by = replaced.name.as_deref().unwrap_or_else(|| short(&replaced.node_id));
    let (key, by) = (output::visible(&root.key), output::visible(by));
    let shown = quoted(&root.key);
    match root.files {
        1 => format!("{key}: replaces a version written by {by}; `stash history {shown}` has it"),
        _ => {
            let files = output::count(replaced.files, "file");
            format!(
                "{key}: replaces versions of {files} written by {by}; `stash history KEY` has them"
            )
        }
    }
}

/// Says which members do not have all of it yet: those for one reason in one line.
pub(super) fn note_missing(output: &Output, missing: &[Missing]) {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for Missing { node_id, why } in missing {
        match reasons.iter_mut().find(|(reason, _)| reason == why) {
            Some((_, nodes)) => nodes.push(short(node_id)),
            None => reasons.push((why, vec![short(node_id)])),
        }
    }
    for (why, nodes) in reasons {
        output.note(&format!("not all of it on {}: {}", nodes.join(", "), output::visible(why)));
    }
}

/// Missing copies weigh more than inputs that were skipped: the user was told of both. Notes are no faults.
fn finish(done: &PutDone) -> Finish {
    if done.roots.iter().any(|root| root.short) {
        Finish::With(Class::Short)
    } else if done.roots.iter().any(|root| !root.skipped.is_empty()) {
        Finish::With(Class::Unreadable)
    } else {
        Finish::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stash_api::files::Skipped;

    fn root(new: u64, copies: u64, short: bool) -> PutRoot {
        PutRoot {
            key: "Photos".into(),
            files: 20,
            bytes: 64 << 20,
            new,
            changed: 0,
            replaced: Vec::new(),
            unchanged: 20 - new,
            skipped: Vec::new(),
            notes: Vec::new(),
            copies,
            wanted: 3,
            short,
            missing: Vec::new(),
        }
    }

    #[test]
    fn a_root_is_one_line_that_says_what_was_new() {
        let output = Output::new(false, false);
        let full = line(&output, &root(20, 3, false));
        assert_eq!(full, "Photos: 20 files, 64.0 MiB, new, stored on 3 of 3 nodes\n");
        let again = line(&output, &root(0, 2, false));
        assert_eq!(again, "Photos: 20 files, 64.0 MiB, unchanged, stored on 2 of 3 nodes\n");
        let some = PutRoot { changed: 2, ..root(5, 3, false) };
        assert_eq!(change(&some), "3 new, 2 changed, 15 unchanged");
    }

    #[test]
    fn what_is_said_of_copies_and_of_members_that_lack_some_goes_together() {
        let missing = |count: usize| -> Vec<Missing> {
            let one = |node: usize| Missing { node_id: node.to_string(), why: "away".into() };
            (0..count).map(one).collect()
        };
        assert_eq!(stored(2, 4, &missing(2)), "stored on 2 of 4 nodes");
        let parts = "each stored on 2 of 4 nodes at least, all of it on 1";
        assert_eq!(stored(2, 4, &missing(3)), parts);
        assert_eq!(stored(1, 1, &[]), "stored on 1 of 1 nodes");
    }

    #[test]
    fn whose_version_was_replaced_is_said() {
        let replaced = |name: Option<&str>, files| Replaced {
            node_id: "0123456789abcdef".into(),
            name: name.map(str::to_owned),
            files,
        };
        let one = PutRoot { files: 1, ..root(1, 3, false) };
        assert!(replaces(&one, &replaced(Some("lap2"), 1)).contains("a version written by lap2;"));
        let tree = replaces(&root(5, 3, false), &replaced(None, 2));
        assert!(tree.contains("versions of 2 files written by 0123456789;"), "{tree}");
    }

    #[test]
    fn too_few_copies_weigh_more_than_skipped_inputs() {
        let mut done = PutDone { roots: vec![root(1, 3, false)], confirmed_days: None };
        assert_eq!(finish(&done), Finish::Done);
        done.roots[0].notes.push(Skipped { path: "/s".into(), why: "a socket".into() });
        assert_eq!(finish(&done), Finish::Done, "nothing is missing");
        done.roots[0].skipped.push(Skipped { path: "/x".into(), why: "it cannot be read".into() });
        assert_eq!(finish(&done), Finish::With(Class::Unreadable));
        done.roots.push(root(1, 1, true));
        assert_eq!(finish(&done), Finish::With(Class::Short));
    }
}
