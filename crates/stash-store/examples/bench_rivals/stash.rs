//! The store's sides.

use std::path::Path;

use stash_store::{Batch, Options, Store};

use crate::clients::{Drive, drive};
use crate::measure::Outcome;
use crate::measure::object::Object;
use crate::{Arguments, Trial};

/// Objects that are read back to see that the side did its work.
pub(crate) const CHECKED: u64 = 1000;

/// Numbers of objects spread over all of them.
pub(crate) fn sample(objects: u64) -> impl Iterator<Item = u64> {
    let step = objects.div_ceil(CHECKED).max(1);
    (0..objects).step_by(usize::try_from(step).unwrap_or(usize::MAX))
}

pub(crate) fn records(dir: &Path, arguments: &Arguments) -> Outcome<Trial> {
    let store = Store::create(dir, &Options::default())?;
    let groups = store.stats().groups;
    let drive = drive(arguments, |object| {
        store.commit(Batch::new().record(object.record()))?;
        Ok(())
    })?;
    let groups = store.stats().groups - groups;
    for number in sample(arguments.objects) {
        let object = Object::new(arguments.seed, number, arguments.size);
        let found = store.record(&object.key)?;
        if found.is_none_or(|found| found.bytes[..] != object.bytes) {
            return Err(format!("record {number} is not what was put").into());
        }
    }
    finish(drive, dir, groups, store)
}

pub(crate) fn blobs(dir: &Path, arguments: &Arguments) -> Outcome<Trial> {
    let store = Store::create(dir, &Options::default())?;
    let groups = store.stats().groups;
    let drive = drive(arguments, |object| {
        let blob = object.blob();
        let address = blob.address();
        store.stage(blob)?;
        store.commit(Batch::new().require(address))?;
        Ok(())
    })?;
    let groups = store.stats().groups - groups;
    let mut bytes = Vec::new();
    for number in sample(arguments.objects) {
        let blob = Object::new(arguments.seed, number, arguments.size).blob();
        if !store.read_into(&blob.address(), &mut bytes)? || bytes != blob.bytes() {
            return Err(format!("blob {number} is not what was put").into());
        }
    }
    finish(drive, dir, groups, store)
}

fn finish(drive: Drive, dir: &Path, groups: u64, store: Store) -> Outcome<Trial> {
    drive.finish(dir, groups, || {
        drop(store);
        Ok(())
    })
}
