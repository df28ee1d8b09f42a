//! The figures of all sizes beneath each other, and where one side begins to win.

use serde_json::{Value, json};

use crate::measure::report::Report;
use crate::measure::{mib, rounded};
use crate::sweep::Row;
use crate::{Arguments, Step, Trial};

/// The share up to which a tier counts as equal: a file can be removed, room in the log cannot be given back alone.
const NEARLY: f64 = 0.9;

fn mib_s(row: &Row, step: Step) -> f64 {
    row.middle(step, |trial| mib(trial.bytes) / trial.seconds)
}

fn each_s(row: &Row, step: Step) -> f64 {
    row.middle(step, |trial| trial.objects as f64 / trial.seconds)
}

fn each(row: &Row, step: Step, figure: fn(&Trial) -> u64) -> f64 {
    row.middle(step, |trial| figure(trial) as f64 / trial.objects as f64)
}

fn disk(row: &Row, step: Step) -> f64 {
    each(row, step, |trial| trial.grown.disk_bytes)
}

fn inodes(row: &Row, step: Step) -> f64 {
    each(row, step, |trial| trial.grown.inodes)
}

/// The smallest size from which on `better` holds for all.
fn from_which(rows: &[Row], better: impl Fn(&Row) -> bool) -> Option<u64> {
    rows.iter().rev().take_while(|row| better(row)).last().map(|row| row.kib)
}

fn verdict(report: Report, what: &str, from: Option<u64>) {
    match from {
        Some(kib) => report.line(format_args!("{what} from {kib} KiB on")),
        None => report.line(format_args!("{what} at no size")),
    }
}

fn footing(report: Report, arguments: &Arguments, rows: &[Row]) {
    let peak = rows.iter().flat_map(Row::trials).map(|trial| trial.peak_rss).max();
    report.line(format_args!(
        "{} threads, {} a commit, seed {}, medians of {} rounds; peak memory of a process {:.0} MiB",
        arguments.threads,
        arguments.batch,
        arguments.seed,
        arguments.rounds,
        mib(peak.unwrap_or_default())
    ));
}

pub(crate) fn tiers(report: Report, arguments: &Arguments, rows: &[Row]) -> Value {
    use Step::{PutFile, PutLog, ReadFile, ReadLog};
    let warm = if arguments.warm_dirs { ", directories made before" } else { "" };
    report.line(format_args!(
        "\nblobs in the log | in files, {} MiB of each size, at most {} blobs{warm}\n\
         {:>5} {:>13} {:>17} {:>21} {:>15}",
        arguments.mib,
        arguments.most,
        "KiB",
        "put MiB/s",
        "read MiB/s",
        "bytes on disk, each",
        "inodes, each"
    ));
    let mut list = Vec::new();
    for row in rows {
        let put = (mib_s(row, PutLog), mib_s(row, PutFile));
        let read = (mib_s(row, ReadLog), mib_s(row, ReadFile));
        let disk = (disk(row, PutLog), disk(row, PutFile));
        let inodes = (inodes(row, PutLog), inodes(row, PutFile));
        report.line(format_args!(
            "{:>5} {:>6.0} |{:>5.0} {:>10.0} |{:>5.0} {:>10.0} |{:>9.0} {:>8.2} |{:>5.2}",
            row.kib, put.0, put.1, read.0, read.1, disk.0, disk.1, inodes.0, inodes.1
        ));
        list.push(json!({
            "kib": row.kib,
            "log": figures(row, PutLog, put.0, read.0, disk.0, inodes.0),
            "file": figures(row, PutFile, put.1, read.1, disk.1, inodes.1),
        }));
    }
    let put = |share: f64| from_which(rows, |r| mib_s(r, PutFile) >= share * mib_s(r, PutLog));
    let read = |share: f64| from_which(rows, |r| mib_s(r, ReadFile) >= share * mib_s(r, ReadLog));
    verdict(report, "files are put faster", put(1.0));
    verdict(report, "files are put at 0.9 of the log's rate or more", put(NEARLY));
    verdict(report, "files are read faster", read(1.0));
    verdict(report, "files are read at 0.9 of the log's rate or more", read(NEARLY));
    footing(report, arguments, rows);
    json!({
        "sizes": list,
        "files_put_faster_from_kib": put(1.0), "files_put_nearly_as_fast_from_kib": put(NEARLY),
        "files_read_faster_from_kib": read(1.0), "files_read_nearly_as_fast_from_kib": read(NEARLY),
    })
}

fn figures(row: &Row, step: Step, put: f64, read: f64, disk: f64, inodes: f64) -> Value {
    let rss = row.middle(step, |trial| mib(trial.peak_rss));
    json!({
        "put_mib_s": rounded(put), "read_mib_s": rounded(read), "disk_bytes_each": rounded(disk),
        "inodes_each": rounded(inodes), "peak_rss_mib": rounded(rss),
        "put_rounds": row.of(step).collect::<Vec<_>>(),
    })
}

pub(crate) fn sync(report: Report, arguments: &Arguments, rows: &[Row]) -> Value {
    use Step::{SyncEach, Syncfs, SyncfsTwice};
    report.line(format_args!(
        "\nnew files made durable, {} at a time, {} MiB of each size, at most {} files, MiB/s\n\
         {:>5} {:>12} {:>12} {:>12} {:>14}",
        arguments.threads * arguments.batch,
        arguments.mib,
        arguments.most,
        "KiB",
        "fdatasync",
        "syncfs",
        "syncfs twice",
        "disk, each"
    ));
    let mut list = Vec::new();
    for row in rows {
        let [each, one, two] = [SyncEach, Syncfs, SyncfsTwice].map(|step| mib_s(row, step));
        let disk = disk(row, SyncEach);
        report
            .line(format_args!("{:>5} {each:>12.0} {one:>12.0} {two:>12.0} {disk:>14.0}", row.kib));
        list.push(json!({
            "kib": row.kib, "fdatasync_mib_s": rounded(each), "syncfs_mib_s": rounded(one),
            "syncfs_twice_mib_s": rounded(two), "disk_bytes_each": rounded(disk),
        }));
    }
    let faster = from_which(rows, |row| mib_s(row, SyncEach) >= mib_s(row, Syncfs));
    verdict(report, "one fdatasync each is faster than a syncfs", faster);
    footing(report, arguments, rows);
    json!({ "sizes": list, "fdatasync_faster_from_kib": faster })
}

pub(crate) fn inline(report: Report, arguments: &Arguments, rows: &[Row]) -> Value {
    use Step::{RecordBlob, RecordInline};
    report.line(format_args!(
        "\nfiles inside their record | a record and a blob, {} of each size\n\
         {:>5} {:>17} {:>23} {:>19}",
        arguments.records, "KiB", "files/s", "bytes on disk, each", "of the rate"
    ));
    let mut list = Vec::new();
    for row in rows {
        let rate = (each_s(row, RecordInline), each_s(row, RecordBlob));
        let disk = (disk(row, RecordInline), disk(row, RecordBlob));
        report.line(format_args!(
            "{:>5} {:>8.0} |{:>7.0} {:>14.0} |{:>7.0} {:>19.2}",
            row.kib,
            rate.0,
            rate.1,
            disk.0,
            disk.1,
            rate.1 / rate.0
        ));
        list.push(json!({
            "kib": row.kib,
            "inline_files_s": rounded(rate.0), "blob_files_s": rounded(rate.1),
            "inline_disk_bytes_each": rounded(disk.0), "blob_disk_bytes_each": rounded(disk.1),
        }));
    }
    let faster = from_which(rows, |row| each_s(row, RecordBlob) >= each_s(row, RecordInline));
    let smaller = from_which(rows, |row| disk(row, RecordBlob) <= disk(row, RecordInline));
    verdict(report, "a record and a blob are put faster", faster);
    verdict(report, "a record and a blob take less of the disk", smaller);
    footing(report, arguments, rows);
    json!({ "sizes": list, "blob_faster_from_kib": faster, "blob_smaller_from_kib": smaller })
}
