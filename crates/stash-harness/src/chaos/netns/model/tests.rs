use std::collections::BTreeSet;

use super::{Begun, Deed, Model, Shown};

const KEY: &str = "name";

fn seen(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn shown(id: &str, place: &str, content: impl Into<Option<u64>>) -> Shown {
    Shown { id: id.into(), place: place.into(), content: content.into() }
}

impl Model {
    fn done(&mut self, deed: Deed, ids: &[&str]) -> Begun {
        let begun = self.begin(KEY, deed, seen(ids));
        self.end(begun, true);
        begun
    }

    fn failed(&mut self, deed: Deed, ids: &[&str]) {
        let begun = self.begin(KEY, deed, seen(ids));
        self.end(begun, false);
    }

    fn complaint(&self, versions: &[Shown]) -> String {
        self.judge(KEY, versions).map_or_else(|error| error.to_string(), |()| "fine".into())
    }
}

#[test]
fn two_that_wrote_apart_are_a_head_and_a_sibling_and_both_stay() {
    let mut model = Model::default();
    let one = model.begin(KEY, Deed::Put(1), seen(&[]));
    let two = model.begin(KEY, Deed::Put(2), seen(&[]));
    model.end(one, true);
    model.end(two, true);
    let both = [shown("a", "head", 1), shown("b", "sibling", 2)];
    assert_eq!(model.complaint(&both), "fine");
    assert!(model.complaint(&both[..1]).contains("put 2 was acknowledged and is lost"));
    assert!(model.complaint(&[shown("a", "sibling", 1), both[1].clone()]).contains("0 heads"));
}

#[test]
fn what_was_not_acknowledged_may_be_there_or_not_until_somebody_has_shown_it() {
    let mut model = Model::default();
    model.done(Deed::Put(1), &[]);
    model.failed(Deed::Put(2), &["a"]);
    let without = [shown("a", "head", 1)];
    assert_eq!(model.complaint(&without), "fine");
    assert_eq!(model.complaint(&[shown("b", "head", 2), shown("a", "covered", 1)]), "fine");
    model.show(KEY, ["b".to_owned()]);
    assert!(model.complaint(&without).contains("b was shown and is lost"));
}

#[test]
fn what_a_removal_has_seen_does_not_come_back() {
    let mut model = Model::default();
    model.done(Deed::Put(1), &[]);
    model.done(Deed::Remove, &["a"]);
    assert_eq!(model.complaint(&[shown("r", "head", None), shown("a", "covered", 1)]), "fine");
    let risen = [shown("a", "head", 1), shown("r", "sibling", None)];
    assert!(model.complaint(&risen).contains("a was seen by a Remove and is a head again"));
}

#[test]
fn a_removal_is_kept_like_any_version() {
    let mut model = Model::default();
    model.done(Deed::Put(1), &[]);
    model.done(Deed::Remove, &["a"]);
    model.done(Deed::Put(2), &["a"]);
    let without = [shown("b", "head", 2), shown("a", "covered", 1)];
    assert!(model.complaint(&without).contains("1 removals were acknowledged, and 0 are left"));
    let removal = shown("r", "covered", None);
    assert_eq!(model.complaint(&[&without[..], &[removal]].concat()), "fine");
}

#[test]
fn what_a_purge_has_seen_is_gone_and_what_came_later_is_not() {
    let mut model = Model::default();
    model.done(Deed::Put(1), &[]);
    model.done(Deed::Purge, &["a"]);
    assert_eq!(model.complaint(&[]), "fine");
    assert!(model.complaint(&[shown("a", "head", 1)]).contains("a was purged and is here again"));
    model.done(Deed::Put(2), &[]);
    assert!(model.complaint(&[]).contains("put 2 was acknowledged and is lost"));
    assert_eq!(model.complaint(&[shown("b", "head", 2)]), "fine");
}

#[test]
fn a_purge_without_an_answer_may_have_taken_what_was_written_meanwhile() {
    let mut model = Model::default();
    let purge = model.begin(KEY, Deed::Purge, seen(&[]));
    model.done(Deed::Put(1), &[]);
    assert_eq!(model.complaint(&[]), "fine");
    model.end(purge, false);
    assert_eq!(model.complaint(&[]), "fine");
    model.done(Deed::Put(2), &[]);
    assert!(model.complaint(&[]).contains("put 2"));
}

#[test]
fn what_nobody_wrote_after_is_not_covered() {
    let mut model = Model::default();
    model.done(Deed::Put(1), &[]);
    model.done(Deed::Put(2), &[]);
    assert_eq!(model.complaint(&[shown("b", "head", 2), shown("a", "sibling", 1)]), "fine");
    let hidden = [shown("a", "head", 1), shown("b", "covered", 2)];
    assert!(model.complaint(&hidden).contains("put 2 is covered, and nobody wrote after it"));
}

#[test]
fn a_content_under_a_name_that_it_was_not_put_under_is_told() {
    let mut model = Model::default();
    model.done(Deed::Put(1), &[]);
    let strange = [shown("a", "head", 1), shown("b", "sibling", 9)];
    assert!(model.complaint(&strange).contains("shows put 9, which is of another name"));
}
