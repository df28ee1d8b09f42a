//! `stash status` and `stash where`.

use super::put::short;
use super::upkeep::not_healed;
use super::{Context, Finish};
use crate::body::{self, GcState, RepairState, Room, ScrubState, Status, TicketState, Traffic};
use crate::cli;
use crate::client::key_path;
use crate::output::{Side, grouped, size, table, visible};

pub(super) async fn run(context: &Context) -> anyhow::Result<Finish> {
    let status: Status = context.client()?.get("/v1/status").await?;
    context.output.result(&status, describe)?;
    Ok(Finish::Done)
}

/// Up to where a node counts records with missing copies, and those that lack chunks.
const COUNTED: u64 = 10_000;

/// A number that a node counts only so far.
fn counted(count: u64) -> String {
    if count >= COUNTED { format!("{count} or more") } else { count.to_string() }
}

fn describe(status: &Status) -> String {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let listen: Vec<String> = status.listen.iter().map(ToString::to_string).collect();
    let synchronised = if status.synchronised { "" } else { ", not yet synchronised" };
    let mut rows = vec![
        row("node", status.node_id.clone()),
        row("stash", status.stash_id.clone()),
        row("name", visible(status.name.as_deref().unwrap_or("-"))),
        row("role", status.role.clone()),
        row("listen", listen.join(", ")),
        row("members", format!("{}, {} connected{synchronised}", status.members, status.connected)),
        row("files", status.files.map_or("unknown to a keeper".to_owned(), |n| n.to_string())),
        row("records", status.records.to_string()),
        row("chunks", format!("{}, {}", status.chunks, size(status.bytes))),
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
    let text = table(&[Side::Left, Side::Left], &rows);
    status.damaged.iter().map(not_healed).fold(text, |text, line| text + &line)
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

fn ticket(ticket: &TicketState) -> String {
    let id = short(&ticket.id);
    let used_by = ticket.used_by.as_deref().map(short);
    let end = match (used_by, &ticket.used_by_name) {
        (Some(node), Some(name)) => format!("used by {} ({node})", visible(name)),
        (Some(node), None) => format!("used by {node}"),
        (None, _) if ticket.state == "open" => format!("open until {}", ticket.expires),
        (None, _) => format!("expired unused {}", ticket.expires),
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
        Some(last) => format!("last {last}, {} freed", size(gc.freed)),
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
    format!("{more} records with three or more, {two} with two, {one} with one{none}; {last}")
}

fn scrub(scrub: &ScrubState) -> String {
    let far = format!("{} of {} read", size(scrub.done_bytes), size(scrub.total_bytes));
    let last = scrub.last.as_ref().map(|last| format!(", last pass ended {last}"));
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
    let path = key_path("/v1/where", &place.key);
    let found: body::Where = context.client()?.get(&path).await?;
    context.output.result(&found, holders)?;
    Ok(Finish::Done)
}

fn holders(found: &body::Where) -> String {
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
    use crate::body::Holder;

    #[test]
    fn a_ticket_says_who_used_it() {
        let used = TicketState {
            id: "00112233445566778899aabbccddeeff".into(),
            role: "keeper".into(),
            expires: "2026-11-30T00:00:00Z".into(),
            state: "used".into(),
            used_by: Some("fd28a6950f0123456789".into()),
            used_by_name: Some("attic".into()),
        };
        assert_eq!(ticket(&used), "0011223344 (keeper) used by attic (fd28a6950f)");
        let open = TicketState { used_by: None, used_by_name: None, state: "open".into(), ..used };
        assert_eq!(ticket(&open), "0011223344 (keeper) open until 2026-11-30T00:00:00Z");
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
        let found = body::Where { key: "k".into(), chunks: 4, inline: false, nodes: vec![node] };
        assert_eq!(holders(&found), "0123456789  x\\u{1b}]0;  keeper  3/4  partial\n");
    }
}
