//! A limit on questions to a member whose answers teach this node nothing.
//!
//! An honest member's answers may teach nothing as well: what it names came by another way
//! meanwhile, or is being sent. So some such rounds are allowed, and a walk that is broken off goes
//! on with the next news, from where it was.

use crate::message::MAX_ADDRESSES;

/// Answers in a row that teach nothing and are short: at 10 ms each, less than a second of work.
const FRUITLESS: u32 = 64;

/// The rounds of one walk through what a member has.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    fruitless: u32,
    known: u64,
}

impl Rounds {
    /// True if a walk should ask on after a page of an order. The page named `named` records, of
    /// which `new` were new; `held` are held here by now. An order names each record once, so it
    /// cannot name more known records than are held.
    pub(crate) fn page(&mut self, named: usize, new: u64, held: u64) -> bool {
        self.known += (named as u64).saturating_sub(new);
        let is_short = named < MAX_ADDRESSES;
        self.answer(new > 0 || !is_short) && self.known <= held + MAX_ADDRESSES as u64
    }

    /// True if a walk should ask on after an answer.
    pub(crate) fn answer(&mut self, taught: bool) -> bool {
        self.fruitless = if taught { 0 } else { self.fruitless + 1 };
        self.fruitless < FRUITLESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages until the walk ends, up to a thousand.
    fn pages(page: impl Fn(&mut Rounds) -> bool) -> usize {
        let mut rounds = Rounds::default();
        (1..1_000).find(|_| !page(&mut rounds)).unwrap_or(1_000)
    }

    #[test]
    fn a_position_that_grows_without_records_ends_a_walk() {
        assert_eq!(pages(|rounds| rounds.page(0, 0, 1 << 40)), FRUITLESS as usize);
        assert_eq!(pages(|rounds| rounds.page(5, 0, 1 << 40)), FRUITLESS as usize);
    }

    #[test]
    fn the_same_records_again_and_again_end_a_walk() {
        let held = 3 * MAX_ADDRESSES as u64;
        assert_eq!(pages(|rounds| rounds.page(MAX_ADDRESSES, 0, held)), 5);
    }

    #[test]
    fn an_honest_order_is_walked_to_its_end_whether_its_records_are_new_or_known() {
        let records = 900 * MAX_ADDRESSES as u64;
        assert_eq!(pages(|rounds| rounds.page(MAX_ADDRESSES, 0, records)), 902);
        assert_eq!(pages(|rounds| rounds.page(MAX_ADDRESSES, 4_096, 0)), 1_000);
        assert_eq!(pages(|rounds| rounds.page(1, 1, 0)), 1_000, "one by one, as they are put");
    }
}
