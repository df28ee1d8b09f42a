//! `SQLite` with the same promise: durable when the transaction is committed.
//!
//! Measured, a table of rows beside an index of the keys took objects of 1 KiB twice as fast as a
//! table without rowid, where each such row spills into a page of its own; with pages of 8 or
//! 16 KiB, none spills, and it is slower still. So the rival is the first, and both are run.

use std::path::Path;
use std::sync::mpsc::Receiver;

use rusqlite::Connection;

use crate::clients::{Request, against, serve};
use crate::measure::Outcome;
use crate::measure::object::Object;
use crate::stash::sample;
use crate::{Arguments, Trial};

/// As much cache as the store's index has by default, in KiB.
const CACHE_KIB: u64 = 8 * 1024;

/// Where the rows lie.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Layout {
    /// In the order they came, with an index of the keys.
    Indexed,
    /// In the order of their keys: a table `WITHOUT ROWID`.
    Clustered,
}

fn open(path: &Path, layout: Layout) -> Outcome<Connection> {
    let connection = Connection::open(path)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(format!("the journal mode is {mode}").into());
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", format!("-{CACHE_KIB}"))?;
    let tail = match layout {
        Layout::Indexed => "",
        Layout::Clustered => " WITHOUT ROWID",
    };
    let table = "CREATE TABLE objects (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL)";
    connection.execute_batch(&format!("{table}{tail}"))?;
    Ok(connection)
}

pub(crate) fn run(dir: &Path, layout: Layout, arguments: &Arguments) -> Outcome<Trial> {
    let mut connection = open(&dir.join("objects.sqlite"), layout)?;
    let (drive, syncs) = {
        let connection = &mut connection;
        against(arguments, move |queue| write(connection, &queue))?
    };
    check(&connection, arguments)?;
    drive.finish(dir, syncs, || connection.close().map_err(|(_, error)| error.into()))
}

/// All statements are prepared once.
fn write(connection: &Connection, queue: &Receiver<Request>) -> Outcome<u64> {
    let mut begin = connection.prepare("BEGIN IMMEDIATE")?;
    let mut insert = connection.prepare("INSERT INTO objects VALUES (?1, ?2)")?;
    let mut commit = connection.prepare("COMMIT")?;
    serve(queue, |waiting| {
        begin.execute(())?;
        for Request { object, .. } in waiting {
            insert.execute((&object.key[..], &object.bytes))?;
        }
        commit.execute(())?;
        Ok(())
    })
}

fn check(connection: &Connection, arguments: &Arguments) -> Outcome<()> {
    let mut select = connection.prepare("SELECT value FROM objects WHERE key = ?1")?;
    for number in sample(arguments.objects) {
        let object = Object::new(arguments.seed, number, arguments.size);
        let value: Vec<u8> = select.query_row([&object.key[..]], |row| row.get(0))?;
        if value != object.bytes {
            return Err(format!("row {number} is not what was put").into());
        }
    }
    Ok(())
}
