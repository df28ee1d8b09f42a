//! The result of a check of a store, as it is told: by a daemon that heals, or by a command without one.

use stash_api::upkeep::CheckDone;
use stash_vault::server::store::Finding;
use stash_vault::server::store::check::CheckReport;

/// Damage left after healing: of chunks and records, what healing knows of and what was
/// found beyond its lists; everything else that a check finds.
pub(crate) fn unhealed(report: &CheckReport, known: u64) -> u64 {
    let lists = [&report.chunks_damaged, &report.records_damaged];
    let beyond = lists.map(|list| list.total - list.first.len() as u64).iter().sum::<u64>();
    known + beyond + report.rows_damaged.total + report.sums_wrong.len() as u64
}

/// A check of a store that nobody heals.
pub(crate) fn checked_store(report: &CheckReport) -> CheckDone {
    let found = report.rows_damaged.total
        + report.records_damaged.total
        + report.chunks_damaged.total
        + report.sums_wrong.len() as u64;
    let findings = report.chunks_damaged.first.iter().chain(&report.records_damaged.first);
    let sums = report.sums_wrong.iter().map(|sum| {
        format!("the store counts {} {}, and {} are there", sum.stated, sum.what, sum.counted)
    });
    let findings = report
        .rows_damaged
        .first
        .iter()
        .cloned()
        .chain(findings.map(Finding::to_string))
        .chain(sums);
    CheckDone {
        sound: report.is_sound(),
        rows: report.rows,
        files: report.files,
        bytes_read: report.bytes_read,
        found,
        healed: 0,
        unhealed: found,
        findings: findings.collect(),
        damaged: Vec::new(),
        missing: report.missing.total,
        strays: report.strays.total,
        stray_bytes: report.stray_bytes,
        rebuilt: None,
    }
}
