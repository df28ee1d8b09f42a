//! Limits of one batch.

use super::{
    Batch, MAX_BATCH_BYTES, MAX_MANIFEST_REFS, MAX_RECORD_BYTES, MAX_RECORD_REFS, MAX_ROW_KEY,
    MAX_ROW_VALUE, Step,
};
use crate::CommitError;
use crate::entry::{Op, entry_len};
use crate::log::mark_len;

impl Batch {
    /// Checks every limit that does not depend on what is stored. Bytes of log that the batch takes, its
    /// mark included.
    pub(crate) fn log_bytes(&self) -> Result<u64, CommitError> {
        let mut bytes = mark_len();
        for step in &self.steps {
            bytes += step_len(step)?;
        }
        at_most("a batch", bytes, MAX_BATCH_BYTES)?;
        Ok(bytes)
    }

    /// Bytes that count as room taken, of all `log_bytes`: what drops records gives more back.
    pub(crate) fn room_taken(&self, log_bytes: u64) -> u64 {
        let drops = self.steps.iter().filter(|step| matches!(step, Step::Drop(_))).count() as u64;
        log_bytes.saturating_sub(drops * entry_len(DROP_BODY))
    }
}

fn at_most(what: &'static str, len: u64, limit: u64) -> Result<(), CommitError> {
    if len <= limit { Ok(()) } else { Err(CommitError::TooLarge { what, len, limit }) }
}

/// Bytes that an entry which drops a record takes at most.
const DROP_BODY: u64 = 124 + 36 * MAX_RECORD_REFS as u64;

fn step_len(step: &Step) -> Result<u64, CommitError> {
    const REF: u64 = 36;
    let body = match step {
        Step::Record(r) => {
            at_most("a record", r.bytes.len() as u64, MAX_RECORD_BYTES as u64)?;
            at_most("a record's references", r.refs.len() as u64, MAX_RECORD_REFS as u64)?;
            120 + r.refs.len() as u64 * REF + r.bytes.len() as u64
        }
        Step::Row { key, value } => {
            let op = Op::Row { key: key.clone(), value: value.clone() };
            at_most("a row's key", key.len() as u64, MAX_ROW_KEY as u64)?;
            let value = value.as_ref().map_or(0, Vec::len);
            at_most("a row's value", value as u64, MAX_ROW_VALUE as u64)?;
            op.body_len(0)
        }
        Step::Require(_) | Step::Await(_) | Step::NoneLostSince(_) => return Ok(0),
        Step::Evict { addresses, .. } => return Ok(addresses.len() as u64 * entry_len(32)),
        Step::Manifest { refs, .. } => {
            at_most("a manifest's references", refs.len() as u64, MAX_MANIFEST_REFS as u64)?;
            36 + refs.len() as u64 * REF
        }
        // The committer finds out what the record named; it can be no more than this.
        Step::Drop(_) => DROP_BODY,
        Step::Quarantine { .. } => 32,
        Step::Reclaim(work) => return Ok(work.log_bytes()),
    };
    Ok(entry_len(body))
}
