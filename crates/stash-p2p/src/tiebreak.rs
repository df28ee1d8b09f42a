//! The choice between two control connections of the same two nodes.

use crate::PublicKey;

/// The facts that decide between confirmed control connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contender {
    /// The key of the side that dialled.
    pub(crate) dialler: PublicKey,
    /// The remote endpoint's run, from its hello: another value means that it was restarted.
    pub(crate) remote_run: u64,
}

/// The fate of two control connections, now that the newer one is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The old one belongs to a run or a dial that the remote has given up: it is dead.
    ReplaceOld,
    /// Both sides dialled at once and the new one wins: the old one drains.
    DrainOld,
    /// Both sides dialled at once and the old one wins: the new one drains.
    DrainNew,
}

/// Both sides come to the same verdict, in whatever order they saw the connections: after a
/// simultaneous dial it depends on the two keys only.
pub(crate) fn tie_break(old: &Contender, new: &Contender) -> Verdict {
    if old.remote_run != new.remote_run || old.dialler == new.dialler {
        Verdict::ReplaceOld
    } else if new.dialler < old.dialler {
        Verdict::DrainOld
    } else {
        Verdict::DrainNew
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contender(dialler: u8, remote_run: u64) -> Contender {
        Contender { dialler: PublicKey::from_bytes([dialler; 32]), remote_run }
    }

    // Fault case 97.
    #[test]
    fn the_table_of_tie_breaks() {
        let table = [
            (contender(1, 7), contender(2, 7), Verdict::DrainNew),
            (contender(2, 7), contender(1, 7), Verdict::DrainOld),
            (contender(1, 7), contender(1, 7), Verdict::ReplaceOld),
            (contender(1, 7), contender(2, 8), Verdict::ReplaceOld),
            (contender(2, 7), contender(2, 8), Verdict::ReplaceOld),
        ];
        for (old, new, verdict) in table {
            assert_eq!(tie_break(&old, &new), verdict, "{old:?} against {new:?}");
        }
    }

    #[test]
    fn both_sides_keep_the_same_connection_in_any_order() {
        let (low, high) = (contender(1, 7), contender(2, 7));
        assert_eq!(tie_break(&low, &high), Verdict::DrainNew);
        assert_eq!(tie_break(&high, &low), Verdict::DrainOld);
    }
}
