//! Advice on what to type next, for each error that a user meets: the one table of it.

use stash_vault::crypto::keys::KeyringError;
use stash_vault::error::{
    EvictError, KeyError, RecoveryTextError, RemoveError, ResolveError, RetentionError,
    RewriteError, UndeleteError,
};
use stash_vault::server::members::{ChangeMemberError, NotMet, RecoverError, RevokeError};
use stash_vault::server::store::OpenError;
use stash_vault::server::transfers::EvictStop;
use stash_vault::server::{FetchError, InviteError, JoinError, StartError};
use stash_vault::{Class, GetError, HomeError, LookupError, PutError};

/// Says what to do next.
pub(crate) trait Hint {
    /// A sentence without a full stop; `None` where nothing helps but to read the message.
    fn hint(&self) -> Option<String>;
}

impl Hint for LookupError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            LookupError::NotFound { .. } => "`stash ls` shows what is stored".to_owned(),
            LookupError::NoVersion { .. } | LookupError::Removal { .. } => {
                "`stash history KEY` lists the versions".to_owned()
            }
            LookupError::ManyVersions { .. } => "give more digits of it".to_owned(),
            LookupError::Key { source: KeyError::Empty, .. } => {
                "nothing was changed; name a file or a directory. Is a variable of a script not set?"
                    .to_owned()
            }
            LookupError::Key { .. } => "a key is a relative path such as photos/2024/a.jpg".into(),
            LookupError::SetAside { .. } => "`stash status` lists the alarms".to_owned(),
            LookupError::IndexBehind => "try again in a moment".to_owned(),
            LookupError::Index { .. } => "look at the disk of the data directory".to_owned(),
            LookupError::Engine(error) if error.is_damaged_record() => {
                "`stash scrub` names the files; connect a member that has them, or put them again"
                    .to_owned()
            }
            LookupError::Engine(_) => return None,
        })
    }
}

impl Hint for PutError {
    fn hint(&self) -> Option<String> {
        match self {
            PutError::ReadOnly { .. } => {
                Some("store on an owner, or invite this node again with --role owner".to_owned())
            }
            PutError::PerProcess { .. } => {
                Some("pass what it holds through stdin: stash put - --as KEY".to_owned())
            }
            PutError::BelowFile { file, .. } => {
                Some(format!("remove that file first, its versions stay: stash rm '{file}'"))
            }
            PutError::OverTree { key } => {
                Some(format!("remove the tree first, its versions stay: stash rm -r '{key}'"))
            }
            PutError::SameKey { .. } => {
                Some("put them one by one, each with its own --as KEY".to_owned())
            }
            PutError::Name { .. } => Some("name it yourself with --as KEY".to_owned()),
            PutError::Lookup(error) => error.hint(),
            _ if self.class() == Class::Full => Some(
                "make room: `stash gc --now`, `stash evict KEY`, a higher quota, or a larger disk"
                    .to_owned(),
            ),
            PutError::Length { .. } => Some("nothing was stored; send it again".to_owned()),
            _ => None,
        }
    }
}

impl Hint for GetError {
    fn hint(&self) -> Option<String> {
        match self {
            GetError::Lookup(error) => error.hint(),
            GetError::Fetch { source: FetchError::Here { .. }, .. }
            | GetError::OldVersion { source: FetchError::Here { .. }, .. } => Some(
                "look at the disk of the data directory; `stash where KEY` shows who else holds it"
                    .to_owned(),
            ),
            GetError::Fetch { source: FetchError::Damaged { .. }, .. } => Some(
                "connect a member that has it whole (`stash where KEY`), or put the file again"
                    .to_owned(),
            ),
            GetError::Fetch { .. } => {
                Some("`stash where KEY` shows who holds it; connect one of them".to_owned())
            }
            GetError::OldVersion { .. } => Some(
                "connect the other members; if none of them has these bytes, this version is lost, and \
                 `stash history KEY` lists the others"
                    .to_owned(),
            ),
            GetError::Exists { .. } => Some("add --overwrite, or name another output".to_owned()),
            GetError::Covered { .. } => Some("get it alone, with -o FILE".to_owned()),
            GetError::SameOutput { .. } => {
                Some("get them one by one, each with its own -o".to_owned())
            }
            GetError::IsTree { .. } => Some("`stash ls KEY` shows what lies in it".to_owned()),
            GetError::IsLink { .. } => Some("write it out with `stash get KEY`".to_owned()),
            GetError::Occupied { .. } => {
                Some("name another output with -o; `-o -` writes a file to stdout".to_owned())
            }
            GetError::IsDirectory { .. } => Some("name the file itself with -o".to_owned()),
            GetError::NoOutput => Some("add -o DIRECTORY".to_owned()),
            GetError::Unsafe { .. } => Some("write into a fresh directory with -o".to_owned()),
            _ => None,
        }
    }
}

impl Hint for RemoveError {
    fn hint(&self) -> Option<String> {
        match self {
            RemoveError::ReadOnly { .. } => Some("remove it on an owner".to_owned()),
            RemoveError::Lookup(error) => error.hint(),
            RemoveError::Tree { .. } => Some("add -r to remove every file under it".to_owned()),
            RemoveError::Upload(_) | RemoveError::Cancelled => None,
        }
    }
}

impl Hint for UndeleteError {
    fn hint(&self) -> Option<String> {
        match self {
            UndeleteError::ReadOnly { .. } => Some("bring it back on an owner".to_owned()),
            UndeleteError::Lookup(LookupError::NotFound { .. }) => {
                Some("`stash ls --deleted` shows what can be brought back".to_owned())
            }
            UndeleteError::Lookup(error) => error.hint(),
            UndeleteError::Exists { .. } => Some(
                "`stash history KEY` shows its versions; `stash resolve KEY --take VERSION` makes an \
                 older one the file again"
                    .to_owned(),
            ),
            UndeleteError::Tree { .. } => {
                Some("add -r to bring back every removed file under it".to_owned())
            }
            UndeleteError::Rewrite(error) => error.hint(),
        }
    }
}

impl Hint for ResolveError {
    fn hint(&self) -> Option<String> {
        match self {
            ResolveError::ReadOnly { .. } => Some("resolve it on an owner".to_owned()),
            ResolveError::Lookup(LookupError::NotFound { .. }) => {
                Some("`stash ls --conflicts` shows what can be resolved".to_owned())
            }
            ResolveError::Lookup(error) => error.hint(),
            ResolveError::NotAFile { .. } => Some("name one file with --file".to_owned()),
            ResolveError::Rewrite(error) => error.hint(),
            ResolveError::Put(error) => error.hint(),
        }
    }
}

impl Hint for RewriteError {
    fn hint(&self) -> Option<String> {
        match self {
            RewriteError::Fetch { .. } => {
                Some("connect the other members: `stash peers` shows who is there".to_owned())
            }
            RewriteError::NotKept { .. } => {
                Some("make room: `stash gc --now`, `stash evict KEY`, or a higher quota".to_owned())
            }
            RewriteError::Moved { .. } => {
                Some("`stash history KEY` shows what came in; then try again".to_owned())
            }
            RewriteError::Upload(_) | RewriteError::Engine(_) | RewriteError::Cancelled => None,
        }
    }
}

impl Hint for EvictError {
    fn hint(&self) -> Option<String> {
        match self {
            EvictError::Lookup(error) => error.hint(),
            EvictError::Tree { .. } => Some("add -r to evict every file under it".to_owned()),
            EvictError::Manifest(_) => Some("`stash peers` shows who is connected".to_owned()),
            EvictError::Refused(error) => match error.why {
                EvictStop::NotProven { copies, .. } => {
                    let less = match copies {
                        1 => "",
                        _ => ", or add --copies 1: then the other node may have the only copy",
                    };
                    Some(format!(
                        "`stash where KEY` shows who holds it; connect another member that is not in doubt{less}"
                    ))
                }
                EvictStop::Named { .. } => Some("evict it again".to_owned()),
                EvictStop::Busy | EvictStop::Ledger(_) => None,
            },
            EvictError::Engine(_) | EvictError::Cancelled => None,
        }
    }
}

impl Hint for RetentionError {
    fn hint(&self) -> Option<String> {
        None
    }
}

impl Hint for RecoveryTextError {
    fn hint(&self) -> Option<String> {
        Some("ask for it on the founding node".to_owned())
    }
}

impl Hint for HomeError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            HomeError::NoStash { .. } => "`stash init` or `stash join TICKET`".to_owned(),
            HomeError::Exists { .. } => "name another directory with --data-dir".to_owned(),
            HomeError::Locked { .. } => "stop the other process, or use its socket".to_owned(),
            HomeError::StoreMissing { .. } => {
                "mount the disk that holds it; nothing was created in its place. If it is lost for \
                 good, remove the file `opens` and what is left of `store`, and start again: \
                 everything is taken back from the other members"
                    .to_owned()
            }
            HomeError::KeyringMissing { .. } => {
                "restore it from a backup; without one, recover into a new directory: `stash init --recover \
                 FILE`"
                    .to_owned()
            }
            HomeError::Exposed { .. } => {
                "put it on a file system that keeps modes, mount this one for its owner alone (umask=077, \
                 or file_mode=0600,dir_mode=0700), or keep it below a directory of mode 0700"
                    .to_owned()
            }
            HomeError::WrongStore { .. } => "put the right directory back".to_owned(),
            HomeError::Keyring { source, .. } => source.hint()?,
            HomeError::Joined { .. } => {
                "serve it with `stash up`. If it was removed, or another node is to join here: use the ticket with another \
                 --data-dir"
                    .to_owned()
            }
            HomeError::Start(StartError::NotMember) => {
                "a node that was removed does not start again. To come back, join with a new ticket and another \
                 --data-dir: `stash join TICKET`; this directory can go once the others have what was stored here"
                    .to_owned()
            }
            HomeError::HasRecords { .. } => "join with another --data-dir".to_owned(),
            HomeError::Store(OpenError::Damaged { .. }) => {
                "while no node runs: stash check --rebuild".to_owned()
            }
            HomeError::Join(error) => error.hint()?,
            HomeError::Recover(error) => error.hint()?,
            HomeError::Admit(_) => "a display name has at most 64 bytes".to_owned(),
            _ => return None,
        })
    }
}

impl Hint for JoinError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            JoinError::Expired => {
                "ask for a new ticket: `stash invite --role ROLE` on the founding node".to_owned()
            }
            JoinError::NoAnswer(_) => {
                "check that the inviting node runs and that its address can be reached from here; if so, \
                 the ticket was used by another node, has expired or was taken back: `stash status` on the \
                 inviting node says who used it, and `stash invite --role ROLE` there makes a new one"
                    .to_owned()
            }
            JoinError::Name(_) => "a display name has at most 64 bytes".to_owned(),
            _ => return None,
        })
    }
}

impl Hint for RecoverError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            RecoverError::Nobody => {
                "start a member, and name its address if it has moved: --at HOST:PORT".to_owned()
            }
            RecoverError::Few(_) => "to read everything at once and sign nothing: --read. Start more \
                 members, or name them with --at HOST:PORT; if those that are silent are gone for good: \
                 --alone"
                .to_owned(),
            RecoverError::Parted(_) => {
                "nothing was signed. To read what the most members follow: --read".to_owned()
            }
            RecoverError::Overtaken(_) => "try again".to_owned(),
            _ => return None,
        })
    }
}

impl Hint for KeyringError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            KeyringError::NeedsPassphrase => "give the passphrase".to_owned(),
            KeyringError::WrongPassphrase => "try again: nothing was changed".to_owned(),
            KeyringError::Damaged | KeyringError::NotAKeyring => {
                "restore it from a backup, or recover with the recovery text".to_owned()
            }
            KeyringError::Version { .. } => "use a newer version of stash".to_owned(),
            _ => return None,
        })
    }
}

impl Hint for NotMet {
    fn hint(&self) -> Option<String> {
        let first = match self {
            NotMet::Nobody => "wait until stash peers shows another member as connected",
            _ => "start the members that stash peers shows as away",
        };
        Some(format!(
            "{first}, and repeat; if those that might know more are gone for good, add --alone"
        ))
    }
}

impl Hint for InviteError {
    fn hint(&self) -> Option<String> {
        match self {
            InviteError::NotMet(why) => why.hint(),
            _ => None,
        }
    }
}

impl Hint for RevokeError {
    fn hint(&self) -> Option<String> {
        match self {
            RevokeError::Used { .. } => Some("to shut it out: `stash peer remove NAME`".to_owned()),
            RevokeError::NotFounder => Some("ask for it on the founding node".to_owned()),
            _ => None,
        }
    }
}

impl Hint for ChangeMemberError {
    fn hint(&self) -> Option<String> {
        match self {
            ChangeMemberError::NotFounder => Some("ask for it on the founding node".to_owned()),
            ChangeMemberError::NotMet(why) => why.hint(),
            _ => None,
        }
    }
}
