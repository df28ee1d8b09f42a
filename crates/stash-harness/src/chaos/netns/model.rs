//! A model of what a run knows and no node does: who did what to which name, what the node showed of it just before,
//! and whether it said that it was done. From that, what the versions of a name must be once all nodes agree.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

/// Something that an owner is asked to do to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// Store the content of this number.
    Put(u64),
    Remove,
    /// Take one of the concurrent versions.
    Take,
    /// Remove with all versions, for good.
    Purge,
}

/// A version as all nodes show it in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) id: String,
    pub(super) place: String,
    /// The put whose content it has; none for a removal.
    pub(super) content: Option<u64>,
}

/// Names a deed that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begun(usize);

#[derive(Debug)]
struct Act {
    key: String,
    deed: Deed,
    /// Versions that the node showed before it was asked.
    seen: BTreeSet<String>,
    begun: u64,
    /// As long as it has not ended, it may still have any effect.
    ended: Option<u64>,
    acknowledged: bool,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    /// Counts beginnings and ends.
    clock: u64,
    acts: Vec<Act>,
    /// Every version that some node showed, by name.
    shown: BTreeMap<String, BTreeSet<String>>,
}

impl Model {
    /// A node that shows the versions `seen` of a name is asked to do this.
    pub(super) fn begin(&mut self, key: &str, deed: Deed, seen: BTreeSet<String>) -> Begun {
        self.clock += 1;
        self.show(key, seen.iter().cloned());
        let (key, begun) = (key.to_owned(), self.clock);
        self.acts.push(Act { key, deed, seen, begun, ended: None, acknowledged: false });
        Begun(self.acts.len() - 1)
    }

    /// The node answered. A deed that is not acknowledged may be done or not.
    pub(super) fn end(&mut self, begun: Begun, acknowledged: bool) {
        self.clock += 1;
        let act = &mut self.acts[begun.0];
        (act.ended, act.acknowledged) = (Some(self.clock), acknowledged);
    }

    /// A node showed these versions of a name.
    pub(super) fn show(&mut self, key: &str, ids: impl IntoIterator<Item = String>) {
        self.shown.entry(key.to_owned()).or_default().extend(ids);
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.acts.iter().filter(|act| act.acknowledged).count()
    }

    /// Fails unless somebody began to put this content under this name.
    pub(super) fn was_put(&self, key: &str, content: u64) -> Result<()> {
        let put = |act: &Act| act.deed == Deed::Put(content);
        ensure!(self.acts_on(key).any(put), "{key} shows put {content}, which is of another name");
        Ok(())
    }

    /// Fails unless these can be all versions of a name, and their places, on nodes that know everything.
    pub(super) fn judge(&self, key: &str, versions: &[Shown]) -> Result<()> {
        let heads = versions.iter().filter(|version| version.place == "head").count();
        ensure!(heads == usize::from(!versions.is_empty()), "{key} has {heads} heads");
        for content in versions.iter().filter_map(|version| version.content) {
            self.was_put(key, content)?;
        }
        self.nothing_is_lost(key, versions)?;
        self.nothing_has_risen(key, versions)?;
        self.nothing_is_hidden(key, versions)
    }

    fn nothing_is_lost(&self, key: &str, versions: &[Shown]) -> Result<()> {
        for act in self.acts_on(key).filter(|act| act.acknowledged) {
            if let Deed::Put(number) = act.deed {
                let kept = versions.iter().any(|version| version.content == Some(number));
                ensure!(
                    kept || self.may_be_purged(key, act.begun),
                    "{key}: put {number} was acknowledged and is lost"
                );
            }
        }
        let removals = self.acts_on(key).filter(|act| act.acknowledged && act.deed == Deed::Remove);
        let (removals, kept) =
            (removals.count(), versions.iter().filter(|version| version.content.is_none()).count());
        ensure!(
            kept >= removals || self.may_be_purged(key, 0),
            "{key}: {removals} removals were acknowledged, and {kept} are left"
        );
        for id in self.shown.get(key).into_iter().flatten() {
            let kept = versions.iter().any(|version| version.id == *id);
            ensure!(kept || self.may_be_purged(key, 0), "{key}: {id} was shown and is lost");
        }
        Ok(())
    }

    /// Checks that what was purged is gone, and what was replaced or removed stays covered.
    fn nothing_has_risen(&self, key: &str, versions: &[Shown]) -> Result<()> {
        for act in self.acts_on(key).filter(|act| act.acknowledged) {
            let seen = versions.iter().filter(|version| act.seen.contains(&version.id));
            for Shown { id, place, .. } in seen {
                if act.deed == Deed::Purge {
                    bail!("{key}: {id} was purged and is here again, as {place}");
                }
                // What covered it may itself be purged, and what the purging owner had not heard of stays.
                ensure!(
                    place == "covered" || self.may_be_purged(key, act.begun),
                    "{key}: {id} was seen by a {:?} and is a {place} again",
                    act.deed
                );
            }
        }
        Ok(())
    }

    /// Checks that what nobody can have seen before they wrote is not covered.
    fn nothing_is_hidden(&self, key: &str, versions: &[Shown]) -> Result<()> {
        for version in versions.iter().filter(|version| version.place == "covered") {
            let Some(number) = version.content else { continue };
            let put = self.acts_on(key).find(|act| act.deed == Deed::Put(number));
            let begun = put.context("checked before")?.begun;
            let later = self.acts_on(key).any(|act| {
                act.deed != Deed::Put(number)
                    && act.deed != Deed::Purge
                    && may_end_after(act, begun)
            });
            ensure!(later, "{key}: put {number} is covered, and nobody wrote after it");
        }
        Ok(())
    }

    /// True if some purge can have taken what was written at a moment.
    fn may_be_purged(&self, key: &str, moment: u64) -> bool {
        self.acts_on(key).any(|act| act.deed == Deed::Purge && may_end_after(act, moment))
    }

    fn acts_on<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Act> {
        self.acts.iter().filter(move |act| act.key == key)
    }
}

fn may_end_after(act: &Act, moment: u64) -> bool {
    act.ended.is_none_or(|ended| ended > moment)
}

#[cfg(test)]
mod tests;
