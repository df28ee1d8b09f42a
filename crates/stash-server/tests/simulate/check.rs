//! Checks of what must hold, while things go wrong and after they have.

use std::collections::BTreeSet;

use stash_crypto::record::{covers, leaves};
use stash_crypto::{ForgetKind, Manifest, NameId, Record, RecordHash, RecordKind};
use stash_store::Store;

use crate::model::{Known, Model};

/// True if a node that holds these records of the name may have dropped this one, now or in the
/// past.
pub(crate) fn may_be_gone(model: &Model, held: &[Record], gone: &RecordHash) -> bool {
    let Some(known) = model.records.get(gone) else { return true };
    known.is_past() || taken(model, held, (gone, known), Known::is_past)
}

/// True if it is gone for good: what lies past a cut took nothing that the founder had.
fn rightly_gone(model: &Model, held: &[Record], gone: &RecordHash) -> bool {
    let Some(known) = model.records.get(gone) else { return true };
    let was = |other: &Known| model.may_have_taken(other, gone);
    known.is_past() || taken(model, held, (gone, known), was)
}

/// True if records that are held took this one away, or others that were.
pub(crate) fn taken(
    model: &Model,
    held: &[Record],
    (gone, known): (&RecordHash, &Known),
    was: impl Fn(&Known) -> bool,
) -> bool {
    let name = known.record.clear().name;
    let was = |other: &&Known| other.record.clear().name == name && was(other);
    let past: Vec<&Known> = model.records.values().filter(was).collect();
    let here = || {
        let held = held.iter().filter_map(|record| model.records.get(&record.hash()));
        held.chain(past.iter().copied())
    };
    let names = |other: &Known| other.past.contains(gone);
    let mistaken =
        |other: &Known| !other.kind().is_version() && model.may_mistake(other, gone, known);
    if here().any(mistaken) {
        return true;
    }
    if known.kind().is_version() {
        let dead = here().any(|other| other.is_dead_forget() && names(other));
        let forgotten =
            here().any(|o| o.kind() == RecordKind::Forget(ForgetKind::Covered) && names(o));
        let covered = here().any(|other| other.kind().is_version() && names(other));
        return dead || forgotten && covered;
    }
    here().any(|other| {
        let kind = other.is_dead_forget() || other.kind() == known.kind();
        !other.kind().is_version() && kind && other.past.is_superset(&known.past)
    })
}

/// Checks what one node holds of one name after everything has settled.
pub(crate) fn check_name(model: &mut Model, at: usize, name: &NameId, held: &[Record]) {
    let hashes: BTreeSet<RecordHash> = held.iter().map(Record::hash).collect();
    let existing: Vec<(RecordHash, Known)> =
        model.existing(name, &hashes).map(|(hash, known)| (*hash, known.clone())).collect();
    let top: BTreeSet<RecordHash> = leaves(held).into_iter().map(Record::hash).collect();
    let mut wrong = Vec::new();
    let is_gone = |hash: &RecordHash| !hashes.contains(hash) && rightly_gone(model, held, hash);
    let existing: Vec<_> = existing.into_iter().filter(|(hash, _)| !is_gone(hash)).collect();
    for (hash, known) in &existing {
        let title = &known.title;
        let is_held = hashes.contains(hash);
        let names = |other: &&(RecordHash, Known)| other.1.past.contains(hash);
        let dead = existing.iter().filter(names).find(|(_, other)| other.is_dead_forget());
        if !is_held {
            wrong.push(format!("{title} is lost on node {at}"));
        }
        let twin = model.doubtful(hash).is_some();
        if is_held && known.is_past() && !twin && !model.writes(known.by) {
            wrong.push(format!("{title} is held on node {at}, and lies past a cut"));
        }
        if !known.kind().is_version() {
            continue;
        }
        if let Some((_, forget)) = dead.filter(|_| is_held) {
            wrong.push(format!("{title} is held on node {at}, and {} ended it", forget.title));
        }
        let alive = |other: &(RecordHash, Known)| hashes.contains(&other.0);
        let covering =
            existing.iter().filter(names).find(|other| other.1.kind().is_version() && alive(other));
        match covering {
            // What is written again has seen what was seen before the lives parted, or less.
            Some((again, _)) if top.contains(hash) && model.is_again(again) => {}
            None if is_held && !top.contains(hash) && model.shows_again(hash) => {}
            Some((_, other)) if top.contains(hash) => {
                wrong.push(format!("{title} rose on node {at}: {} has seen it", other.title));
            }
            None if is_held && !top.contains(hash) => {
                let covering = held.iter().find(|one| covers(one.clear(), known.record.clear()));
                let by = covering.map(|one| model.title(&one.hash())).unwrap_or_default();
                wrong.push(format!(
                    "{title} is covered on node {at} by {by}, which has not seen it"
                ));
            }
            _ => {}
        }
    }
    wrong.into_iter().for_each(|text| model.violation(text));
}

/// A node knows which of the records that it holds are whole.
pub(crate) fn check_wholeness(model: &mut Model, at: usize, store: &Store, held: &[Record]) {
    let hashes: Vec<[u8; 32]> = held.iter().map(|record| *record.hash().as_bytes()).collect();
    let said = match store.are_lacking(&hashes) {
        Ok(Some(said)) => said,
        Ok(None) => return model.violation(format!("node {at} does not know what is whole there")),
        Err(error) => {
            return model.violation(format!("node {at} cannot say what is whole: {error}"));
        }
    };
    for (record, lacks) in held.iter().zip(said) {
        let manifest = &record.clear().manifest;
        let refs = manifest.refs().iter();
        let refs: Vec<_> =
            refs.map(|chunk| stash_store::Address::from_bytes(*chunk.address.as_bytes())).collect();
        let here = store.has(&refs).is_ok_and(|here| here.iter().all(|here| *here));
        // What a manifest chunk names is not looked at here: then more may be missing than stands in the record.
        let is_wrong = match manifest {
            Manifest::Indirect { .. } => !here && !lacks,
            Manifest::Direct(_) => here == lacks,
        };
        if is_wrong {
            let (title, says) =
                (model.title(&record.hash()), if lacks { "lacking" } else { "whole" });
            model.violation(format!("node {at} takes {title} for {says}, and it is not"));
        }
    }
}
