//! Notices: what somebody is to be told, once, and once more when it is over.
//!
//! [`Notices::look`] decides, without a clock: the time that passed is an argument. What was told is noted in a file before it is
//! told, so that a restart in between tells nothing a second time.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The name of the file in the data directory.
const NOTICES: &str = "notices.json";

/// Seconds for which damage is left to heal by itself, and for which things must be well again before that is told.
const SETTLE: u64 = 10 * 60;

/// A thing that is well or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Matter {
    /// Damage here, or an alarm: `stash status --check` exits with 6.
    Damage,
    /// Too few copies: it exits with 7.
    Copies,
    /// A member by its id: it is away.
    Absent(String),
}

impl Matter {
    /// Its name in the file, and for the program that passes notices on.
    fn key(&self) -> String {
        match self {
            Self::Damage | Self::Copies => self.word().to_owned(),
            Self::Absent(node) => format!("absent {node}"),
        }
    }

    /// The kind of matter in one word.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Damage => "damage",
            Self::Copies => "copies",
            Self::Absent(_) => "absent",
        }
    }
}

/// One look at a matter.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// The matter.
    pub(crate) matter: Matter,
    /// True if it is not well.
    pub(crate) is_bad: bool,
    /// True if the time since the last look counts, should it not be well.
    pub(crate) counts: bool,
    /// A number that is another one if it was well at any time since the last look.
    pub(crate) mark: u64,
}

/// Seconds after which a notice is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Of copies.
    pub(crate) grace: u64,
    /// Of a member that is away.
    pub(crate) absent: u64,
}

impl Patience {
    fn until_told(&self, matter: &Matter) -> u64 {
        match matter {
            Matter::Damage => self.grace.min(SETTLE),
            Matter::Copies => self.grace,
            Matter::Absent(_) => self.absent,
        }
    }

    fn until_over(&self, matter: &Matter) -> u64 {
        match matter {
            Matter::Damage | Matter::Copies => self.grace.min(SETTLE),
            Matter::Absent(_) => 0,
        }
    }
}

/// A notice that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// What it is about.
    pub(crate) matter: Matter,
    /// True if that is over.
    pub(crate) is_over: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// Seconds for which it was not well, at looks that count.
    bad: u64,
    /// Seconds for which it was well again, after it was told.
    good: u64,
    told: bool,
    mark: u64,
}

/// What is noted of every matter that is not well, or was told.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    notes: BTreeMap<String, Note>,
}

impl Notices {
    /// Takes looks at all matters that there are, so many seconds after the looks before, and gives the notices that are due. They
    /// count as told from then on. What is not looked at any more is forgotten.
    pub(crate) fn look(&mut self, passed: u64, looks: Vec<Look>, patience: Patience) -> Vec<Due> {
        let mut before = std::mem::take(&mut self.notes);
        let mut due = Vec::new();
        for Look { matter, is_bad, counts, mark } in looks {
            let known = before.remove(&matter.key());
            let was_well = known.as_ref().is_none_or(|note| note.mark != mark);
            let mut note = Note { mark, ..known.unwrap_or_default() };
            if is_bad && !was_well {
                note.good = 0;
                note.bad += if counts { passed } else { 0 };
                if !note.told && note.bad >= patience.until_told(&matter) {
                    note.told = true;
                    due.push(Due { matter: matter.clone(), is_over: false });
                }
            } else if note.told {
                note.good += passed;
                if note.good >= patience.until_over(&matter) {
                    note = Note { mark, ..Note::default() };
                    due.push(Due { matter: matter.clone(), is_over: true });
                }
            } else {
                note.bad = 0;
            }
            if is_bad || note.told {
                self.notes.insert(matter.key(), note);
            }
        }
        due
    }

    /// The notes in a data directory; none of a file that is not there, or that cannot be read.
    pub(crate) fn read(data_dir: &Path) -> Self {
        let path = data_dir.join(NOTICES);
        let notes = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "what was told is not known any more");
                BTreeMap::new()
            }),
            Err(_) => BTreeMap::new(),
        };
        Self { notes }
    }

    /// Writes the notes, durably: a reader sees the whole of them or those before. Blocking.
    pub(crate) fn write(&self, data_dir: &Path) -> std::io::Result<()> {
        let draft = data_dir.join(format!("{NOTICES}.new"));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(&serde_json::to_vec(&self.notes)?)?;
        file.sync_all()?;
        std::fs::rename(&draft, data_dir.join(NOTICES))?;
        std::fs::File::open(data_dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const PATIENCE: Patience = Patience { grace: DAY, absent: 3 * DAY };

    fn look(matter: &Matter, is_bad: bool) -> Look {
        Look { matter: matter.clone(), is_bad, counts: true, mark: 1 }
    }

    /// Looks at one matter every minute for so many seconds. Gives when notices came.
    fn minutes(notices: &mut Notices, seconds: u64, look: &Look) -> Vec<(u64, bool)> {
        let mut came = Vec::new();
        for at in (60..=seconds).step_by(60) {
            let due = notices.look(60, vec![look.clone()], PATIENCE);
            came.extend(due.into_iter().map(|due| (at, due.is_over)));
        }
        came
    }

    #[test]
    fn absence_raises_exactly_one_notice_and_its_end_another_also_over_restarts() {
        let nas = Matter::Absent("ab".into());
        let dir = tempfile::tempdir().unwrap();
        let mut notices = Notices::default();
        let away = look(&nas, true);
        assert_eq!(minutes(&mut notices, 3 * DAY, &away), [], "the first look begins it");
        notices.write(dir.path()).unwrap();
        let mut notices = Notices::read(dir.path());
        assert_eq!(minutes(&mut notices, 30 * DAY, &away), [(60, false)]);
        notices.write(dir.path()).unwrap();
        let mut notices = Notices::read(dir.path());
        assert_eq!(minutes(&mut notices, 30 * DAY, &away), []);
        assert_eq!(minutes(&mut notices, DAY, &look(&nas, false)), [(60, true)]);
        notices.write(dir.path()).unwrap();
        assert!(Notices::read(dir.path()).notes.is_empty());
        assert_eq!(minutes(&mut notices, 4 * DAY, &away), [(3 * DAY + 60, false)], "another time");
    }

    #[test]
    fn a_member_that_was_met_between_two_looks_is_not_away() {
        let nas = Matter::Absent("ab".into());
        let mut notices = Notices::default();
        for day in 0..10 {
            let away = Look { mark: day, ..look(&nas, true) };
            assert_eq!(minutes(&mut notices, 2 * DAY, &away), []);
        }
        let known = Look { mark: 10, ..look(&nas, true) };
        assert_eq!(minutes(&mut notices, 4 * DAY, &known), [(3 * DAY + 60, false)]);
        let met = Look { mark: 11, ..known };
        assert_eq!(minutes(&mut notices, 600, &met), [(60, true)]);
    }

    #[test]
    fn time_without_a_network_tells_nothing_about_others() {
        let nas = Matter::Absent("ab".into());
        let mut notices = Notices::default();
        let offline = Look { counts: false, ..look(&nas, true) };
        assert_eq!(minutes(&mut notices, 30 * DAY, &offline), []);
        assert_eq!(minutes(&mut notices, 4 * DAY, &look(&nas, true)), [(3 * DAY, false)]);
        assert_eq!(minutes(&mut notices, 4 * DAY, &offline), []);
    }

    #[test]
    fn what_heals_within_its_grace_is_not_told_and_what_comes_and_goes_is_told_once_a_grace() {
        let mut notices = Notices::default();
        let (bad, good) = (look(&Matter::Copies, true), look(&Matter::Copies, false));
        for _ in 0..10 {
            assert_eq!(minutes(&mut notices, DAY, &bad), []);
            assert_eq!(minutes(&mut notices, 60, &good), []);
        }
        assert_eq!(minutes(&mut notices, 2 * DAY, &bad), [(DAY + 60, false)]);
        for _ in 0..10 {
            assert_eq!(minutes(&mut notices, SETTLE - 60, &good), [], "not over yet");
            assert_eq!(minutes(&mut notices, DAY, &bad), []);
        }
        assert_eq!(minutes(&mut notices, DAY, &good), [(SETTLE, true)]);
    }

    #[test]
    fn damage_is_told_sooner_than_copies_and_members_that_are_gone_are_forgotten() {
        let mut notices = Notices::default();
        let all = || {
            let nas = Matter::Absent("ab".into());
            [Matter::Damage, Matter::Copies, nas].map(|matter| look(&matter, true)).to_vec()
        };
        assert_eq!(notices.look(60, all(), PATIENCE), []);
        let due = notices.look(SETTLE, all(), PATIENCE);
        assert_eq!(due, [Due { matter: Matter::Damage, is_over: false }]);
        let due = notices.look(3 * DAY, all(), PATIENCE);
        assert_eq!(
            due.iter().map(|due| due.matter.word()).collect::<Vec<_>>(),
            ["copies", "absent"]
        );
        let mut removed = all();
        removed.truncate(2);
        assert_eq!(notices.look(60, removed, PATIENCE), [], "nobody is told that it is back");
        assert_eq!(notices.notes.len(), 2);
    }

    #[test]
    fn a_file_that_is_none_is_as_good_as_no_file() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Notices::read(dir.path()).notes.is_empty());
        std::fs::write(dir.path().join(NOTICES), b"{").unwrap();
        assert!(Notices::read(dir.path()).notes.is_empty());
    }
}
