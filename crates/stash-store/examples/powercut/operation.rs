//! Operations that a user can do to a store: one table, which is all that the others know of it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use stash_store::{Batch, Blob, Store};

use crate::contents::{self, BLOBS, Random};
use crate::model::Model;
use crate::user::Failure;

/// An operation on a store. Its numbers say all of it, the bytes too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) kind: &'static Kind,
    pub(crate) numbers: [u64; 2],
}

/// Facts from which the next steps are drawn.
#[derive(Debug)]
pub(crate) struct Draft {
    /// The store after all steps drafted so far.
    pub(crate) model: Model,
    /// Blobs staged or evicted by steps that are under way together: they come one after the
    /// other, but what is staged for a later one may be there before an earlier one is.
    pub(crate) touched: BTreeSet<u64>,
    /// True if kinds that remove are left out.
    pub(crate) only_adds: bool,
}

/// A kind of operation. To add one, add it to [`KINDS`].
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The weight with which it is drawn, beside the others.
    weight: u64,
    /// True if it gives back room on the disk.
    removes: bool,
    /// Draws the numbers. `None` where there is nothing to do it to.
    draw: fn(&mut Random, &mut Draft) -> Option<[u64; 2]>,
    /// Does it, or adds it to the batch.
    perform: fn(&Store, Batch, [u64; 2]) -> Result<Batch, Failure>,
    /// The change of what the store shows.
    pub(crate) apply: fn(&mut Model, [u64; 2]),
}

/// All kinds. Blobs come first in a step whatever their place here: a step stages, then commits.
pub(crate) const KINDS: &[Kind] = &[
    Kind {
        name: "blob",
        weight: 6,
        removes: false,
        draw: |random, draft| {
            let b = random.below(BLOBS);
            draft.touched.insert(b).then_some([b, 0])
        },
        perform: |store, batch, [b, _]| {
            let (address, bytes) = contents::blob(b);
            store.stage(Blob::assume(*address, bytes.as_slice()))?;
            Ok(batch.require(*address))
        },
        apply: |model, [b, _]| {
            model.blobs.insert(b);
        },
    },
    Kind {
        name: "evict",
        weight: 3,
        removes: true,
        draw: |random, draft| {
            let b = random.below(BLOBS);
            let here = draft.model.blobs.contains(&b);
            (here && draft.touched.insert(b)).then_some([b, 0])
        },
        perform: |_, batch, [b, _]| Ok(batch.evict(vec![contents::blob(b).0])),
        apply: |model, [b, _]| {
            model.blobs.remove(&b);
        },
    },
    Kind {
        name: "record",
        weight: 4,
        removes: false,
        draw: |random, _| Some([random.below(1 << 40), random.below(BLOBS)]),
        perform: |_, batch, [n, b]| Ok(batch.record(contents::record(n, b))),
        apply: |model, [n, b]| {
            model.records.insert(n, b);
        },
    },
    Kind {
        name: "row",
        weight: 3,
        removes: false,
        draw: |random, _| Some([random.below(12), random.below(1 << 40)]),
        perform: |_, batch, [row, value]| {
            let value = contents::row_value(value);
            Ok(batch.row(&contents::row_key(row), Some(&value)))
        },
        apply: |model, [row, value]| {
            model.rows.insert(row, value);
        },
    },
    Kind {
        name: "unrow",
        weight: 1,
        removes: false,
        draw: |random, _| Some([random.below(12), 0]),
        perform: |_, batch, [row, _]| Ok(batch.row(&contents::row_key(row), None)),
        apply: |model, [row, _]| {
            model.rows.remove(&row);
        },
    },
];

impl Operation {
    /// Draws one, and notes in the draft that it is done. `None` if the drawn kind has nothing to
    /// do.
    pub(crate) fn draw(random: &mut Random, draft: &mut Draft) -> Option<Operation> {
        let mut left = random.below(KINDS.iter().map(|kind| kind.weight).sum());
        let kind = KINDS.iter().find(|kind| {
            let found = left < kind.weight;
            left = left.saturating_sub(kind.weight);
            found
        })?;
        if draft.only_adds && kind.removes {
            return None;
        }
        let operation = Operation { kind, numbers: (kind.draw)(random, draft)? };
        operation.apply(&mut draft.model);
        Some(operation)
    }

    pub(crate) fn perform(&self, store: &Store, batch: Batch) -> Result<Batch, Failure> {
        (self.kind.perform)(store, batch, self.numbers)
    }

    pub(crate) fn apply(&self, model: &mut Model) {
        (self.kind.apply)(model, self.numbers);
    }

    /// The blob that this stages, if it stages one: it may be there before its step is.
    pub(crate) fn stages(&self) -> Option<u64> {
        (self.kind.name == "blob").then_some(self.numbers[0])
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.numbers;
        write!(f, "{}:{first},{second}", self.kind.name)
    }
}

impl FromStr for Operation {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Operation, Failure> {
        let parse = || {
            let (name, numbers) = text.split_once(':')?;
            let kind = KINDS.iter().find(|kind| kind.name == name)?;
            let (first, second) = numbers.split_once(',')?;
            Some(Operation { kind, numbers: [first.parse().ok()?, second.parse().ok()?] })
        };
        parse().ok_or_else(|| format!("{text:?} is not an operation").into())
    }
}
