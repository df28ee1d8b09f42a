//! The room of the disk that a node may take, and the upkeep of its store.

use serde::Serialize;
use stash_vault::server::store::Quota;
use stash_vault::{Housekeeping, Retention};

use super::file::{File, RepairFile};
use super::lookup::{Lookup, Setting, boolean, count, optional, or};
use crate::cli::Up;
use crate::error::Problem;
use crate::units::{Keep, Percent, Size, Span};

/// `[quota]`: how much of the disk the store may take.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct QuotaSettings {
    /// Above this, `status` says so.
    pub(crate) soft: Setting<Option<Size>>,
    /// Above this, puts are refused.
    pub(crate) hard: Setting<Option<Size>>,
    /// Space of the disk that puts leave free; the store chooses if nobody says.
    pub(crate) reserve: Setting<Option<Size>>,
}

/// `[gc]`: collecting garbage.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct GcSettings {
    /// Between two collections.
    pub(crate) interval: Setting<Span>,
    /// The time for which nothing may have named a chunk before it goes.
    pub(crate) grace: Setting<Span>,
}

/// `[scrub]`: reading everything, over and over.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ScrubSettings {
    /// Share of the disk's time.
    pub(crate) share: Setting<Percent>,
    /// From the start of one pass to that of the next.
    pub(crate) interval: Setting<Span>,
}

/// `[repair]`: copies, counted and made good.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RepairSettings {
    /// Between two counts.
    pub(crate) interval: Setting<Span>,
    /// The time for which a member that is away counts as a copy.
    pub(crate) grace: Setting<Span>,
    /// The time for which a member may be away before no copy is expected of it.
    pub(crate) lapse: Setting<Span>,
    /// The number of other copies below which what was evicted here comes back.
    pub(crate) copies: Setting<u32>,
    /// Between two challenges to a member.
    pub(crate) challenge: Setting<Span>,
}

/// `[retention]`: what is kept of old versions.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RetentionSettings {
    /// The time for which a version stays after it was replaced or removed.
    pub(crate) age: Setting<Span>,
    /// So many versions of a file stay however old they are.
    pub(crate) versions: Setting<u32>,
    /// True if an age of zero is meant.
    pub(crate) forget_at_once: Setting<bool>,
}

/// What is kept, and the five sections.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Upkeep {
    /// How much of the bytes the node keeps.
    pub(crate) keep: Setting<Keep>,
    pub(crate) quota: QuotaSettings,
    pub(crate) gc: GcSettings,
    pub(crate) scrub: ScrubSettings,
    pub(crate) repair: RepairSettings,
    pub(crate) retention: RetentionSettings,
}

/// The shortest time between two collections, passes or counts: each reads the whole index.
const LEAST: u64 = 60;

impl Lookup<'_> {
    pub(super) fn upkeep(&self, up: &Up) -> Result<Upkeep, Problem> {
        let soft = self.read("STASH_QUOTA_SOFT", up.quota_soft, |file| file.quota.soft)?;
        let hard = self.read("STASH_QUOTA_HARD", up.quota_hard, |file| file.quota.hard)?;
        let reserve =
            self.read("STASH_QUOTA_RESERVE", up.quota_reserve, |file| file.quota.reserve)?;
        let interval = self.read("STASH_GC_INTERVAL", up.gc_interval, |file| file.gc.interval)?;
        let grace = self.read("STASH_GC_GRACE", up.gc_grace, |file| file.gc.grace)?;
        let share = self.read("STASH_SCRUB_SHARE", up.scrub_share, |file| file.scrub.share)?;
        let pass =
            self.read("STASH_SCRUB_INTERVAL", up.scrub_interval, |file| file.scrub.interval)?;
        let house = Housekeeping::default();
        let quota = QuotaSettings {
            soft: optional(soft),
            hard: optional(hard),
            reserve: optional(reserve),
        };
        let gc = GcSettings {
            interval: or(interval, Span(house.gc_interval)),
            grace: or(grace, Span(house.gc_grace)),
        };
        let scrub = ScrubSettings {
            share: or(share, Percent(house.scrub_share)),
            interval: or(pass, Span(house.scrub_interval)),
        };
        let keep = or(self.read("STASH_KEEP", up.keep, |file| file.keep)?, Keep::All);
        let (repair, retention) = (self.repair(up)?, self.retention(up)?);
        Upkeep { keep, quota, gc, scrub, repair, retention }.checked()
    }

    fn repair(&self, up: &Up) -> Result<RepairSettings, Problem> {
        let span = |name, flag, file: fn(&RepairFile) -> Option<Span>| {
            self.read(name, flag, |all| file(&all.repair))
        };
        let copies =
            self.find("STASH_REPAIR_COPIES", up.repair_copies, count, |file| file.repair.copies)?;
        let interval = span("STASH_REPAIR_INTERVAL", up.repair_interval, |file| file.interval)?;
        let grace = span("STASH_REPAIR_GRACE", up.repair_grace, |file| file.grace)?;
        let lapse = span("STASH_REPAIR_LAPSE", up.repair_lapse, |file| file.lapse)?;
        let challenge = span("STASH_REPAIR_CHALLENGE", up.repair_challenge, |file| file.challenge)?;
        let house = Housekeeping::default();
        Ok(RepairSettings {
            interval: or(interval, Span(house.repair_interval)),
            grace: or(grace, Span(house.repair_grace)),
            lapse: or(lapse, Span(house.repair_lapse)),
            copies: or(copies, u32::try_from(house.repair_copies).unwrap_or(u32::MAX)),
            challenge: or(challenge, Span(house.challenge_interval)),
        })
    }

    fn retention(&self, up: &Up) -> Result<RetentionSettings, Problem> {
        let age = self.read("STASH_RETENTION_AGE", up.retention_age, |file| file.retention.age)?;
        let (flag, of_file) = (up.retention_versions, |file: &File| file.retention.versions);
        let versions = self.find("STASH_RETENTION_VERSIONS", flag, count, of_file)?;
        let flag = up.retention_forget_at_once.then_some(true);
        let of_file = |file: &File| file.retention.forget_at_once;
        let meant = self.find("STASH_RETENTION_FORGET_AT_ONCE", flag, boolean, of_file)?;
        let default = Retention::default();
        Ok(RetentionSettings {
            age: or(age, Span(default.age)),
            versions: or(versions, default.versions),
            forget_at_once: or(meant, false),
        })
    }
}

impl RetentionSettings {
    /// Refuses an age of zero that nobody has confirmed. It makes `rm` a purge, and with at most one
    /// version to keep, every put of a file as well, for all members.
    fn meant(&self) -> Result<(), Problem> {
        let Self { age, versions, forget_at_once } = self;
        if !age.value.0.is_zero() || forget_at_once.value {
            return Ok(());
        }
        let (kept, origin) = (versions.value, &age.origin);
        let replaced = match kept {
            0 | 1 => "and every older version of all others".to_owned(),
            kept => format!("and all but the last {kept} versions of all others"),
        };
        let message = format!(
            "retention.age (0s, {origin}) and retention.versions ({kept}, {}) would forget every \
             removed file, {replaced}, for good and on every member, within a day",
            versions.origin
        );
        Err(Problem::usage(message).hint(
            "if that is meant: forget_at_once = true in [retention], or --retention-forget-at-once; \
             else choose an age, such as 30d",
        ))
    }
}

impl Upkeep {
    fn checked(self) -> Result<Self, Problem> {
        let (soft, hard) = (&self.quota.soft, &self.quota.hard);
        if let (Some(low), Some(high)) = (soft.value, hard.value)
            && low > high
        {
            return Err(Problem::usage(format!(
                "quota.soft ({low}, {}) is more than quota.hard ({high}, {})",
                soft.origin, hard.origin
            )));
        }
        let copies = &self.repair.copies;
        if copies.value == 0 {
            return Err(Problem::usage(format!(
                "repair.copies (0, {}) must be 1 at least: evicted files would never come back",
                copies.origin
            )));
        }
        self.retention.meant()?;
        let spans = [
            ("gc.interval", &self.gc.interval, LEAST),
            ("scrub.interval", &self.scrub.interval, LEAST),
            ("repair.interval", &self.repair.interval, LEAST),
            ("repair.challenge", &self.repair.challenge, 1),
            ("repair.lapse", &self.repair.lapse, LEAST),
        ];
        for (name, span, least) in spans {
            if span.value.0.as_secs() < least {
                let (value, origin) = (span.value, &span.origin);
                return Err(Problem::usage(format!(
                    "{name} ({value}, {origin}) must be {least}s at least"
                )));
            }
        }
        Ok(self)
    }

    /// The quota, as the store takes it.
    pub(crate) fn quota(&self) -> Quota {
        let bytes = |setting: &Setting<Option<Size>>| setting.value.map(|size| size.0);
        Quota {
            soft: bytes(&self.quota.soft),
            hard: bytes(&self.quota.hard),
            reserve_bytes: bytes(&self.quota.reserve),
            ..Quota::default()
        }
    }

    /// The retention, as the vault takes it.
    pub(crate) fn retention(&self) -> Retention {
        let RetentionSettings { age, versions, .. } = &self.retention;
        Retention { age: age.value.0, versions: versions.value }
    }

    /// The upkeep, as the engine takes it.
    pub(crate) fn housekeeping(&self) -> Housekeeping {
        Housekeeping {
            gc_interval: self.gc.interval.value.0,
            gc_grace: self.gc.grace.value.0,
            scrub_share: self.scrub.share.value.0,
            scrub_interval: self.scrub.interval.value.0,
            repair_interval: self.repair.interval.value.0,
            repair_grace: self.repair.grace.value.0,
            repair_lapse: self.repair.lapse.value.0,
            repair_copies: self.repair.copies.value.into(),
            challenge_interval: self.repair.challenge.value.0,
            keep: self.keep.value.bytes(),
        }
    }
}
