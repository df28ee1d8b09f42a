//! A bare log: what the disk allows whoever syncs once for all that wait.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::clients::{Request, against, serve};
use crate::measure::Outcome;
use crate::{Arguments, Trial};

pub(crate) fn run(dir: &Path, arguments: &Arguments) -> Outcome<Trial> {
    let path = dir.join("log");
    let mut file = File::create(&path)?;
    let mut buffer = Vec::new();
    let (drive, syncs) = {
        let file = &mut file;
        against(arguments, move |queue| {
            serve(&queue, |waiting| {
                buffer.clear();
                for Request { object, .. } in waiting {
                    buffer.extend_from_slice(&object.key);
                    buffer.extend_from_slice(&object.bytes);
                }
                file.write_all(&buffer)?;
                Ok(file.sync_data()?)
            })
        })?
    };
    let expected = arguments.objects * (32 + arguments.size as u64);
    let len = file.metadata()?.len();
    if len != expected {
        return Err(format!("the log has {len} bytes and not {expected}").into());
    }
    drive.finish(dir, syncs, || {
        drop(file);
        Ok(())
    })
}
