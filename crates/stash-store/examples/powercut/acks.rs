//! A journal of what a user was about to do and was told, a line each, on a disk that is not cut.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use crate::model::Model;
use crate::operation::Operation;
use crate::user::Failure;

/// The file, and what follows from its lines:
///
/// - `create`, `created`: a store is about to be made; it was made.
/// - `opened N`: a store was opened, for the Nth time as it says itself.
/// - `do N OPERATION…`: step N is handed over.
/// - `ok N`: step N was acknowledged.
/// - `stands N BLOB…`: a store that was opened shows all steps up to N, none after it, and these
///   blobs that were staged and not committed.
#[derive(Debug)]
pub(crate) struct Acks {
    file: File,
    pub(crate) created: bool,
    /// The count of opens, as the store last reported it.
    pub(crate) opens: u64,
    /// Steps acknowledged, or found done.
    pub(crate) last: u64,
    /// The store after those.
    pub(crate) sure: Model,
    /// Steps handed over, in order. A store may show any number of the first of them.
    pub(crate) under_way: VecDeque<(u64, Vec<Operation>)>,
}

impl Acks {
    pub(crate) fn open(path: &Path) -> Result<Acks, Failure> {
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut acks = Acks {
            file,
            created: false,
            opens: 0,
            last: 0,
            sure: Model::default(),
            under_way: VecDeque::new(),
        };
        for line in text.lines() {
            acks.take(line)?;
        }
        Ok(acks)
    }

    /// Writes a line, with one call: a process that is killed leaves whole lines.
    pub(crate) fn note(&mut self, line: &str) -> Result<(), Failure> {
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.take(line)
    }

    fn take(&mut self, line: &str) -> Result<(), Failure> {
        let broken = || Failure::from(format!("the acks have a line that makes no sense: {line}"));
        let mut words = line.split(' ');
        let (word, mut number) = (words.next(), || words.next()?.parse::<u64>().ok());
        match word {
            Some("create") => {}
            Some("created") => self.created = true,
            Some("opened") => self.opens = number().ok_or_else(broken)?,
            Some("do") => {
                let number = number().ok_or_else(broken)?;
                let operations = words.map(str::parse).collect::<Result<Vec<Operation>, _>>()?;
                self.under_way.push_back((number, operations));
            }
            Some("ok") => {
                let step = self.under_way.pop_front().filter(|step| number() == Some(step.0));
                self.apply(step.ok_or_else(broken)?);
            }
            Some("stands") => {
                let stands = number().ok_or_else(broken)?;
                while self.under_way.front().is_some_and(|step| step.0 <= stands) {
                    let step = self.under_way.pop_front().ok_or_else(broken)?;
                    self.apply(step);
                }
                self.under_way.clear();
                self.last = stands;
                for word in words {
                    self.sure.blobs.insert(word.parse()?);
                }
            }
            _ => return Err(broken()),
        }
        Ok(())
    }

    fn apply(&mut self, (number, operations): (u64, Vec<Operation>)) {
        for operation in operations {
            operation.apply(&mut self.sure);
        }
        self.last = number;
    }

    /// Blobs that were staged, whose commits may have been cut off.
    pub(crate) fn staged(&self) -> BTreeSet<u64> {
        let operations = self.under_way.iter().flat_map(|(_, operations)| operations);
        operations.filter_map(Operation::stages).collect()
    }

    /// Up to which step this store is; says so in a line. A store that shows a part of a step, or
    /// not all that was acknowledged, is a broken promise.
    pub(crate) fn settle(&mut self, seen: &Model) -> Result<(), Failure> {
        let (mut number, mut model, staged) = (self.last, self.sure.clone(), self.staged());
        let mut misfits = Vec::new();
        let mut steps = self.under_way.iter();
        while let Some(misfit) = model.difference(seen, &staged) {
            misfits.push(format!("after step {number}, but {misfit}"));
            let Some((next, operations)) = steps.next() else {
                let misfits = misfits.join("; nor ");
                return Err(format!("the store is not as {misfits}").into());
            };
            operations.iter().for_each(|operation| operation.apply(&mut model));
            number = *next;
        }
        let early = seen.blobs.difference(&model.blobs).map(|b| format!(" {b}"));
        self.note(&format!("stands {number}{}", early.collect::<String>()))
    }
}
