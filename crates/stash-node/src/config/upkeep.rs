//! What a node may take of its disk, and how it keeps its store in order.

use serde::Serialize;
use stash_vault::server::store::Quota;
use stash_vault::{Housekeeping, Retention};

use super::file::{QuotaFile, RepairFile};
use super::lookup::{Lookup, Setting, boolean, optional, or_default};
use crate::cli::Up;
use crate::error::Problem;
use crate::units::{Percent, Size, Span};

/// `[quota]`: how much of the disk the store may take.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct QuotaSettings {
    /// Above this, `status` says so.
    pub(crate) soft: Setting<Option<Size>>,
    /// Above this, puts are refused.
    pub(crate) hard: Setting<Option<Size>>,
    /// What puts leave free of the disk; the store chooses if nobody says.
    pub(crate) reserve: Setting<Option<Size>>,
}

/// `[gc]`: collecting garbage.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct GcSettings {
    /// Between two collections.
    pub(crate) interval: Setting<Span>,
    /// How long nothing may have named a chunk before it goes.
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
    /// How long a member that is away counts as a copy.
    pub(crate) grace: Setting<Span>,
    /// How long a member may be away before no copy is expected of it.
    pub(crate) lapse: Setting<Span>,
    /// What was evicted here comes back when fewer others have it.
    pub(crate) copies: Setting<u32>,
    /// Between two challenges to a member.
    pub(crate) challenge: Setting<Span>,
}

/// `[retention]`: what is kept of old versions.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RetentionSettings {
    /// How long a version stays after it was replaced or removed.
    pub(crate) age: Setting<Span>,
    /// So many versions of a file stay however old they are.
    pub(crate) versions: Setting<u32>,
    /// True if an age of zero is meant.
    pub(crate) forget_at_once: Setting<bool>,
}

/// The five sections.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Upkeep {
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
        let size = |name, flag, file: fn(&QuotaFile) -> Option<Size>| {
            let found = self.find(name, flag, str::parse, |f| file(f.quota.as_ref()?))?;
            Ok::<_, Problem>(optional(found))
        };
        let quota = QuotaSettings {
            soft: size("STASH_QUOTA_SOFT", up.quota_soft, |quota| quota.soft)?,
            hard: size("STASH_QUOTA_HARD", up.quota_hard, |quota| quota.hard)?,
            reserve: size("STASH_QUOTA_RESERVE", up.quota_reserve, |quota| quota.reserve)?,
        };
        let default = Housekeeping::default();
        let (interval, grace) = (Span(default.gc_interval), Span(default.gc_grace));
        let (share, pass) = (Percent(default.scrub_share), Span(default.scrub_interval));
        let found = self.find("STASH_GC_INTERVAL", up.gc_interval, str::parse, |file| {
            file.gc.as_ref()?.interval
        })?;
        let interval = or_default(found, || Ok(interval))?;
        let found =
            self.find("STASH_GC_GRACE", up.gc_grace, str::parse, |file| file.gc.as_ref()?.grace)?;
        let grace = or_default(found, || Ok(grace))?;
        let found = self.find("STASH_SCRUB_SHARE", up.scrub_share, str::parse, |file| {
            file.scrub.as_ref()?.share
        })?;
        let share = or_default(found, || Ok(share))?;
        let found = self.find("STASH_SCRUB_INTERVAL", up.scrub_interval, str::parse, |file| {
            file.scrub.as_ref()?.interval
        })?;
        let pass = or_default(found, || Ok(pass))?;
        let gc = GcSettings { interval, grace };
        let scrub = ScrubSettings { share, interval: pass };
        let (repair, retention) = (self.repair(up)?, self.retention(up)?);
        let upkeep = Upkeep { quota, gc, scrub, repair, retention };
        upkeep.checked()
    }

    fn repair(&self, up: &Up) -> Result<RepairSettings, Problem> {
        let default = Housekeeping::default();
        let span = |name, flag, file: fn(&RepairFile) -> Option<Span>, default| {
            let found = self.find(name, flag, str::parse, |f| file(f.repair.as_ref()?))?;
            or_default(found, || Ok(Span(default)))
        };
        let parse = |text: &str| text.parse().map_err(|_| format!("{text:?} is no count"));
        let copies = self.find("STASH_REPAIR_COPIES", up.repair_copies, parse, |file| {
            file.repair.as_ref()?.copies
        })?;
        let least = u32::try_from(default.repair_copies).unwrap_or(u32::MAX);
        Ok(RepairSettings {
            interval: span(
                "STASH_REPAIR_INTERVAL",
                up.repair_interval,
                |file| file.interval,
                default.repair_interval,
            )?,
            grace: span(
                "STASH_REPAIR_GRACE",
                up.repair_grace,
                |file| file.grace,
                default.repair_grace,
            )?,
            lapse: span(
                "STASH_REPAIR_LAPSE",
                up.repair_lapse,
                |file| file.lapse,
                default.repair_lapse,
            )?,
            copies: or_default(copies, || Ok(least))?,
            challenge: span(
                "STASH_REPAIR_CHALLENGE",
                up.repair_challenge,
                |file| file.challenge,
                default.challenge_interval,
            )?,
        })
    }

    fn retention(&self, up: &Up) -> Result<RetentionSettings, Problem> {
        let default = Retention::default();
        let age = self.find("STASH_RETENTION_AGE", up.retention_age, str::parse, |file| {
            file.retention.as_ref()?.age
        })?;
        let age = or_default(age, || Ok(Span(default.age)))?;
        let parse = |text: &str| text.parse().map_err(|_| format!("{text:?} is no count"));
        let versions =
            self.find("STASH_RETENTION_VERSIONS", up.retention_versions, parse, |file| {
                file.retention.as_ref()?.versions
            })?;
        let versions = or_default(versions, || Ok(default.versions))?;
        let flag = up.retention_forget_at_once.then_some(true);
        let meant = self.find("STASH_RETENTION_FORGET_AT_ONCE", flag, boolean, |file| {
            file.retention.as_ref()?.forget_at_once
        })?;
        let forget_at_once = or_default(meant, || Ok(false))?;
        Ok(RetentionSettings { age, versions, forget_at_once })
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

    /// What the store is told.
    pub(crate) fn quota(&self) -> Quota {
        let bytes = |setting: &Setting<Option<Size>>| setting.value.map(|size| size.0);
        Quota {
            soft: bytes(&self.quota.soft),
            hard: bytes(&self.quota.hard),
            reserve_bytes: bytes(&self.quota.reserve),
            ..Quota::default()
        }
    }

    /// What the vault is told.
    pub(crate) fn retention(&self) -> Retention {
        let RetentionSettings { age, versions, .. } = &self.retention;
        Retention { age: age.value.0, versions: versions.value }
    }

    /// What the engine is told.
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
        }
    }
}
