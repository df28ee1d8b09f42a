//! Whether the stash is safe: whether every version has copies enough elsewhere, by what members said of themselves.

use stash_crypto::NodeId;
use stash_crypto::member::RecordSum;

use crate::replication::statements::Stated;

/// What a member said counts for so many seconds.
const FRESH: u64 = 24 * 60 * 60;

/// Copies are on their way if more of them were said to have come within so many seconds.
const MOVING: u64 = 10 * 60;

/// What is known of the copies at another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Has {
    /// It has every version whole that this node knows of.
    All,
    /// It has so many records whole, of those that it holds.
    Some {
        /// Records that are whole there.
        whole: u64,
        /// True if more came within ten minutes.
        is_moving: bool,
    },
    /// It does not know at the moment which of its records are whole.
    Unsettled,
    /// What it said is older than a day.
    Old,
    /// It never said what it has: it was never met, or its program does not say.
    Unsaid,
    /// It did not show what it said it had.
    InDoubt,
    /// It keeps less than all.
    Cache,
}

/// Whether every version has copies enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no other member that should have copies.
    Alone,
    /// Every version is whole on enough others.
    Safe,
    /// It is not, and copies have come within ten minutes.
    OnItsWay,
    /// It is not.
    NotSafe,
}

/// The safety of the stash, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Safety {
    /// The answer.
    pub verdict: Verdict,
    /// On how many others every version should be whole.
    pub needed: u64,
    /// The other members that count, and what they have.
    pub members: Vec<(NodeId, Has, Option<Stated>)>,
    /// Records that this node holds.
    pub records: u64,
}

/// Judges. `held` is what this node holds; of the others each with what it said and whether that counts.
pub(crate) fn judge(
    held: &RecordSum,
    copies: u64,
    others: Vec<(NodeId, Option<Stated>, bool)>,
) -> Safety {
    let one = |(node, stated, counts): (NodeId, Option<Stated>, bool)| {
        (node, copies_of(held, stated.as_ref(), counts), stated)
    };
    let members: Vec<_> = others.into_iter().map(one).collect();
    let keepers = members.iter().filter(|(_, copies, _)| *copies != Has::Cache).count() as u64;
    let whole = members.iter().filter(|(_, copies, _)| *copies == Has::All).count() as u64;
    let moving =
        members.iter().any(|(_, copies, _)| matches!(copies, Has::Some { is_moving: true, .. }));
    let needed = copies.min(keepers);
    let verdict = match () {
        () if keepers == 0 => Verdict::Alone,
        () if whole >= needed.max(1) => Verdict::Safe,
        () if moving => Verdict::OnItsWay,
        () => Verdict::NotSafe,
    };
    Safety { verdict, needed, members, records: held.count }
}

fn copies_of(held: &RecordSum, stated: Option<&Stated>, counts: bool) -> Has {
    let Some(Stated { figures, age, grew, .. }) = stated else {
        return if counts { Has::Unsaid } else { Has::InDoubt };
    };
    match () {
        () if figures.keep < u64::MAX => Has::Cache,
        () if !counts => Has::InDoubt,
        () if *age > FRESH => Has::Old,
        () if !figures.settled => Has::Unsettled,
        () if figures.whole == *held => Has::All,
        () => {
            let is_moving = grew.is_some_and(|grew| grew <= MOVING);
            Has::Some { whole: figures.whole.count, is_moving }
        }
    }
}

/// Per cent of what this node holds that is whole at a member, and the seconds until all of it is, if more comes: by
/// its own word. Less than all is never a hundred.
pub(crate) fn part(held: &RecordSum, stated: &Stated) -> (Option<u64>, Option<u64>) {
    let whole = stated.figures.whole;
    if !stated.figures.settled {
        return (None, None);
    }
    if whole == *held {
        return (Some(100), None);
    }
    let percent = whole.count.saturating_mul(100).checked_div(held.count).unwrap_or(0).min(99);
    let left = held.count.saturating_sub(whole.count).saturating_mul(3_600);
    let to_go = stated.per_hour.and_then(|per_hour| left.checked_div(per_hour));
    (Some(percent), to_go.filter(|_| left > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    use stash_crypto::member::Figures;

    const HELD: RecordSum = RecordSum { count: 9, sum: [7; 32] };

    fn stated(whole: RecordSum, age: u64) -> Stated {
        let figures =
            Figures { held: HELD, whole, settled: true, keep: u64::MAX, ..Figures::default() };
        Stated { figures, age, grew: None, per_hour: None }
    }

    #[test]
    fn less_than_all_is_never_a_hundred_per_cent() {
        let of = |held: u64, count: u64, per_hour| {
            let held = RecordSum { count: held, sum: [7; 32] };
            let whole = RecordSum { count, sum: [8; 32] };
            part(&held, &Stated { per_hour, ..stated(whole, 60) })
        };
        assert_eq!(part(&HELD, &stated(HELD, 60)), (Some(100), None));
        assert_eq!(of(3_844, 1_021, Some(3_600)), (Some(26), Some(2_823)));
        assert_eq!(of(100_000, 99_999, None), (Some(99), None));
        assert_eq!(of(9, 9, Some(1)), (Some(99), None), "as many, but others");
        assert_eq!(of(9, 20, Some(1)), (Some(99), None), "more, but others");
        assert_eq!(of(0, 1, Some(1)), (Some(0), None));
        let mut unsettled = stated(HELD, 60);
        unsettled.figures.settled = false;
        assert_eq!(part(&HELD, &unsettled), (None, None));
    }

    fn verdict(copies: u64, others: &[(Option<Stated>, bool)]) -> Verdict {
        let node = |at: usize| NodeId::from_bytes([u8::try_from(at).unwrap(); 32]);
        let others = others.iter().enumerate();
        let others = others.map(|(at, (stated, counts))| (node(at), *stated, *counts));
        judge(&HELD, copies, others.collect()).verdict
    }

    #[test]
    fn safe_is_what_enough_others_said_today_of_every_version() {
        let all = (Some(stated(HELD, 60)), true);
        let fewer = RecordSum { count: 8, ..HELD };
        let some = (Some(stated(fewer, 60)), true);
        assert_eq!(verdict(2, &[]), Verdict::Alone);
        assert_eq!(verdict(2, &[all]), Verdict::Safe, "there is only one other");
        assert_eq!(verdict(2, &[all, some]), Verdict::NotSafe);
        assert_eq!(verdict(2, &[all, some, all]), Verdict::Safe);
        assert_eq!(verdict(1, &[all, some]), Verdict::Safe);
        assert_eq!(verdict(1, &[(None, true)]), Verdict::NotSafe);
        let other = RecordSum { sum: [8; 32], ..HELD };
        assert_eq!(verdict(1, &[(Some(stated(other, 60)), true)]), Verdict::NotSafe, "as many");
        assert_eq!(verdict(1, &[(Some(stated(HELD, 60)), false)]), Verdict::NotSafe, "in doubt");
        assert_eq!(verdict(1, &[(None, false)]), Verdict::NotSafe, "in doubt, and silent");
        assert_eq!(verdict(1, &[(Some(stated(HELD, FRESH + 1)), true)]), Verdict::NotSafe, "old");
        let mut unsettled = stated(HELD, 60);
        unsettled.figures.settled = false;
        assert_eq!(verdict(1, &[(Some(unsettled), true)]), Verdict::NotSafe, "it does not know");
        let mut cache = stated(HELD, 60);
        cache.figures.keep = 1 << 30;
        assert_eq!(verdict(1, &[(Some(cache), true)]), Verdict::Alone, "a cache is no copy");
        let moving = Stated { grew: Some(MOVING), ..stated(fewer, 60) };
        assert_eq!(verdict(1, &[(Some(moving), true)]), Verdict::OnItsWay);
        let stopped = Stated { grew: Some(MOVING + 1), ..moving };
        assert_eq!(verdict(1, &[(Some(stopped), true)]), Verdict::NotSafe);
    }
}
