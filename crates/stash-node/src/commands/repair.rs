//! `stash repair`.

use stash_api::repair::{RepairDone, RepairMember, RepairRequest};

use super::context::{Context, Finish};
use crate::cli::Repair;
use crate::error::Class;
use crate::output::{count, short, visible};
use crate::progress::Bar;

pub(super) async fn run(context: &Context, repair: Repair) -> anyhow::Result<Finish> {
    let request = RepairRequest { dry_run: repair.dry_run };
    let mut bar = Bar::new(context.output.bars(), "repair");
    let done = context.client()?.operate(&request, |far| bar.show(far)).await?;
    drop(bar);
    context.output.done(&done, repaired)?;
    let is_short = |member: &RepairMember| lacking(member) + member.unknown > 0;
    let short = done.left > 0 || done.members.iter().any(is_short);
    Ok(if short { Finish::With(Class::Short) } else { Finish::Done })
}

/// Records of which a member that should have a copy has none.
fn lacking(member: &RepairMember) -> u64 {
    match member.counts {
        true => member.incomplete + member.absent,
        false => member.whole + member.incomplete + member.absent,
    }
}

fn repaired(done: &RepairDone) -> String {
    let [none, one, two, more] = done.copies;
    let mut text = format!(
        "{}: {more} with three copies or more, {two} with two, {one} with one",
        count(done.records, "record")
    );
    if none > 0 {
        text.push_str(&format!(", {none} with NO WHOLE COPY that counts"));
    }
    text.push('\n');
    let missing = done.incomplete + done.brought_back;
    if missing > 0 {
        let back = match done.brought_back {
            0 => String::new(),
            back => format!(", {back} of them evicted before, with too few copies elsewhere"),
        };
        text.push_str(&match done.dry_run {
            true => format!("would bring the chunks of {}{back}\n", count(missing, "record")),
            false => format!(
                "brought the chunks of {} of {}{back}\n",
                done.completed,
                count(missing, "record")
            ),
        });
    }
    if done.left > 0 && !done.dry_run {
        text.push_str(&format!("{} still lack chunks that no connected member gave\n", done.left));
    }
    let name = |member: &RepairMember| {
        member.name.as_deref().map_or_else(|| short(&member.node_id).to_owned(), visible)
    };
    done.members.iter().filter(|member| lacking(member) > 0).for_each(|member| {
        let name = name(member);
        let records = count(lacking(member), "record");
        text.push_str(&match (member.counts, member.asked) {
            (true, true) => format!("{name} lacks {records}\n"),
            (true, false) => format!("{name} lacked {records} when it was last here\n"),
            (false, true) => format!("{name} is IN DOUBT, and counts for no copy: {records}\n"),
            (false, false) => format!("{name} is away for too long to count: {records}\n"),
        });
    });
    let doubted = done.members.iter().filter(|member| !member.counts && member.asked);
    doubted.filter(|member| lacking(member) == 0).for_each(|member| {
        text.push_str(&format!("{} is IN DOUBT, and counts for no copy\n", name(member)));
    });
    done.members.iter().filter(|member| member.unknown > 0).for_each(|member| {
        let (name, records) = (name(member), count(member.unknown, "record"));
        text.push_str(&match member.asked {
            true => format!("{name} does not know yet whether it has {records}\n"),
            false => format!("{name} has not said whether it has {records}\n"),
        });
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_says_who_has_what_and_what_came() {
        let member = |counts, asked| RepairMember {
            node_id: "ab".repeat(32),
            name: None,
            asked,
            counts,
            whole: 7,
            incomplete: 1,
            absent: 1,
            given_up: 1,
            unknown: u64::from(!asked) * 3,
        };
        let done = RepairDone {
            records: 10,
            copies: [0, 1, 2, 7],
            below: 2,
            incomplete: 2,
            brought_back: 1,
            completed: 2,
            left: 1,
            members: vec![member(true, true), member(false, false)],
            ..RepairDone::default()
        };
        assert_eq!(
            repaired(&done),
            "10 records: 7 with three copies or more, 2 with two, 1 with one\n\
             brought the chunks of 2 of 3 records, 1 of them evicted before, with too few copies \
             elsewhere\n\
             1 still lack chunks that no connected member gave\n\
             ababababab lacks 2 records\n\
             ababababab is away for too long to count: 9 records\n\
             ababababab has not said whether it has 3 records\n"
        );
    }
}
