//! Buffers for chunks on their way to members or from them. Each member has one of its own,
//! whatever the others do; the rest is shared, and a member that keeps a buffer for long gets no
//! more of it. Few are on their way at once: the others wait until these have left, or are slow.
//!
//! A buffer is out until its last byte has left this process. How long that takes is the member's
//! affair, so it must not be the others' as well.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stash_crypto::NodeId;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use stash_store::disk::PageBuf;

use crate::buffers::buffer::{Buffer, CLASSES, Free, Home, class_of};
use crate::lock::lock;

/// A buffer that came back within this time was not waited for: its member may have twice as many
/// out. One of 1 MiB does so from 2 MiB/s on.
const QUICK: Duration = Duration::from_millis(500);

/// Buffers that a member may have out before it is known how long it keeps them.
const FIRST: usize = 2;

/// A buffer that is out for longer is not on its way: its member is slow, and others do not wait for it.
/// So whoever waits for nothing else waits no longer than this, twice at most, for those before it.
const ON_ITS_WAY: Duration = Duration::from_millis(50);

/// Limits on the buffers that members may have out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of all members' own buffers, one each.
    pub own: usize,
    /// Bytes that members share beyond those.
    pub shared: usize,
    /// Buffers that a member may have out which keeps them long: one at least.
    pub least: usize,
    /// Buffers that a member may have out which gives them back at once.
    pub most: usize,
    /// Bytes of buffers that may be on their way at once, [`CLASSES`]' largest at least: more of them
    /// make nothing faster, and each would wait for the others.
    pub on_their_way: usize,
}

/// The places of all members, and the buffers that fill them.
#[derive(Clone)]
pub(crate) struct Places {
    inner: Arc<Inner>,
}

struct Inner {
    bounds: Bounds,
    state: Mutex<State>,
    /// Held by the one of those who wait that looks whether what is on its way still is.
    watch: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    members: BTreeMap<NodeId, Member>,
    own_out: usize,
    shared_out: usize,
    /// Counts what was given, so that members come in turn.
    given: u64,
    /// Buffers that are on their way, in the order in which they were given: the number, when, and
    /// the size in bytes.
    on_their_way: VecDeque<(u64, Instant, usize)>,
    free: Free,
}

/// Buffers that one member has out and waits for.
struct Member {
    has_own: bool,
    out: usize,
    allowed: usize,
    /// Time of its last turn, by the count of what was given.
    turn: u64,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    class: usize,
    give: oneshot::Sender<Buffer>,
    gone: oneshot::Sender<()>,
}

/// Resolves when a buffer is back, the last byte of it having left.
pub(crate) type Gone = oneshot::Receiver<()>;

impl Places {
    pub(crate) fn new(bounds: Bounds) -> Places {
        assert!(bounds.least > 0 && bounds.shared >= CLASSES[2], "room for any chunk");
        assert!(bounds.on_their_way >= CLASSES[2], "any chunk may be on its way");
        Places {
            inner: Arc::new(Inner { bounds, state: Mutex::default(), watch: Default::default() }),
        }
    }

    /// A buffer of `len` bytes, of unspecified content, on the account of a member; waits while the
    /// member has as many out as it may.
    ///
    /// # Panics
    ///
    /// When `len` is above [`crate::buffers::MAX_BUFFER`]: lengths from peers are checked before.
    pub(crate) async fn take(&self, member: NodeId, len: usize) -> Buffer {
        self.take_watched(member, len).await.0
    }

    /// The same, with what tells when the buffer is back.
    pub(crate) async fn take_watched(&self, member: NodeId, len: usize) -> (Buffer, Gone) {
        let (give, given) = oneshot::channel();
        let (gone, watch) = oneshot::channel();
        self.inner.ask(member, Waiting { class: class_of(len), give, gone });
        self.inner.give();
        let given = tokio::select! {
            biased;
            given = given => given,
            never = self.watch() => match never {},
        };
        let mut buffer = given.expect("whoever waits is given a buffer or dropped");
        buffer.resize(len);
        (buffer, watch)
    }

    /// A buffer for what a member sends later, if it is not missed: of what is shared, enough stays for any
    /// chunk, so that nobody waits for it to come back.
    ///
    /// # Panics
    ///
    /// As [`Places::take`].
    pub(crate) fn take_spare(&self, member: NodeId, len: usize) -> Option<Buffer> {
        let (class, inner) = (class_of(len), &self.inner);
        let mut state = lock(&inner.state);
        let (bounds, size) = (&inner.bounds, CLASSES[class]);
        if state.shared_out + size + CLASSES[2] > bounds.shared {
            return None;
        }
        state.members.entry(member).or_insert_with(|| Member::new(bounds));
        let place = state.place(inner, member, class, false, oneshot::channel().0)?;
        let bytes = state.free.take(class, bounds.own + bounds.shared);
        Some(Buffer::new(bytes, len, class, Box::new(place)))
    }

    /// Gives buffers whenever some that are out may have turned out to be slow. One of those who wait does
    /// so at a time.
    async fn watch(&self) -> Infallible {
        let _watch = self.inner.watch.lock().await;
        loop {
            sleep(ON_ITS_WAY).await;
            self.inner.give();
        }
    }

    /// Bytes of the buffers that are out.
    #[cfg(test)]
    pub(crate) fn out(&self) -> usize {
        let state = lock(&self.inner.state);
        state.own_out + state.shared_out
    }
}

impl Member {
    fn new(bounds: &Bounds) -> Member {
        let allowed = FIRST.clamp(bounds.least, bounds.most);
        Member { has_own: false, out: 0, allowed, turn: 0, waiting: VecDeque::new() }
    }
}

impl Inner {
    fn ask(&self, member: NodeId, waiting: Waiting) {
        let mut state = lock(&self.state);
        let asks = state.members.entry(member).or_insert_with(|| Member::new(&self.bounds));
        asks.waiting.push_back(waiting);
    }

    /// Gives buffers to those who wait, as long as one of them may have one.
    fn give(self: &Arc<Inner>) {
        loop {
            let mut state = lock(&self.state);
            let Some((give, place)) = state.next(self) else { return };
            let bytes = state.free.take(place.class, self.bounds.own + self.bounds.shared);
            drop(state);
            // One that is not wanted any more comes back by being dropped.
            let (len, class) = (bytes.len(), place.class);
            drop(give.send(Buffer::new(bytes, len, class, Box::new(place))));
        }
    }

    fn back(self: &Arc<Inner>, place: &Place, bytes: PageBuf) {
        let mut state = lock(&self.state);
        // What members have of their own is memory for a bad day: one of them is kept.
        state.free.put(place.class, bytes, self.bounds.shared + CLASSES[1]);
        let size = CLASSES[place.class];
        state.on_their_way.retain(|(given, ..)| *given != place.given);
        if place.is_own {
            state.own_out -= size;
        } else {
            state.shared_out -= size;
        }
        if let Some(member) = state.members.get_mut(&place.member) {
            member.out -= 1;
            member.has_own &= !place.is_own;
            let is_quick = place.since.elapsed() <= QUICK;
            let allowed =
                if is_quick { member.allowed.saturating_mul(2) } else { member.allowed / 2 };
            member.allowed = allowed.clamp(self.bounds.least, self.bounds.most);
            if member.out == 0 && member.waiting.is_empty() {
                state.members.remove(&place.member);
            }
        }
        drop(state);
        self.give();
    }
}

impl State {
    /// The next of those who wait that may have a buffer, and the place that it takes: of the
    /// member that has the fewest out, and among such ones of the one whose turn is longest ago.
    fn next(&mut self, inner: &Arc<Inner>) -> Option<(oneshot::Sender<Buffer>, Place)> {
        self.forget_those_who_left();
        let now = Instant::now();
        let on_their_way = self.on_their_way(now);
        let (bounds, own_out, shared_out) = (&inner.bounds, self.own_out, self.shared_out);
        let place = |member: &Member| {
            let size = CLASSES[member.waiting.front()?.class];
            if on_their_way + size > bounds.on_their_way {
                return None;
            }
            if !member.has_own && own_out + size <= bounds.own {
                return Some(true);
            }
            let is_allowed = member.out < member.allowed || member.out == 0;
            (is_allowed && shared_out + size <= bounds.shared).then_some(false)
        };
        let may = self.members.iter().filter_map(|(node, member)| {
            place(member).map(|is_own| (member.out, member.turn, *node, is_own))
        });
        let (_, _, node, is_own) = may.min()?;
        let Waiting { class, give, gone } = self.members.get_mut(&node)?.waiting.pop_front()?;
        Some((give, self.place(inner, node, class, is_own, gone)?))
    }

    /// Counts a buffer of a member that is known here as given.
    fn place(
        &mut self,
        inner: &Arc<Inner>,
        node: NodeId,
        class: usize,
        is_own: bool,
        gone: oneshot::Sender<()>,
    ) -> Option<Place> {
        let member = self.members.get_mut(&node)?;
        self.given += 1;
        member.out += 1;
        member.has_own |= is_own;
        member.turn = self.given;
        let out = if is_own { &mut self.own_out } else { &mut self.shared_out };
        *out += CLASSES[class];
        let (given, since) = (self.given, Instant::now());
        self.on_their_way.push_back((given, since, CLASSES[class]));
        let inner = Arc::clone(inner);
        Some(Place { inner, member: node, class, is_own, given, since, _gone: gone })
    }

    /// Bytes that are on their way. Those that are out for too long are no more.
    fn on_their_way(&mut self, now: Instant) -> usize {
        while self.on_their_way.front().is_some_and(|(_, given, _)| now - *given >= ON_ITS_WAY) {
            self.on_their_way.pop_front();
        }
        self.on_their_way.iter().map(|(.., size)| size).sum()
    }

    fn forget_those_who_left(&mut self) {
        self.members.retain(|_, member| {
            member.waiting.retain(|waiting| !waiting.give.is_closed());
            member.out > 0 || !member.waiting.is_empty()
        });
    }
}

/// A member's place, taken by a buffer.
pub(crate) struct Place {
    inner: Arc<Inner>,
    member: NodeId,
    class: usize,
    is_own: bool,
    given: u64,
    since: Instant,
    /// Dropped with the place, which tells the watcher.
    _gone: oneshot::Sender<()>,
}

impl Home for Place {
    fn back(self: Box<Self>, _: usize, bytes: PageBuf) {
        let inner = Arc::clone(&self.inner);
        inner.back(&self, bytes);
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.inner.state);
        f.debug_struct("Places")
            .field("own_out", &state.own_out)
            .field("shared_out", &state.shared_out)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures::FutureExt;

    const BOUNDS: Bounds = Bounds {
        own: 4 * CLASSES[1],
        shared: CLASSES[2] + CLASSES[1],
        least: 1,
        most: 8,
        on_their_way: usize::MAX,
    };

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    /// As many buffers of 1 MiB as a member is given at once.
    fn all(places: &Places, member: u8) -> Vec<Buffer> {
        let one = || places.take(node(member), 1 << 20).now_or_never();
        std::iter::from_fn(one).take(100).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_keeps_everything_leaves_each_other_member_a_buffer_of_its_own() {
        let places = Places::new(BOUNDS);
        let first = all(&places, 1);
        assert_eq!(first.len(), FIRST, "nobody knows yet how long it keeps them");
        for other in 2..5 {
            assert!(!all(&places, other).is_empty(), "member {other} has one of its own");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_back_at_once_may_have_more_and_whoever_does_not_has_one() {
        let places = Places::new(BOUNDS);
        let kept = places.take(node(1), 1).await;
        for _ in 0..3 {
            drop(places.take(node(1), 1 << 20).await);
        }
        let out = all(&places, 1);
        assert_eq!(out.len(), BOUNDS.shared / CLASSES[1]);
        tokio::time::advance(QUICK + Duration::from_millis(1)).await;
        drop(out);
        assert_eq!(all(&places, 1).len(), 0, "after slow answers, one at a time");
        drop(kept);
        assert_eq!(places.out(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_given_what_comes_back_in_turn_and_may_leave() {
        let places = Places::new(Bounds { own: 0, ..BOUNDS });
        let mut held = places.take(node(9), crate::buffers::MAX_BUFFER).await;
        let also_held = places.take(node(8), 1 << 20).await;
        let mut waiting: Vec<_> =
            [1, 1, 2].map(|n| Box::pin(places.take(node(n), 1 << 20))).into_iter().collect();
        assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
        // The first one leaves: its place in the queue is nobody's loss.
        drop(waiting.remove(0));
        drop(also_held);
        let given: Vec<_> = waiting.iter_mut().map(|one| one.now_or_never()).collect();
        assert_eq!(given.iter().flatten().count(), 1);
        held.resize(1);
        drop((held, given, waiting));
        assert_eq!(places.out(), 0, "what was given to those who left, too");
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_has_few_buffers_at_once_and_waits_for_no_slow_one() {
        let places =
            Places::new(Bounds { own: 64 * CLASSES[1], on_their_way: CLASSES[2], ..BOUNDS });
        let few = CLASSES[2] / CLASSES[1];
        let begun = Instant::now();
        let mut waiting = VecDeque::from_iter((0..20).map(|n| {
            let places = places.clone();
            tokio::spawn(async move { places.take(node(n), 1 << 20).await })
        }));
        // Whoever gives back at once lets the next one go on at once.
        for _ in 0..4 {
            drop(waiting.pop_front().unwrap().await.unwrap());
            assert!(places.out() <= CLASSES[2], "{}", places.out());
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        // Those who keep theirs hold the others up for a moment each time, and not longer.
        let rounds = u32::try_from(waiting.len().div_ceil(few)).unwrap();
        let mut kept = Vec::new();
        for one in waiting {
            kept.push(one.await.unwrap());
        }
        assert_eq!(places.out(), 16 * CLASSES[1]);
        assert!(begun.elapsed() <= 2 * rounds * ON_ITS_WAY, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn spare_buffers_leave_room_for_any_chunk() {
        let bounds = Bounds { shared: 12 << 20, least: usize::MAX, most: usize::MAX, ..BOUNDS };
        let places = Places::new(bounds);
        let spare = || places.take_spare(node(1), 1 << 20);
        let held: Vec<_> = std::iter::from_fn(spare).take(100).collect();
        assert_eq!(held.len(), (bounds.shared - CLASSES[2]) / CLASSES[1]);
        assert!(held.iter().all(|buffer| buffer.len() == 1 << 20));
        // Whoever has one of its own gets another one, of any length, at once.
        let own = places.take(node(2), 1).now_or_never().unwrap();
        let more = places.take(node(2), crate::buffers::MAX_BUFFER).now_or_never().unwrap();
        assert!(places.take_spare(node(3), 1).is_none());
        drop(more);
        assert_eq!(places.take_spare(node(3), 1).unwrap().len(), 1);
        drop((held, own));
        assert_eq!(places.out(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_watches_for_all_may_leave() {
        let places = Places::new(Bounds { on_their_way: CLASSES[2], ..BOUNDS });
        let _slow = places.take(node(1), crate::buffers::MAX_BUFFER).await;
        let mut first = Box::pin(places.take(node(2), 1));
        assert!(futures::poll!(&mut first).is_pending(), "it watches");
        let mut second = Box::pin(places.take(node(3), 1));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert_eq!(second.await.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_buffer_tells_when_its_last_byte_is_gone() {
        let places = Places::new(BOUNDS);
        let (buffer, mut gone) = places.take_watched(node(1), 5).await;
        assert_eq!(buffer.len(), 5);
        let shared = buffer.freeze();
        let clone = shared.clone();
        drop(shared);
        assert!(gone.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        drop(clone);
        assert!(gone.await.is_err(), "the sender is gone with the buffer");
    }
}
