//! Threads that wait for the disk beside the one that asks: what they do is under way at once, and
//! they stay for the next time. Starting one for each sync costs more than the sync.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::sync::{Arc, AtomicUsize, Condvar, Mutex, Ordering, lock, start, wait};

/// Threads that are started when they are first needed, and end when the crew is dropped.
#[derive(Debug)]
pub(crate) struct Crew {
    shared: Arc<Shared>,
    /// Threads at most, that of the caller among them.
    most: usize,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Work that some thread should join in; one of these for each that should.
    calls: VecDeque<Arc<dyn Work>>,
    threads: usize,
    closed: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} threads, {} calls", self.threads, self.calls.len())
    }
}

/// Work that any number of threads do together.
trait Work: Send + Sync {
    /// Does what nobody has begun, until there is nothing left.
    fn join_in(&self);
}

/// Something to do for each of some items.
struct Items<T, R, F> {
    items: Vec<T>,
    f: F,
    next: AtomicUsize,
    done: Mutex<Vec<(usize, Outcome<R>)>>,
    changed: Condvar,
}

/// A result, or the panic in its place.
type Outcome<R> = Result<R, Box<dyn Any + Send>>;

impl<T, R, F> Work for Items<T, R, F>
where
    T: Send + Sync,
    R: Send,
    F: Fn(&T) -> R + Send + Sync,
{
    fn join_in(&self) {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = self.items.get(at) else { return };
            let outcome = catch_unwind(AssertUnwindSafe(|| (self.f)(item)));
            let mut done = lock(&self.done);
            done.push((at, outcome));
            if done.len() == self.items.len() {
                self.changed.notify_all();
            }
        }
    }
}

impl Crew {
    pub(crate) fn new(most: usize) -> Crew {
        Crew { shared: Arc::default(), most }
    }

    /// Runs `f` on every item, on this thread and on others. What it gives is in the order of the items.
    pub(crate) fn each<T, R>(
        &self,
        items: Vec<T>,
        f: impl Fn(&T) -> R + Send + Sync + 'static,
    ) -> Vec<R>
    where
        T: Send + Sync + 'static,
        R: Send + 'static,
    {
        let (count, threads) = (items.len(), items.len().div_ceil(2).min(self.most));
        if threads <= 1 {
            return items.iter().map(f).collect();
        }
        let done = Mutex::new(Vec::with_capacity(count));
        let work =
            Arc::new(Items { items, f, next: AtomicUsize::new(0), done, changed: Condvar::new() });
        self.call(&(Arc::clone(&work) as Arc<dyn Work>), threads - 1);
        work.join_in();
        let mut done = lock(&work.done);
        while done.len() < count {
            done = wait(&work.changed, done);
        }
        let mut done = std::mem::take(&mut *done);
        done.sort_unstable_by_key(|(at, _)| *at);
        done.into_iter().map(|(_, outcome)| outcome.unwrap_or_else(|e| resume_unwind(e))).collect()
    }

    /// Has so many threads join in, or as many as the system has.
    fn call(&self, work: &Arc<dyn Work>, threads: usize) {
        let mut state = lock(&self.shared.state);
        while state.threads < threads {
            let shared = Arc::clone(&self.shared);
            if !start(move || shared.serve()) {
                break;
            }
            state.threads += 1;
        }
        let called = threads.min(state.threads);
        state.calls.extend((0..called).map(|_| Arc::clone(work)));
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn serve(&self) {
        let mut state = lock(&self.state);
        while !state.closed {
            let Some(work) = state.calls.pop_front() else {
                state = wait(&self.changed, state);
                continue;
            };
            drop(state);
            work.join_in();
            drop(work);
            state = lock(&self.state);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.closed = true;
        state.calls.clear();
        self.shared.changed.notify_all();
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::thread;

    #[test]
    fn items_are_done_at_once_on_threads_that_stay() {
        let crew = Crew::new(4);
        let mut seen = HashSet::new();
        for round in 0..100 {
            // Ends only if four threads meet.
            let met = Arc::new(Barrier::new(4));
            let results = crew.each((0..8).collect(), move |n: &usize| {
                met.wait();
                (*n + round, thread::current().id())
            });
            assert_eq!(
                results.iter().map(|(n, _)| *n).collect::<Vec<_>>(),
                Vec::from_iter(round..round + 8)
            );
            seen.extend(results.into_iter().map(|(_, thread)| thread));
        }
        assert_eq!(seen.len(), 4);
        assert_eq!(crew.each(vec![1, 2], |n| (*n, thread::current().id())), {
            let me = thread::current().id();
            [(1, me), (2, me)]
        });
    }

    #[test]
    fn a_panic_goes_on_in_the_caller_and_the_crew_goes_on() {
        let crew = Crew::new(4);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            crew.each((0..20).collect(), |n: &u32| assert_ne!(*n, 13, "unlucky"))
        }));
        assert!(panicked.is_err());
        let doubled = crew.each((0..20).collect(), |n: &u32| n * 2);
        assert_eq!(doubled, (0..40).step_by(2).collect::<Vec<_>>());
    }
}
