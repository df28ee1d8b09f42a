//! Decisions: out of a seed, or out of the bytes of a fuzzer.

use std::cell::RefCell;
use std::rc::Rc;

use super::Random;

/// Takes the decisions of a [`super::model::User`].
pub trait Choices {
    /// A number below `n`, which is not 0.
    fn below(&mut self, n: u64) -> u64;
    /// Bytes of which nothing but their length matters, other ones each time.
    fn bytes(&mut self, len: usize) -> Vec<u8>;
}

impl Choices for Random {
    fn below(&mut self, n: u64) -> u64 {
        Random::below(self, n)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        Random::bytes(self, len)
    }
}

/// Decisions out of given bytes; zeros once they are used up. Clones read on where the others are.
#[derive(Clone)]
pub struct Script(Rc<RefCell<State>>);

struct State {
    bytes: Vec<u8>,
    at: usize,
    /// Where the bytes end for now; beyond, there are zeros.
    end: usize,
    filling: Random,
}

impl Script {
    pub fn new(bytes: &[u8]) -> Script {
        let (bytes, end) = (bytes.to_vec(), bytes.len());
        Script(Rc::new(RefCell::new(State { bytes, at: 0, end, filling: Random(1) })))
    }

    pub fn is_over(&self) -> bool {
        let state = self.0.borrow();
        state.at >= state.bytes.len()
    }

    /// Lets `f` have the next `len` bytes, and no others, whatever it makes of them: so that one
    /// byte more or less changes nothing that comes later.
    pub fn within<T>(&self, len: usize, f: impl FnOnce() -> T) -> T {
        let (outer, inner) = {
            let mut state = self.0.borrow_mut();
            let outer = state.end;
            state.end = outer.min(state.at + len);
            (outer, state.end)
        };
        let done = f();
        let mut state = self.0.borrow_mut();
        (state.at, state.end) = (inner, outer);
        done
    }

    pub fn byte(&mut self) -> u8 {
        let mut state = self.0.borrow_mut();
        let at = state.at;
        let byte = if at < state.end { state.bytes[at] } else { 0 };
        state.at += usize::from(at < state.end);
        byte
    }

    /// A number of as many bytes as given, at most 8.
    pub fn number(&mut self, bytes: u32) -> u64 {
        (0..bytes).map(|n| u64::from(self.byte()) << (8 * n)).sum()
    }

    /// Bytes with their length, two bytes, before them; fewer if there are no more.
    pub fn block(&mut self) -> Vec<u8> {
        let len = usize::try_from(self.number(2)).unwrap();
        let mut state = self.0.borrow_mut();
        let (from, to) = (state.at, state.end.min(state.at + len));
        state.at = to;
        state.bytes[from..to].to_vec()
    }
}

impl Choices for Script {
    fn below(&mut self, n: u64) -> u64 {
        if n <= 256 { self.number(1) % n } else { self.number(4) % n }
    }

    /// They cost no input: no decision hangs on them.
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        self.0.borrow_mut().filling.bytes(len)
    }
}
