//! `stash get` and `stash cat`.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use http_body_util::BodyExt;
use hyper::{Request, Response, StatusCode, body::Incoming, header};
use stash_api::error::Code;
use stash_api::files::{CONFLICTS, GetDone, GetRequest, Kind, Listing, Restore, object_path};
use stash_api::route::query_value;
use stash_api::{Client, client};
use tokio::io::AsyncWriteExt;

use super::context::{Context, Finish};
use super::put::absolute;
use crate::cli::{Cat, Get};
use crate::error::{self, Class, Problem, class, is_not_found};
use crate::output::{self, Output};
use crate::progress::Bar;
use crate::range::Range;

pub(super) async fn run(context: &Context, get: Get) -> anyhow::Result<Finish> {
    let umask = umask();
    if get.output.as_deref() == Some(Path::new("-")) {
        let (key, version) = (only(get.keys)?, get.version);
        let cat = Cat { key, version, range: None, no_keep: get.no_keep };
        return self::cat(context, cat).await;
    }
    let client = context.client()?;
    let named = names(&client, &get).await?;
    let shown = context.output.shown(&named.output.to_string_lossy());
    let request = GetRequest {
        key: named.key,
        keys: named.keys,
        output: absolute(&named.output)?,
        overwrite: get.overwrite,
        verify: get.verify,
        dry_run: get.dry_run,
        restore: Restore {
            owner: get.owner,
            acl: get.acl,
            xattr: get.xattr,
            privileged: get.privileged,
        },
        keep: !get.no_keep,
        version: get.version,
        umask: Some(umask),
    };
    let mut bar = Bar::new(context.output.bars(), "get");
    let done = client.operate(&request, |far| bar.show(far)).await?;
    drop(bar);
    context.output.done(&done, |done| format!("{shown}: {}\n", line(done)))?;
    if done.conflicts > 0 {
        let key = request.key.as_deref().unwrap_or_default();
        warn(&context.output, key, done.conflicts, done.files + done.unchanged > 1);
    }
    name_missing(&context.output, &done);
    Ok(done.code.map_or(Finish::Done, |code| Finish::With(class(code))))
}

/// What a get is asked for.
struct Named {
    /// One key or prefix, written to the output itself.
    key: Option<String>,
    /// Or several, written below it.
    keys: Vec<String>,
    output: PathBuf,
}

/// A single key is written to the output. Several, and one that is a pattern and no key, are written below
/// it; so is a single file if the output is said to be a directory by a slash at its end.
async fn names(client: &Client, get: &Get) -> anyhow::Result<Named> {
    let output = get.output.clone();
    let below = |keys: &[String], output: Option<PathBuf>| {
        let output = output.unwrap_or_else(|| PathBuf::from("."));
        Named { key: None, keys: keys.to_vec(), output }
    };
    let [key] = &get.keys[..] else {
        if get.version.is_some() {
            return Err(Problem::usage("a version is one of a single key").into());
        }
        return Ok(below(&get.keys, output));
    };
    let ends = output.as_ref().is_some_and(|output| output.as_os_str().as_bytes().ends_with(b"/"));
    if get.version.is_none() && (ends || key.contains(['*', '?', '['])) {
        let listed = match client.get(&Listing::route(key, None, 1)).await {
            Ok(listing) => listing.entries,
            Err(error) if is_not_found(&error) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let entry = listed.first();
        let is_file = entry.is_some_and(|entry| entry.key == *key && entry.kind != Kind::Directory);
        if entry.is_none() || (ends && is_file) {
            return Ok(below(&get.keys, output));
        }
    }
    let output = match output {
        Some(output) => output,
        None => base_name(key)?,
    };
    Ok(Named { key: Some(key.clone()), keys: Vec::new(), output })
}

fn only(keys: Vec<String>) -> Result<String, Problem> {
    match <[String; 1]>::try_from(keys) {
        Ok([key]) => Ok(key),
        Err(_) => Err(Problem::usage("stdout takes one file").hint("name a directory with -o")),
    }
}

/// The result in a line.
fn line(done: &GetDone) -> String {
    let files = |count, bytes| format!("{}, {}", output::count(count, "file"), output::size(bytes));
    let mut line = if done.dry_run { "would write ".to_owned() } else { String::new() };
    line += &files(done.files, done.bytes);
    if done.unchanged > 0 {
        let those = files(done.unchanged, done.unchanged_bytes);
        line += &format!("; there already {those}");
    }
    let failed = done.failed.len() as u64 + done.failed_more;
    if failed > 0 {
        line += &format!("; {failed} not");
    }
    line
}

/// Names what did not come back, and what came back without all that was asked for.
fn name_missing(output: &Output, done: &GetDone) {
    let line = |name: &str, why: &str| {
        output.note(&format!("{}: {}", output::visible(name), output::visible(why)));
    };
    let more = |count: u64, what: &str| {
        if count > 0 {
            output.note(&format!("and {} more {what}", output::grouped(count)));
        }
    };
    done.lacking.iter().for_each(|lacking| line(&lacking.path, &lacking.why));
    more(done.lacking_more, "that lack something");
    done.failed.iter().for_each(|failed| line(&format!("not back: {}", failed.key), &failed.why));
    more(done.failed_more, "that did not come back");
    if done.not_kept {
        output.note(
            "there is no room to keep a copy here as well: what came from other nodes is not kept",
        );
    }
    if done.failed.iter().any(|failed| failed.code == Code::Temporary) {
        output
            .note("repeat the command when more nodes are connected: what is there is left alone");
    }
}

/// The permission bits that new directories of this process do not get. It has one thread yet, so that
/// nobody meets the other mask.
fn umask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    rustix::process::umask(mask);
    mask.as_raw_mode()
}

/// Says that what was read is not all that there is. `tree`: of so many files, not versions.
fn warn(output: &Output, key: &str, conflicts: u64, tree: bool) {
    let key = output::visible(key);
    output.note(&if tree {
        let files = output::count(conflicts, "file");
        format!("{key}: concurrent versions beside {files}; see `stash ls --conflicts {key}`")
    } else {
        format!("{key}: concurrent versions beside the one shown; see `stash history {key}`")
    });
}

/// Where a key is written if nobody says: its last part, below the working directory.
fn base_name(key: &str) -> Result<PathBuf, Problem> {
    let name = key.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    match name {
        "" | "." | ".." => Err(Problem::usage(format!("{key:?} is no key"))
            .hint("a key is a relative path such as photos/2024/a.jpg")),
        name => Ok(PathBuf::from(name)),
    }
}

pub(super) async fn cat(context: &Context, cat: Cat) -> anyhow::Result<Finish> {
    let client = context.client()?;
    let version = match &cat.version {
        Some(version) => format!("&version={}", query_value(version)),
        None => String::new(),
    };
    let key = object_path(&cat.key);
    let path = format!("{key}?keep={}{version}", !cat.no_keep);
    let range = cat.range.as_deref().map(range).transpose()?;
    let response = request(&client, &path, range).await?;
    if range.is_some() && response.status() != StatusCode::PARTIAL_CONTENT {
        return Err(error::gone_away().into());
    }
    let conflicts = response.headers().get(CONFLICTS).is_some_and(|number| number != "0");
    let copied = copy(response).await.map_err(output::unwritten)?;
    if conflicts {
        warn(&context.output, &cat.key, 1, false);
    }
    match copied {
        Copied::All => Ok(Finish::Done),
        Copied::Until(bytes) => Err(why(&client, &path, range, bytes).await),
    }
}

fn range(text: &str) -> Result<Range, Problem> {
    text.parse().map_err(|()| {
        Problem::usage(format!("{text:?} is no range"))
            .hint("write a-b, a- or -last; bytes are counted from 0, both ends included")
    })
}

/// Asks for bytes. There is no deadline: the beginning of the file may have to come from a slow
/// peer.
async fn request(
    client: &Client,
    path: &str,
    range: Option<Range>,
) -> anyhow::Result<Response<Incoming>> {
    let mut request = Request::get(path);
    if let Some(range) = range {
        request = request.header(header::RANGE, format!("bytes={range}"));
    }
    client.answers().await?;
    Ok(client.send(request.body(client::empty())?, None).await?)
}

/// The end of a copy whose every byte is right.
enum Copied {
    /// With the last byte.
    All,
    /// Early, after so many bytes.
    Until(u64),
}

async fn copy(response: Response<Incoming>) -> std::io::Result<Copied> {
    let mut stdout = tokio::io::stdout();
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            stdout.flush().await?;
            return Ok(Copied::Until(bytes));
        };
        if let Some(data) = frame.data_ref() {
            stdout.write_all(data).await?;
            bytes += data.len() as u64;
        }
    }
    stdout.flush().await?;
    Ok(Copied::All)
}

/// Why a transfer broke after `bytes`: the daemon can say so only at the start of an answer.
async fn why(client: &Client, path: &str, range: Option<Range>, bytes: u64) -> anyhow::Error {
    let rest = match range {
        None => Some(Range::From(bytes)),
        Some(Range::Between(first, last)) => {
            Some(Range::Between(first.saturating_add(bytes), last))
        }
        Some(Range::From(first)) => Some(Range::From(first.saturating_add(bytes))),
        Some(Range::Last(_)) => None,
    };
    let error = match rest {
        Some(rest) => request(client, path, Some(rest)).await.err(),
        None => None,
    };
    error.unwrap_or_else(|| interrupted().into()).context("the file ends early")
}

fn interrupted() -> Problem {
    Problem::new(Class::Temporary, "the transfer was interrupted").hint("repeat the command")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Fault case 83.
    #[test]
    fn the_default_output_never_leaves_the_working_directory() {
        assert_eq!(base_name("a/b/c.jpg").unwrap(), Path::new("c.jpg"));
        assert_eq!(base_name("a/b/").unwrap(), Path::new("b"));
        for key in ["", "/", "..", "a/..", "a/../", "."] {
            assert!(base_name(key).is_err(), "{key:?}");
        }
    }
}
