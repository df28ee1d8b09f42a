//! Work that is done by one caller at a time and is cheaper done together: callers that come while
//! it is under way wait, and the first of them does it for all.

use std::collections::VecDeque;
use std::mem;
use std::sync::Mutex;
use std::sync::mpsc::{SyncSender, sync_channel};

use crate::lock::lock;

/// Requests `Q` that are answered by `A`.
#[derive(Debug)]
pub(crate) struct GroupCommit<Q, A> {
    queue: Mutex<Queue<Q, A>>,
    /// Weight of what is done together, at most; one alone may be heavier.
    most: usize,
}

#[derive(Debug)]
struct Queue<Q, A> {
    /// Bounded by the threads that wait.
    waiting: VecDeque<Waiting<Q, A>>,
    /// True if somebody does the work, or has been told to. If not, nobody waits.
    led: bool,
}

#[derive(Debug)]
struct Waiting<Q, A> {
    request: Q,
    weight: usize,
    tell: SyncSender<News<A>>,
}

#[derive(Debug)]
enum News<A> {
    Done(A),
    /// The request is the first of those who wait: do the work.
    Lead,
}

impl<Q, A> GroupCommit<Q, A> {
    pub(crate) fn new(most: usize) -> GroupCommit<Q, A> {
        GroupCommit { queue: Mutex::new(Queue { waiting: VecDeque::new(), led: false }), most }
    }

    /// Hands in a request and waits for its answer. `work` gives an answer for each of the requests
    /// that it gets, in their order; it is called at most once, and not at all if another call does
    /// the work for this one.
    ///
    /// # Panics
    ///
    /// If the work panics, for all callers whose work it was.
    pub(crate) fn take(&self, request: Q, weight: usize, work: impl FnOnce(Vec<Q>) -> Vec<A>) -> A {
        let (tell, hear) = sync_channel(1);
        let led = {
            let mut queue = lock(&self.queue);
            queue.waiting.push_back(Waiting { request, weight, tell });
            mem::replace(&mut queue.led, true)
        };
        if led && let News::Done(answer) = hear.recv().expect("who leads answers, or panics") {
            return answer;
        }
        let lead = Lead(self);
        let (requests, tell): (Vec<Q>, Vec<_>) =
            self.group().into_iter().map(|one| (one.request, one.tell)).unzip();
        let mut answers = work(requests).into_iter();
        let own = answers.next().expect("the first request is the one of who leads");
        for (tell, answer) in tell.into_iter().skip(1).zip(answers) {
            // Whoever waits has room for one message, and goes on waiting for it.
            let _ = tell.try_send(News::Done(answer));
        }
        drop(lead);
        own
    }

    /// The first of those who wait, and as many behind it as go together.
    fn group(&self) -> Vec<Waiting<Q, A>> {
        let mut queue = lock(&self.queue);
        let mut weight = 0_usize;
        let fits = |one: &&Waiting<Q, A>| {
            weight = weight.saturating_add(one.weight);
            weight <= self.most
        };
        let count = queue.waiting.iter().take_while(fits).count();
        queue.waiting.drain(..count.max(1)).collect()
    }
}

impl<Q, A> Drop for Lead<'_, Q, A> {
    fn drop(&mut self) {
        let mut queue = lock(&self.0.queue);
        queue.led = queue.waiting.front().is_some_and(|next| {
            // The first has heard nothing yet, so there is room.
            next.tell.try_send(News::Lead).is_ok()
        });
    }
}

/// The lead, passed on when it is dropped, also by a panic.
struct Lead<'a, Q, A>(&'a GroupCommit<Q, A>);

#[cfg(test)]
mod tests {
    use super::*;

    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc;
    use std::thread;

    /// Waits until so many wait.
    fn await_waiting<Q, A>(commits: &GroupCommit<Q, A>, count: usize) {
        while lock(&commits.queue).waiting.len() < count {
            thread::yield_now();
        }
    }

    #[test]
    fn what_waits_is_done_together_by_the_first_of_those_who_wait() {
        let commits = GroupCommit::new(3);
        let (go, gate) = mpsc::channel::<()>();
        let groups = Mutex::new(Vec::new());
        let double = |requests: Vec<u32>| {
            lock(&groups).push(requests.len());
            requests.iter().map(|request| request * 2).collect()
        };
        thread::scope(|scope| {
            let commits = &commits;
            let first = scope.spawn(move || {
                commits.take(1, 1, |requests| {
                    gate.recv().unwrap();
                    assert_eq!(requests, [1], "the others came later");
                    vec![2]
                })
            });
            while !lock(&commits.queue).led || !lock(&commits.queue).waiting.is_empty() {
                thread::yield_now();
            }
            let double = &double;
            let others: Vec<_> = (2..9)
                .map(|request| scope.spawn(move || (request, commits.take(request, 1, double))))
                .collect();
            await_waiting(commits, 7);
            go.send(()).unwrap();
            assert_eq!(first.join().unwrap(), 2);
            for other in others {
                let (request, answer) = other.join().unwrap();
                assert_eq!(answer, request * 2);
            }
        });
        assert_eq!(*lock(&groups), [3, 3, 1]);
        assert!(!lock(&commits.queue).led);
    }

    #[test]
    fn a_request_heavier_than_all_that_goes_together_is_done_alone() {
        let commits = GroupCommit::new(3);
        assert_eq!(commits.take(7, 100, |requests| requests), 7);
        assert_eq!(commits.take(8, 1, |requests| requests), 8);
    }

    #[test]
    fn a_panic_ends_those_whose_work_it_was_and_nobody_else() {
        let commits: GroupCommit<u32, u32> = GroupCommit::new(10);
        let panicked =
            catch_unwind(AssertUnwindSafe(|| commits.take(1, 1, |_| panic!("as meant"))));
        assert!(panicked.is_err());
        assert_eq!(commits.take(2, 1, |requests| requests), 2);
    }
}
