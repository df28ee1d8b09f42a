//! The classes of the errors of engine and store.

use stash_server::housekeeping::HouseError;
use stash_server::members::{ChangeMemberError, RecoverError, RosterError};
use stash_server::store::collect::CollectError;
use stash_server::store::error::ScrubError;
use stash_server::store::{CommitError, OpenError, ReadError, StageError};
use stash_server::transfers::EvictStop;
use stash_server::{
    AskError, FetchError, JoinError, LedgerError, PutError, Refusal, StartError, WriteError,
};

use crate::class::Class;

pub(crate) fn engine(error: &LedgerError) -> Class {
    match error {
        LedgerError::Read(error) => read(error),
        LedgerError::Commit(error) => commit(error),
        LedgerError::Damaged { .. } => Class::Integrity,
    }
}

fn read(error: &ReadError) -> Class {
    match error {
        ReadError::Damaged { .. } | ReadError::RecordDamaged { .. } => Class::Integrity,
        ReadError::Io(error) => Class::of_io(&error.source, Class::Failed),
        ReadError::Away(_) => Class::Temporary,
        _ => Class::Failed,
    }
}

pub(crate) fn commit(error: &CommitError) -> Class {
    match error {
        error if error.is_full() => Class::Full,
        CommitError::MissingChunk { .. } | CommitError::Away(_) => Class::Temporary,
        CommitError::Named { .. } => Class::Temporary,
        CommitError::Read(error) => read(error),
        CommitError::Io(error) => Class::of_io(&error.source, Class::Failed),
        _ => Class::Failed,
    }
}

pub(crate) fn put(error: &PutError) -> Class {
    match error {
        PutError::Role(_) => Class::Refused,
        PutError::Stage(error) => stage(error),
        PutError::OverKeep(_) => Class::Full,
        PutError::Write(error) => write(error),
        PutError::Ledger(error) => engine(error),
        PutError::Stopping => Class::Temporary,
        _ => Class::Failed,
    }
}

fn stage(error: &StageError) -> Class {
    match error {
        error if error.is_full() => Class::Full,
        StageError::Away(_) => Class::Temporary,
        StageError::Read(error) => read(error),
        StageError::Io(error) => Class::of_io(&error.source, Class::Failed),
        _ => Class::Failed,
    }
}

fn write(error: &WriteError) -> Class {
    match error {
        WriteError::Ledger(error) => engine(error),
        WriteError::TooManyWriters(_) | WriteError::Role(_) => Class::Refused,
        WriteError::ChunkGone => Class::Temporary,
        WriteError::Draft(_) => Class::Failed,
    }
}

pub(crate) fn fetch(error: &FetchError) -> Class {
    match error {
        FetchError::Missing { .. } | FetchError::Stopping => Class::Temporary,
        FetchError::Here { source, .. } => read(source),
        _ => Class::Integrity,
    }
}

pub(crate) fn evict(why: &EvictStop) -> Class {
    match why {
        EvictStop::NotProven { .. } => Class::Refused,
        EvictStop::Busy | EvictStop::Named { .. } => Class::Temporary,
        EvictStop::Ledger(error) => engine(error),
    }
}

pub(crate) fn join(error: &JoinError) -> Class {
    match error {
        JoinError::Log(_) => Class::Integrity,
        JoinError::NoAnswer(_) | JoinError::Expired => Class::Temporary,
        JoinError::Refused(error) => ask(error),
        JoinError::Name(_) => Class::Usage,
        _ => Class::Failed,
    }
}

fn ask(error: &AskError) -> Class {
    match error {
        AskError::Gone(_) | AskError::Late => Class::Temporary,
        AskError::Here(error) => engine(error),
        AskError::Refused { code: Refusal::Failed, .. } | AskError::NotKept(_) => Class::Failed,
        _ => Class::Integrity,
    }
}

pub(crate) fn recover(error: &RecoverError) -> Class {
    match error {
        RecoverError::Nobody | RecoverError::Overtaken(_) => Class::Temporary,
        RecoverError::Parted(_) | RecoverError::Few(_) => Class::Refused,
        _ => Class::Failed,
    }
}

pub(crate) fn start(error: &StartError) -> Class {
    match error {
        StartError::Roster(_) => Class::Integrity,
        StartError::NotMember => Class::Refused,
        StartError::Ledger(error) => engine(error),
        _ => Class::Failed,
    }
}

pub(crate) fn open(error: &OpenError) -> Class {
    match error {
        OpenError::NoStore { .. } => Class::NoStore,
        OpenError::Locked { .. } => Class::Locked,
        OpenError::Damaged { .. } => Class::Integrity,
        OpenError::Occupied { .. } | OpenError::WrongStore { .. } => Class::Refused,
        OpenError::Io(error) => Class::of_io(&error.source, Class::Failed),
        _ => Class::Failed,
    }
}

/// The class of the error of a member that was not changed.
#[must_use]
pub fn change_member(error: &ChangeMemberError) -> Class {
    match error {
        ChangeMemberError::NotFounder
        | ChangeMemberError::Founder
        | ChangeMemberError::NotMet(_) => Class::Refused,
        ChangeMemberError::NotAMember(_) => Class::NotFound,
        ChangeMemberError::SameRole { .. } => Class::Usage,
        ChangeMemberError::Ledger(error) => engine(error),
        ChangeMemberError::Roster(RosterError::Commit(error)) => commit(error),
        ChangeMemberError::Roster(RosterError::Read(error)) => read(error),
        _ => Class::Failed,
    }
}

/// The class of the error with which housekeeping ended that was asked for.
#[must_use]
pub fn house(error: &HouseError) -> Class {
    match error {
        HouseError::Collect(CollectError::Read(error))
        | HouseError::Scrub(ScrubError::Read(error))
        | HouseError::Read(error) => read(error),
        HouseError::Collect(CollectError::Commit(error)) => commit(error),
        HouseError::Collect(CollectError::Io(error)) | HouseError::Scrub(ScrubError::Io(error)) => {
            Class::of_io(&error.source, Class::Failed)
        }
        HouseError::Ledger(error) => engine(error),
        HouseError::Cancelled => Class::Cancelled,
        _ => Class::Failed,
    }
}
