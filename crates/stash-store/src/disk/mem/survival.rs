//! What outlives a power cut.

/// Decides which unsynced changes a power cut leaves.
pub(super) struct Survival {
    pub(super) random: Option<u64>,
    otherwise: bool,
}

impl Survival {
    pub(super) fn nothing() -> Survival {
        Survival { random: None, otherwise: false }
    }

    pub(super) fn everything() -> Survival {
        Survival { random: None, otherwise: true }
    }

    pub(super) fn random(seed: u64) -> Survival {
        Survival { random: Some(seed | 1), otherwise: false }
    }

    fn next(&mut self) -> u64 {
        let Some(state) = &mut self.random else {
            return 0;
        };
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state >> 11
    }

    pub(super) fn survives(&mut self) -> bool {
        if self.random.is_none() { self.otherwise } else { self.next() & 1 == 1 }
    }
}
