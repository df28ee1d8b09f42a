//! Whether the stash is safe, in a sentence.

use stash_api::node::{MemberSafety, Safety};
use stash_vault::NodeId;
use stash_vault::server::MemberView;
use stash_vault::server::housekeeping::{self, Has, RepairStatus, Stated, Verdict};

use crate::daemon::Served;
use crate::output::grouped;

/// A count of copies says something of them for so many seconds.
const FRESH: u64 = 24 * 60 * 60;

/// Members whose reasons stand in the sentence; the others are counted.
const NAMED: usize = 3;

/// The sentence of a node that is no member any more.
const REMOVED: &str = "NO MEMBER ANY MORE: this node was removed from the stash; nobody takes what is put here, or sends anything. \
    Get what only this node has (`stash get KEY`) before you stop it: it does not start again. To come back, join with a new ticket \
    and another data directory";

/// Another member: its name, what it has, what it said last.
type Member = (String, Has, Option<Stated>);

/// The verdict on the stash, with the names of members.
pub(super) fn safety(
    served: &Served,
    judged: &housekeeping::Safety,
    repair: &RepairStatus,
    now: u64,
) -> Safety {
    if served.node.engine.is_removed() {
        let (verdict, sentence) = ("removed".to_owned(), REMOVED.to_owned());
        return Safety { verdict, sentence, needed: judged.needed, members: Vec::new() };
    }
    let views = served.node.engine.members();
    let name = |node: &NodeId| {
        let view = views.iter().find(|member: &&MemberView| member.node == *node);
        view.and_then(|view| served.display_name(view))
    };
    let named = |(node, has, stated): &(NodeId, Has, Option<Stated>)| {
        (name(node).unwrap_or_else(|| node.short().to_string()), *has, *stated)
    };
    let members: Vec<Member> = judged.members.iter().map(named).collect();
    let (verdict, sentence) = say(judged, &members, counted(judged, repair, now));
    let member = |(node, has, stated): &(NodeId, Has, Option<Stated>)| MemberSafety {
        node_id: node.to_string(),
        name: name(node),
        has: word(*has).to_owned(),
        whole: stated.map(|stated| stated.figures.whole.count),
        age: stated.map(|stated| stated.age),
    };
    let members = judged.members.iter().map(member).collect();
    Safety { verdict: verdict.to_owned(), sentence, needed: judged.needed, members }
}

fn word(has: Has) -> &'static str {
    match has {
        Has::All => "all",
        Has::Some { .. } => "some",
        Has::Unsettled => "unsettled",
        Has::Old => "old",
        Has::Unsaid => "unsaid",
        Has::InDoubt => "in_doubt",
        Has::Cache => "cache",
    }
}

/// Seconds since copies were counted, if every record had enough of them then, by the word of every member, and none came into
/// doubt since. It tells more where members gave bytes up, each others.
fn counted(judged: &housekeeping::Safety, repair: &RepairStatus, now: u64) -> Option<u64> {
    let (copies, ended) = (repair.last.as_ref()?, repair.ended_at?);
    let age = now.saturating_sub(ended);
    let fewer = copies.copies.get(..usize::try_from(judged.needed).ok()?)?;
    let all_said = copies.members.values().all(|member| member.asked && member.counts);
    let is_enough = fewer.iter().all(|records| *records == 0) && judged.needed > 0;
    let none_in_doubt = judged.members.iter().all(|(_, has, _)| *has != Has::InDoubt);
    (is_enough && all_said && none_in_doubt && age <= FRESH && copies.records == judged.records)
        .then_some(age)
}

fn say(
    judged: &housekeeping::Safety,
    members: &[Member],
    counted: Option<u64>,
) -> (&'static str, String) {
    let whole: Vec<&Member> = members.iter().filter(|(_, has, _)| *has == Has::All).collect();
    match (judged.verdict, counted) {
        (Verdict::Alone, _) => (
            "alone",
            "NO BACKUP YET: no other member keeps copies; `stash invite --role keeper` makes a ticket for one".to_owned(),
        ),
        (Verdict::Safe, _) => {
            let names: Vec<&str> = whole.iter().map(|(name, _, _)| name.as_str()).collect();
            let oldest = whole.iter().filter_map(|(_, _, stated)| stated.map(|one| one.age)).max();
            let others = if whole.len() == 1 { "other" } else { "others" };
            let (count, names) = (whole.len(), list(&names));
            let ago = ago(oldest.unwrap_or(0));
            (
                "safe",
                format!("SAFE: every version is whole on {count} {others} ({names}), said {ago}"),
            )
        }
        (_, Some(age)) => {
            let (needed, ago) = (judged.needed, ago(age));
            ("safe", format!("SAFE: every version has {needed} copies or more, counted {ago}"))
        }
        (verdict, None) => {
            let is_moving = verdict == Verdict::OnItsWay;
            let (word, title) =
                if is_moving { ("on_its_way", "ON ITS WAY") } else { ("not_safe", "NOT SAFE") };
            let advice = if is_moving { String::new() } else { advice(members) };
            let on = match (whole.len(), judged.needed) {
                (whole, needed) if needed > 1 => format!("whole on {whole} of {needed} others; "),
                _ => String::new(),
            };
            let reasons = reasons(judged.records, members);
            (word, format!("{title}: {on}{reasons}{advice}"))
        }
    }
}

/// What to do where it is not safe.
fn advice(members: &[Member]) -> String {
    match members.iter().find(|(_, has, _)| *has == Has::InDoubt) {
        Some((name, _, _)) => format!(
            "; look after the disk of {name}: `stash check` there. If it stays so, invite another member, and `stash peer remove {name}`"
        ),
        None => "; connect the members that are away, or see `stash repair --dry-run`".to_owned(),
    }
}

fn reasons(records: u64, members: &[Member]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for (name, has, stated) in members {
        let age = stated.map_or(0, |stated| stated.age);
        lines.push(match has {
            Has::All => continue,
            Has::Cache => format!("{name} is a cache, and no copy"),
            Has::Some { whole, .. } => {
                let (whole, records) = (grouped(*whole), grouped(records));
                format!("{name} has {whole} of {records} records whole, said {}", ago(age))
            }
            Has::Unsettled => format!("{name} is finding out what it has"),
            Has::Old => format!("{name} said what it has {}", ago(age)),
            Has::Unsaid => format!("{name} never said what it has"),
            Has::InDoubt => {
                format!("{name} did not show what it says it has, and counts as no copy")
            }
        });
    }
    let more = lines.len().saturating_sub(NAMED);
    lines.truncate(NAMED);
    let text = lines.join(", ");
    if more > 0 { format!("{text}, and {more} more") } else { text }
}

fn list(names: &[&str]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let text = names[..names.len() - more].join(", ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}

fn ago(seconds: u64) -> String {
    let (number, unit) = match seconds {
        0..120 => return "just now".to_owned(),
        120..7_200 => (seconds / 60, "minutes"),
        7_200..172_800 => (seconds / 3_600, "hours"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{number} {unit} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::BTreeMap;

    use stash_vault::server::housekeeping::{Copies, MemberCopies};

    fn judged(verdict: Verdict, needed: u64) -> housekeeping::Safety {
        housekeeping::Safety { verdict, needed, members: Vec::new(), records: 3_844 }
    }

    fn member(name: &str, has: Has, age: u64) -> Member {
        let figures = stash_vault::crypto::member::Figures::default();
        (name.to_owned(), has, Some(Stated { figures, age, grew: None, per_hour: None }))
    }

    #[test]
    fn the_sentence_says_who_has_what_and_since_when() {
        let (nas, friend) = (member("nas", Has::All, 30), member("friend", Has::All, 3_700));
        let (word, text) = say(&judged(Verdict::Safe, 2), &[nas.clone(), friend], None);
        assert_eq!(word, "safe");
        assert_eq!(
            text,
            "SAFE: every version is whole on 2 others (nas, friend), said 61 minutes ago"
        );
        let some = member("friend", Has::Some { whole: 1_021, is_moving: false }, 240);
        let (word, text) = say(&judged(Verdict::NotSafe, 2), &[nas, some], None);
        assert_eq!(word, "not_safe");
        assert_eq!(
            text,
            "NOT SAFE: whole on 1 of 2 others; friend has 1,021 of 3,844 records whole, said 4 minutes ago; \
             connect the members that are away, or see `stash repair --dry-run`"
        );
        let old: Vec<Member> =
            ["a", "b", "c", "d"].map(|name| member(name, Has::Old, 864_000)).to_vec();
        let (_, text) = say(&judged(Verdict::NotSafe, 1), &old, None);
        assert!(text.starts_with("NOT SAFE: a said what it has 10 days ago, "), "{text}");
        assert!(text.contains(", and 1 more;"), "{text}");
        let (word, text) = say(&judged(Verdict::NotSafe, 2), &old, Some(7_200));
        assert_eq!(word, "safe");
        assert_eq!(text, "SAFE: every version has 2 copies or more, counted 2 hours ago");
        assert_eq!(say(&judged(Verdict::Alone, 0), &[], None).0, "alone");
        let doubted = [member("nas", Has::All, 30), member("friend", Has::InDoubt, 30)];
        let (word, text) = say(&judged(Verdict::NotSafe, 2), &doubted, None);
        assert_eq!(word, "not_safe");
        assert_eq!(
            text,
            "NOT SAFE: whole on 1 of 2 others; friend did not show what it says it has, and counts as no copy; \
             look after the disk of friend: `stash check` there. If it stays so, invite another member, and \
             `stash peer remove friend`"
        );
    }

    #[test]
    fn a_count_says_that_all_is_well_only_if_all_were_asked_and_it_is_of_today() {
        let asked = MemberCopies { asked: true, counts: true, ..MemberCopies::default() };
        let node = NodeId::from_bytes([1; 32]);
        let copies = Copies {
            records: 3_844,
            copies: [0, 0, 44, 3_800],
            members: BTreeMap::from([(node, asked.clone())]),
            ..Copies::default()
        };
        let status = |copies: Copies| RepairStatus {
            ended_at: Some(1_000),
            last: Some(copies),
            running: false,
        };
        let judged = judged(Verdict::NotSafe, 2);
        assert_eq!(counted(&judged, &status(copies.clone()), 1_500), Some(500));
        let doubted = vec![(node, Has::InDoubt, None)];
        let doubted = housekeeping::Safety { members: doubted, ..judged.clone() };
        assert_eq!(counted(&doubted, &status(copies.clone()), 1_500), None, "one is in doubt now");
        assert_eq!(counted(&judged, &status(copies.clone()), 1_001 + FRESH), None);
        let one = Copies { copies: [0, 1, 43, 3_800], ..copies.clone() };
        assert_eq!(counted(&judged, &status(one), 1_500), None, "one has a single copy");
        let more = Copies { records: 3_843, ..copies.clone() };
        assert_eq!(counted(&judged, &status(more), 1_500), None, "one has come since");
        let believed = MemberCopies { asked: false, ..asked };
        let believed = Copies { members: BTreeMap::from([(node, believed)]), ..copies };
        assert_eq!(counted(&judged, &status(believed), 1_500), None);
    }
}
