//! `stash status` and `stash where`.

use stash_api::files::Where;
use stash_api::node::{
    CacheState, Confirmed, Discovery, GcState, RecoveryTextState, Room, ScrubState, Status, Task,
    Traffic,
};
use stash_api::repair::RepairState;
use stash_api::tickets::Ticket;

use super::context::{Context, Finish};
use super::member_lines::member_lines;
use super::upkeep::not_healed;
use crate::cli;
use crate::output::{Side, grouped, kept, short, size, table, visible};
use crate::zone::{local, local_or};
use stash_vault::Class;

pub(super) async fn run(context: &Context, args: &cli::Status) -> anyhow::Result<Finish> {
    let status = context.client()?.get(&Status::route()).await?;
    let with_tasks = context.verbose > 0;
    context.output.result(&status, |status| {
        let columns = context.output.columns();
        let text = context.output.marked(describe(status, columns));
        match with_tasks {
            true => text + "\n" + &tasks(&status.tasks),
            false => text,
        }
    })?;
    Ok(if args.check { verdict(&status) } else { Finish::Done })
}

/// Damage comes before copies that are too few: what is damaged here is not made good by waiting.
fn verdict(status: &Status) -> Finish {
    match status.safety.as_ref().map(|safety| safety.verdict.as_str()) {
        _ if status.is_damaged() => Finish::With(Class::Integrity),
        Some("safe") => Finish::Done,
        _ => Finish::With(Class::Short),
    }
}

/// The background tasks of the node, a line a task.
fn tasks(tasks: &[Task]) -> String {
    let head = ["task", "member", "state", "last run", "next run"].map(str::to_owned).to_vec();
    let row = |task: &Task| {
        vec![
            task.name.clone(),
            task.member.as_deref().map_or("-", short).to_owned(),
            task.state.clone(),
            local_or(task.last_run.as_deref(), "not yet"),
            local_or(task.next_run.as_deref(), "when called"),
        ]
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(tasks.iter().map(row)).collect();
    table(&[Side::Left; 5], &rows)
}

/// Up to where a node counts records with missing copies, and those that lack chunks.
const COUNTED: u64 = 10_000;

/// A number that a node counts only so far.
fn counted(count: u64) -> String {
    if count >= COUNTED { format!("{count} or more") } else { count.to_string() }
}

fn files(status: &Status) -> String {
    match status.files {
        Some(files) => files.to_string(),
        None if status.role == "keeper" => "unknown to a keeper".to_owned(),
        None => "not known yet: the index of names is catching up".to_owned(),
    }
}

fn describe(status: &Status, columns: Option<usize>) -> String {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let listen: Vec<String> = status.listen.iter().map(ToString::to_string).collect();
    let synchronised = if status.synchronised { "" } else { ", not yet synchronised" };
    let mut rows = vec![
        row("node", status.node_id.clone()),
        row("stash", stash(status)),
        row("name", visible(status.name.as_deref().unwrap_or("-"))),
        row("role", role(status)),
        row("listen", listen.join(", ")),
        row("members", format!("{}, {} connected{synchronised}", status.members, status.connected)),
        row("confirmed", confirmed(status.confirmed.as_ref())),
        row("files", files(status)),
        row("records", status.records.to_string()),
        row("chunks", format!("{}, {}", status.chunks, size(status.bytes))),
        row("keep", status.cache.as_ref().map_or_else(|| "all".to_owned(), cache)),
        row("missing copies", counted(status.missing_copies)),
        row("incomplete", counted(status.incomplete)),
    ];
    if status.refused > 0 {
        rows.push(row("no room for", format!("{} records of others", grouped(status.refused))));
    }
    rows.extend(status.full.iter().map(|full| row("FULL", visible(full))));
    if status.quarantined > 0 {
        rows.push(row("quarantined", status.quarantined.to_string()));
    }
    if let Some(paper) = &status.recovery_text {
        rows.push(row("recovery text", recovery_text(paper)));
    }
    rows.extend(status.discovery.iter().map(|found| row("discovery", discovery(found))));
    rows.push(row("traffic", traffic(&status.traffic)));
    rows.push(row("room", room(&status.store)));
    rows.push(row("gc", gc(&status.gc)));
    rows.push(row("scrub", scrub(&status.scrub)));
    rows.push(row("copies", copies(&status.repair)));
    if let Some(why) = &status.away {
        rows.push(row("AWAY", visible(why)));
    }
    rows.extend(status.tickets.iter().map(|one| row("ticket", ticket(one))));
    if let Some(why) = &status.read_only {
        rows.push(row("READ-ONLY", visible(why)));
    }
    rows.extend(status.alarms.iter().map(|alarm| row("ALARM", visible(alarm))));
    let first = status.safety.iter().map(|safety| visible(&safety.sentence) + "\n\n");
    let mut text: String = first.collect();
    if status.peers.len() > 1 {
        text.push_str(&member_lines(&status.peers, columns));
        text.push('\n');
    }
    text.push_str(&table(&[Side::Left, Side::Left], &rows));
    status.damaged.iter().map(not_healed).fold(text, |text, line| text + &line)
}

/// What a node that is no copy keeps.
fn cache(cache: &CacheState) -> String {
    let stuck = cache.stuck.as_ref().map(|why| format!("; CANNOT DROP the rest: {}", visible(why)));
    format!("{}, no copy{}", kept(cache.keep), stuck.unwrap_or_default())
}

/// The stash, with what the user calls it.
fn stash(status: &Status) -> String {
    let label = status.label.as_ref().map(|label| format!(" ({})", visible(label)));
    status.stash_id.clone() + &label.unwrap_or_default()
}

fn role(status: &Status) -> String {
    match status.visits {
        true => "reads in the name of the root; is no member, and signs nothing".to_owned(),
        false => status.role.clone(),
    }
}

/// From how many days on the age of what the founder confirmed is pointed out.
pub(super) const OLD_DAYS: u64 = 30;

/// The age of the list of members. It grows old by itself where only one member is met that holds news
/// back, and where the founder is away.
fn confirmed(told: Option<&Confirmed>) -> String {
    let Some(told) = told else {
        return "members never confirmed by the founder".to_owned();
    };
    let ago = match told.days {
        0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    };
    let missing = match told.missing {
        0 => String::new(),
        missing => format!("; {missing} LATER CHANGES are known to exist and are not here"),
    };
    let old = match told.days >= OLD_DAYS {
        true => ": a member that was removed since may be one here; connect others",
        false => "",
    };
    format!("members confirmed {ago}{missing}{old}")
}

fn recovery_text(paper: &RecoveryTextState) -> String {
    match paper {
        RecoveryTextState { printed: false, .. } => {
            "not printed since this node keeps count: stash key recovery".to_owned()
        }
        RecoveryTextState { found: 0, .. } => {
            "FINDS NOBODY any more where it says: print it again, stash key recovery".to_owned()
        }
        RecoveryTextState { named, found, .. } => {
            format!("finds {found} of the {named} members that it names")
        }
    }
}

fn discovery(discovery: &Discovery) -> String {
    match (discovery.state.as_str(), discovery.links, &discovery.why) {
        ("on", 0, _) => "on, and there is no network".to_owned(),
        ("on", 1, _) => "on, on one link of the local network".to_owned(),
        ("on", links, _) => format!("on, on {links} links of local networks"),
        ("loopback", ..) => "off: this node listens on its own machine alone".to_owned(),
        (_, _, Some(why)) => format!("FAILS: {}; it is tried again", visible(why)),
        (state, ..) => visible(state),
    }
}

fn traffic(traffic: &Traffic) -> String {
    let limit = |limit: Option<u64>| {
        limit.map(|limit| format!(" (at most {}/s)", size(limit))).unwrap_or_default()
    };
    let (sent, received) = (size(traffic.sent), size(traffic.received));
    let (up, down) = (limit(traffic.up), limit(traffic.down));
    let background = traffic
        .background_down
        .map(|limit| format!("; in the background at most {}/s", size(limit)));
    format!("{sent} sent{up}, {received} received{down}{}", background.unwrap_or_default())
}

fn ticket(ticket: &Ticket) -> String {
    let id = short(&ticket.id);
    let used_by = ticket.used_by.as_deref().map(short);
    let end = match (used_by, &ticket.used_by_name) {
        (Some(node), Some(name)) => format!("used by {} ({node})", visible(name)),
        (Some(node), None) => format!("used by {node}"),
        (None, _) if ticket.state == "open" => format!("open until {}", local(&ticket.expires)),
        (None, _) => format!("expired unused {}", local(&ticket.expires)),
    };
    format!("{id} ({}) {end}", ticket.role)
}

fn room(room: &Room) -> String {
    let mut text = format!("{} used", size(room.used));
    if let Some(hard) = room.hard {
        text.push_str(&format!(" of {}", size(hard)));
    }
    if let Some(free) = room.disk_free {
        text.push_str(&format!(", {} free on the disk", size(free)));
    }
    match &room.why {
        Some(why) => format!("{text}: {why}"),
        None => text,
    }
}

fn gc(gc: &GcState) -> String {
    let last = match &gc.last {
        _ if gc.running => "running now".to_owned(),
        Some(last) => format!("last {}, {} freed", local(last), size(gc.freed)),
        None => "not yet".to_owned(),
    };
    format!(
        "{last}; {} to collect, {} more after their grace",
        size(gc.collectable),
        size(gc.waiting)
    )
}

fn copies(repair: &RepairState) -> String {
    let (Some(last), Some([none, one, two, more])) = (&repair.last, repair.copies) else {
        return if repair.running { "being counted" } else { "not counted yet" }.to_owned();
    };
    let none = if none > 0 { format!(", {none} with NONE") } else { String::new() };
    format!(
        "{more} records with three or more, {two} with two, {one} with one{none}; {}",
        local(last)
    )
}

fn scrub(scrub: &ScrubState) -> String {
    let far = format!("{} of {} read", size(scrub.done_bytes), size(scrub.total_bytes));
    let last = scrub.last.as_ref().map(|last| format!(", last pass ended {}", local(last)));
    let found = match (scrub.found, scrub.unhealed) {
        (0, 0) => String::new(),
        (found, 0) => format!("; {found} found damaged, {} healed", scrub.healed),
        (found, unhealed) => {
            format!("; {found} found damaged, {} healed, {unhealed} NOT HEALED", scrub.healed)
        }
    };
    format!("pass {}: {far}{}{found}", scrub.passes + 1, last.unwrap_or_default())
}

pub(super) async fn locate(context: &Context, place: cli::Where) -> anyhow::Result<Finish> {
    let found = context.client()?.get(&Where::route(&place.key)).await?;
    context.output.result(&found, holders)?;
    Ok(Finish::Done)
}

fn holders(found: &Where) -> String {
    let rows: Vec<Vec<String>> = found
        .nodes
        .iter()
        .map(|node| {
            let held = match node.chunks {
                _ if found.inline => "in the record".to_owned(),
                Some(held) => format!("{held}/{}", found.chunks),
                None => "?".to_owned(),
            };
            vec![
                short(&node.node_id).to_owned(),
                visible(node.name.as_deref().unwrap_or("-")),
                node.role.clone(),
                held,
                node.state.clone(),
            ]
        })
        .collect();
    table(&[Side::Left, Side::Left, Side::Left, Side::Right, Side::Left], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stash_api::files::Holder;

    #[test]
    fn a_ticket_says_who_used_it() {
        let used = Ticket {
            id: "00112233445566778899aabbccddeeff".into(),
            role: "keeper".into(),
            state: "used".into(),
            made: None,
            expires: "2026-11-30T00:00:00Z".into(),
            used_by: Some("fd28a6950f0123456789".into()),
            used_by_name: Some("attic".into()),
            used_at: None,
        };
        assert_eq!(ticket(&used), "0011223344 (keeper) used by attic (fd28a6950f)");
        let open = Ticket { used_by: None, used_by_name: None, state: "open".into(), ..used };
        assert_eq!(
            ticket(&open),
            format!("0011223344 (keeper) open until {}", local("2026-11-30T00:00:00Z"))
        );
    }

    #[test]
    fn the_age_of_what_was_confirmed_is_shown_and_pointed_out_when_it_is_old() {
        let told = |days, missing| {
            let at = "2026-11-20T00:00:00Z".to_owned();
            confirmed(Some(&Confirmed { at, days, missing }))
        };
        assert_eq!(told(0, 0), "members confirmed today");
        assert_eq!(told(9, 0), "members confirmed 9 days ago");
        assert!(!told(29, 0).contains("removed"));
        assert!(
            told(30, 0).starts_with("members confirmed 30 days ago: a member that was removed")
        );
        assert!(told(1, 2).contains("yesterday; 2 LATER CHANGES"));
        assert_eq!(confirmed(None), "members never confirmed by the founder");
    }

    #[test]
    fn a_recovery_text_that_finds_nobody_is_pointed_out() {
        let text =
            |printed, named, found| recovery_text(&RecoveryTextState { printed, named, found });
        assert!(text(false, 0, 0).starts_with("not printed"));
        assert!(text(true, 3, 0).starts_with("FINDS NOBODY"));
        assert!(text(true, 0, 0).starts_with("FINDS NOBODY"), "it names this node alone");
        assert_eq!(text(true, 3, 2), "finds 2 of the 3 members that it names");
    }

    #[test]
    fn a_name_that_another_member_chose_cannot_write_to_the_terminal() {
        let node = Holder {
            node_id: "0123456789abcdef".into(),
            name: Some("x\u{1b}]0;".into()),
            role: "keeper".into(),
            chunks: Some(3),
            state: "partial".into(),
        };
        let found = Where { key: "k".into(), chunks: 4, inline: false, nodes: vec![node] };
        assert_eq!(holders(&found), "0123456789  x\\u{1b}]0;  keeper  3/4  partial\n");
    }
}
