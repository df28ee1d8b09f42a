//! `stash gc`, `stash scrub` and `stash check`.

use stash_api::upkeep::{
    CheckDone, CheckRequest, Damaged, GcDone, GcRequest, Rebuilt, ScrubRequest,
};
use stash_vault::Home;
use stash_vault::server::store::RebuildReport;
use stash_vault::server::store::check::Listed;

use super::context::{Context, Finish};
use crate::check::checked_store;
use crate::cli::{Check, Gc};
use crate::error::{Class, Problem};
use crate::output::{count, size, visible};
use crate::progress::Bar;

pub(super) async fn gc(context: &Context, gc: Gc) -> anyhow::Result<Finish> {
    let request = GcRequest { dry_run: gc.dry_run, now: gc.now };
    let mut bar = Bar::new(context.output.bars(), "gc");
    let done = context.client()?.operate(&request, |far| bar.show(far)).await?;
    drop(bar);
    context.output.done(&done, collected)?;
    Ok(Finish::Done)
}

fn collected(done: &GcDone) -> String {
    let would = if done.dry_run { "would free" } else { "freed" };
    let mut text = format!("{would} {} in {}", size(done.bytes), count(done.chunks, "chunk"));
    if done.strays > 0 {
        let files = count(done.strays, "stray file");
        text.push_str(&format!(", {} of it in {files}", size(done.stray_bytes)));
    }
    if done.waiting_chunks > 0 {
        let (waiting, bytes) = (done.waiting_chunks, size(done.waiting_bytes));
        let wait = if waiting == 1 { "waits for its" } else { "wait for their" };
        text.push_str(&format!("; {waiting} more ({bytes}) {wait} grace"));
    }
    text.push('\n');
    if done.forgotten_versions > 0 {
        let word = if done.dry_run { "would forget" } else { "forgot" };
        let versions = count(done.forgotten_versions, "old version");
        text.push_str(&format!("{word} {versions}"));
        if done.forgotten_names > 0 {
            let names = count(done.forgotten_names, "removed file");
            text.push_str(&format!(", {names} as a whole"));
        }
        text.push_str(if done.dry_run { "; their chunks come on top\n" } else { "\n" });
    }
    if let Some(seconds) = done.retention_waits_seconds {
        let hours = seconds.div_ceil(3_600);
        text.push_str(&format!(
            "old versions stay for now: the clock is new or has jumped, and is believed once the node \
             has run for {hours} h more\n"
        ));
    }
    text
}

pub(super) async fn scrub(context: &Context) -> anyhow::Result<Finish> {
    let mut bar = Bar::new(context.output.bars(), "scrub");
    let client = context.client()?;
    let done = client.operate(&ScrubRequest {}, |far| bar.show(far)).await?;
    drop(bar);
    context.output.done(&done, |done| {
        let mut text = format!("read {}: ", size(done.bytes));
        text.push_str(&verdict(done.found, done.healed, done.unhealed));
        lines(&mut text, &done.findings, &done.damaged);
        text
    })?;
    Ok(if done.unhealed > 0 { Finish::With(Class::Integrity) } else { Finish::Done })
}

fn verdict(found: u64, healed: u64, unhealed: u64) -> String {
    match (found, unhealed) {
        (0, 0) => "nothing is damaged\n".to_owned(),
        (_, 0) => format!("found {found} damaged, {healed} healed from other members\n"),
        _ => format!("found {found} damaged, {healed} healed, {unhealed} NOT HEALED\n"),
    }
}

fn lines(text: &mut String, findings: &[String], damaged: &[Damaged]) {
    for finding in findings {
        text.push_str(&format!("found: {}\n", visible(finding)));
    }
    for damaged in damaged {
        text.push_str(&not_healed(damaged));
    }
}

/// A sentence for damage that is not healed, with the files it concerns.
pub(super) fn not_healed(damaged: &Damaged) -> String {
    let Damaged { kind, id, why, names, keys } = damaged;
    let files = match keys {
        Some(keys) if !keys.is_empty() => {
            keys.iter().map(|key| visible(key)).collect::<Vec<_>>().join(", ")
        }
        _ if names.is_empty() => "no file that is known".to_owned(),
        _ => format!("name {}", names.join(", ")),
    };
    format!("NOT HEALED: {files}: {kind} {id}: {}\n", visible(why))
}

pub(super) async fn check(context: &Context, check: Check) -> anyhow::Result<Finish> {
    let client = context.client()?;
    let served = client.daemon_runs().await;
    let done = match (served, check.rebuild) {
        (true, true) => {
            let message = "the daemon runs, and a rebuild needs the store for itself";
            return Err(Problem::new(Class::Refused, message)
                .hint("`stash stop` ends it; then repeat the command")
                .into());
        }
        (true, false) => {
            let request = CheckRequest { read_data: check.read_data };
            let mut bar = Bar::new(context.output.bars(), "check");
            client.operate(&request, |far| bar.show(far)).await?
        }
        (false, rebuild) => alone(context, check.read_data, rebuild).await?,
    };
    context.output.result(&done, checked)?;
    if !served && !done.sound {
        context.output.note("to heal it from other members: stash up, and then: stash scrub");
    }
    let whole = done.rebuilt.as_ref().is_none_or(|rebuilt| rebuilt.whole);
    Ok(if done.sound && whole { Finish::Done } else { Finish::With(Class::Integrity) })
}

/// Without a daemon: in the directory itself.
async fn alone(context: &Context, read_data: bool, rebuild: bool) -> Result<CheckDone, Problem> {
    let directory = &context.settings.data_dir.value;
    if rebuild {
        let rebuilt = Home::rebuild(directory, read_data).await?;
        let mut done = checked_store(&rebuilt.report);
        done.rebuilt = Some(told(&rebuilt.rebuilt));
        return Ok(done);
    }
    let examined = Home::examine(directory, read_data).await?;
    let mut done = checked_store(&examined.report);
    done.found += examined.opening.len() as u64;
    done.unhealed = done.found;
    done.sound &= examined.opening.is_empty();
    done.findings.extend(examined.opening);
    Ok(done)
}

fn told(report: &RebuildReport) -> Rebuilt {
    let mut notes = Vec::new();
    if let Some(what) = &report.format_restored {
        notes.push(format!("FORMAT was restored from the log: {what}"));
    }
    if report.log_begun {
        notes.push("no log was left: all records are lost here".to_owned());
    }
    notes.extend(report.damage.iter().cloned());
    listed(&mut notes, &report.lost, "lost");
    listed(&mut notes, &report.missing, "the file is missing: chunk");
    let aside = Listed {
        total: report.set_aside.total,
        first: report.set_aside.first.iter().map(|path| path.display().to_string()).collect(),
    };
    listed(&mut notes, &aside, "no chunk, moved to quarantine/:");
    Rebuilt {
        whole: report.is_whole(),
        entries: report.entries,
        announced: report.announced.total,
        notes,
    }
}

fn listed<T: ToString>(notes: &mut Vec<String>, list: &Listed<T>, what: &str) {
    notes.extend(list.first.iter().map(|item| format!("{what} {}", item.to_string())));
    let more = list.total - list.first.len() as u64;
    if more > 0 {
        notes.push(format!("{what} {more} more"));
    }
}

fn checked(done: &CheckDone) -> String {
    let mut text = String::new();
    if let Some(rebuilt) = &done.rebuilt {
        let saved = if rebuilt.whole { "everything was saved" } else { "NOT EVERYTHING WAS SAVED" };
        let (entries, announced) = (rebuilt.entries, rebuilt.announced);
        text.push_str(&format!("rebuilt from {entries} entries of the log: {saved}"));
        if announced > 0 {
            text.push_str(&format!(", {} taken in", count(announced, "stray file")));
        }
        text.push('\n');
        for note in &rebuilt.notes {
            text.push_str(&format!("{}\n", visible(note)));
        }
    }
    let (rows, files) = (count(done.rows, "row"), count(done.files, "file"));
    text.push_str(&format!("checked {rows} and {files}, {} read: ", size(done.bytes_read)));
    text.push_str(&verdict(done.found, done.healed, done.unhealed));
    if done.missing > 0 {
        let missing = count(done.missing, "chunk");
        text.push_str(&format!("{missing} not here: evicted, or never fetched\n"));
    }
    if done.strays > 0 {
        let strays = count(done.strays, "stray file");
        let bytes = size(done.stray_bytes);
        text.push_str(&format!("{strays}, {bytes}, that `stash gc` removes\n"));
    }
    lines(&mut text, &done.findings, &done.damaged);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> GcDone {
        GcDone {
            dry_run: true,
            chunks: 3,
            bytes: 3 << 20,
            waiting_chunks: 2,
            waiting_bytes: 5 << 10,
            strays: 0,
            stray_bytes: 0,
            forgotten_versions: 0,
            forgotten_names: 0,
            retention_waits_seconds: None,
        }
    }

    #[test]
    fn a_collection_says_what_it_frees_and_what_waits() {
        let text = "would free 3.0 MiB in 3 chunks; 2 more (5.0 KiB) wait for their grace\n";
        assert_eq!(collected(&done()), text);
        let done = GcDone { dry_run: false, chunks: 1, waiting_chunks: 0, ..done() };
        assert_eq!(collected(&done), "freed 3.0 MiB in 1 chunk\n");
    }

    #[test]
    fn a_collection_says_what_retention_did_or_why_it_waits() {
        let free = GcDone { waiting_chunks: 0, ..done() };
        let forgets = GcDone { forgotten_versions: 3, forgotten_names: 1, ..free };
        let text = collected(&forgets);
        let line =
            "would forget 3 old versions, 1 removed file as a whole; their chunks come on top\n";
        assert!(text.ends_with(line), "{text}");
        let forgot = GcDone { dry_run: false, forgotten_names: 0, ..forgets };
        assert!(collected(&forgot).ends_with("\nforgot 3 old versions\n"));
        let waits = GcDone { retention_waits_seconds: Some(7_201), ..done() };
        assert!(collected(&waits).ends_with("has run for 3 h more\n"), "{}", collected(&waits));
    }

    #[test]
    fn a_name_in_a_report_cannot_write_to_the_terminal() {
        let damaged = Damaged {
            kind: "chunk".into(),
            id: "ab".into(),
            why: "gone".into(),
            names: vec!["cd".into()],
            keys: Some(vec!["x\u{1b}]0;".into()]),
        };
        assert_eq!(not_healed(&damaged), "NOT HEALED: x\\u{1b}]0;: chunk ab: gone\n");
        let keeper = Damaged { keys: None, ..damaged };
        assert_eq!(not_healed(&keeper), "NOT HEALED: name cd: chunk ab: gone\n");
    }
}
