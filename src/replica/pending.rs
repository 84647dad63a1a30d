//! pure: queue of directories that are to be made or removed, with fair turns between requests.
//!
//! ```text
//! topic "a": [make: 1,990 left, 4 in hand] [remove] [make]    the steps are done one after the other
//! turns:     common, request 1, request 2 …                   one directory each, then from the first turn on again
//! ```
//! A request that waits for its topics has one turn, however many topics it names and however many partitions they have. So a
//! request for one directory waits for one directory of each other request, and not for all of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::base::ids::PartitionIndex;

/// Work on one directory.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece<W> {
    pub topic: Arc<str>,
    pub partition: PartitionIndex,
    pub work: W,
    /// Number of the step that the directory belongs to.
    pub step: u64,
}

/// Queue of steps and turns (see the module). A waiting request leaves a `K` with each step that it waits for; the step drops
/// it when it ends.
#[derive(Debug)]
pub struct Pending<W, K> {
    /// Steps by topic name: two topics with the same name, one of them deleted, use the same directories.
    topics: BTreeMap<Arc<str>, VecDeque<Step<W, K>>>,
    /// Turns in their order; `None` is the place of `everybodys`.
    turns: VecDeque<Option<Turn>>,
    /// Turn that covers all steps, including those for which no request waits.
    everybodys: Turn,
    steps: u64,
}

/// Work on the directories of one topic. The next step of the same name begins after it.
#[derive(Debug)]
struct Step<W, K> {
    number: u64,
    work: W,
    removes: bool,
    left: VecDeque<PartitionIndex>,
    in_hand: usize,
    waiters: Vec<K>,
}

#[derive(Debug, Default)]
struct Turn {
    /// Names of topics, each with the number of the last step waited for.
    wanted: VecDeque<(Arc<str>, u64)>,
}

impl<W, K> Default for Pending<W, K> {
    fn default() -> Self {
        Self {
            topics: BTreeMap::new(),
            turns: VecDeque::from([None]),
            everybodys: Turn::default(),
            steps: 0,
        }
    }
}

impl<W: Clone, K: Clone> Pending<W, K> {
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Adds directories to make, after the pending steps of the same name.
    pub fn make(&mut self, topic: &Arc<str>, work: W, partitions: VecDeque<PartitionIndex>) {
        self.add(topic, work, partitions, false, Vec::new());
    }

    /// Adds directories to remove. Directories of the topic that are not made yet are cancelled.
    pub fn remove(&mut self, topic: &Arc<str>, work: W, partitions: VecDeque<PartitionIndex>) {
        let waiters = self.cancel(topic);
        self.add(topic, work, partitions, true, waiters);
    }

    /// Adds directories of some partitions to remove, after the pending steps of the topic. The other partitions stay.
    pub fn remove_some(&mut self, topic: &Arc<str>, work: W, partitions: VecDeque<PartitionIndex>) {
        self.add(topic, work, partitions, true, Vec::new());
    }

    /// Cancels all directories that are not made yet.
    pub fn make_no_more(&mut self) {
        let topics: Vec<_> = self.topics.keys().cloned().collect();
        for topic in topics {
            self.cancel(&topic);
        }
    }

    /// Cancels the steps of a topic that make directories, except for pieces in hand. Returns the waiters of the cancelled
    /// steps.
    fn cancel(&mut self, topic: &Arc<str>) -> Vec<K> {
        let mut waiters = Vec::new();
        let Some(steps) = self.topics.get_mut(topic) else {
            return waiters;
        };
        steps.retain_mut(|step| {
            if step.removes {
                return true;
            }
            step.left.clear();
            if step.in_hand == 0 {
                waiters.append(&mut step.waiters);
            }
            step.in_hand > 0
        });
        if steps.is_empty() {
            self.topics.remove(topic);
        }
        waiters
    }

    fn add(
        &mut self,
        topic: &Arc<str>,
        work: W,
        left: VecDeque<PartitionIndex>,
        removes: bool,
        waiters: Vec<K>,
    ) {
        if left.is_empty() {
            return;
        }
        self.steps += 1;
        let step = Step {
            number: self.steps,
            work,
            removes,
            left,
            in_hand: 0,
            waiters,
        };
        let steps = self.topics.entry(Arc::clone(topic)).or_default();
        steps.push_back(step);
        let wanted = (Arc::clone(topic), self.steps);
        self.everybodys.wanted.push_back(wanted);
    }

    /// Adds a turn for a request that waits for all present steps of these topics.
    pub fn wait<'a>(&mut self, topics: impl Iterator<Item = &'a str>, waiter: &K) {
        let mut turn = Turn::default();
        for topic in topics {
            let Some((name, _)) = self.topics.get_key_value(topic) else {
                continue;
            };
            let name = Arc::clone(name);
            let steps = self.topics.get_mut(&name);
            if let Some(last) = steps.and_then(VecDeque::back_mut) {
                last.waiters.push(waiter.clone());
                turn.wanted.push_back((name, last.number));
            }
        }
        if !turn.wanted.is_empty() {
            self.turns.push_back(Some(turn));
        }
    }

    /// The next piece of work; `None` if nothing can be begun now.
    pub fn next_piece(&mut self) -> Option<Piece<W>> {
        for _ in 0..self.turns.len() {
            let mut turn = self.turns.pop_front()?;
            let taken_from = turn.as_mut().unwrap_or(&mut self.everybodys);
            let piece = taken_from.take(&mut self.topics);
            if turn.as_ref().is_none_or(|turn| !turn.wanted.is_empty()) {
                self.turns.push_back(turn);
            }
            if piece.is_some() {
                return piece;
            }
        }
        None
    }

    /// Reports that a piece is done. True if it was the last of its step: then the caller calls [`Self::finished`].
    pub fn done(&mut self, piece: &Piece<W>) -> bool {
        let steps = self.topics.get_mut(&piece.topic);
        let mut steps = steps.into_iter().flatten();
        let Some(step) = steps.find(|step| step.number == piece.step) else {
            return false;
        };
        step.in_hand = step.in_hand.saturating_sub(1);
        step.in_hand == 0 && step.left.is_empty()
    }

    /// Ends a step: the next one of its topic may begin.
    pub fn finished(&mut self, piece: &Piece<W>) {
        let Some(steps) = self.topics.get_mut(&piece.topic) else {
            return;
        };
        steps.retain(|step| step.number != piece.step);
        if steps.is_empty() {
            self.topics.remove(&piece.topic);
        }
    }
}

impl Turn {
    fn take<W: Clone, K>(
        &mut self,
        topics: &mut BTreeMap<Arc<str>, VecDeque<Step<W, K>>>,
    ) -> Option<Piece<W>> {
        for _ in 0..self.wanted.len() {
            let (topic, wanted) = self.wanted.pop_front()?;
            let first = topics.get_mut(&topic).and_then(VecDeque::front_mut);
            // Otherwise the wanted step is over.
            let Some(step) = first.filter(|step| step.number <= wanted) else {
                continue;
            };
            let Some(partition) = step.left.pop_front() else {
                if step.number < wanted {
                    // The last pieces of an earlier step are in hand.
                    self.wanted.push_back((topic, wanted));
                }
                continue;
            };
            step.in_hand += 1;
            let piece = Piece {
                topic: Arc::clone(&topic),
                partition,
                work: step.work.clone(),
                step: step.number,
            };
            self.wanted.push_front((topic, wanted));
            return Some(piece);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Scene {
        pending: Pending<&'static str, Arc<str>>,
        waiters: Vec<Arc<str>>,
    }

    impl Scene {
        fn make(&mut self, topic: &str, partitions: i32) {
            let partitions = (0..partitions).collect();
            self.pending.make(&topic.into(), "make", partitions);
        }

        fn remove(&mut self, topic: &str, partitions: i32) {
            let partitions = (0..partitions).collect();
            self.pending.remove(&topic.into(), "remove", partitions);
        }

        fn wait(&mut self, waiter: &'static str, topics: &[&str]) {
            let waiter = Arc::from(waiter);
            self.pending.wait(topics.iter().copied(), &waiter);
            self.waiters.push(waiter);
        }

        /// Names of the requests that still wait.
        fn waiting(&self) -> Vec<&str> {
            let waiting = self.waiters.iter().filter(|one| Arc::strong_count(one) > 1);
            waiting.map(|one| &**one).collect()
        }

        fn next(&mut self) -> Option<Piece<&'static str>> {
            self.pending.next_piece()
        }

        fn done(&mut self, piece: &Piece<&'static str>) {
            if self.pending.done(piece) {
                self.pending.finished(piece);
            }
        }

        /// Does up to `pieces` pieces one after the other; returns their descriptions.
        fn work(&mut self, pieces: usize) -> Vec<String> {
            let mut told = Vec::new();
            while told.len() < pieces
                && let Some(piece) = self.next()
            {
                told.push(format!(
                    "{} {}-{}",
                    piece.work, piece.topic, piece.partition
                ));
                self.done(&piece);
            }
            told
        }
    }

    #[test]
    fn one_directory_waits_for_one_of_each_other_request() {
        let mut scene = Scene::default();
        scene.make("large", 1_000);
        scene.wait("a", &["large"]);
        scene.make("larger", 2_000);
        scene.wait("b", &["larger"]);
        assert_eq!(scene.work(300).len(), 300);
        scene.make("small", 1);
        scene.wait("c", &["small"]);
        let soon = scene.work(4);
        assert!(soon.contains(&"make small-0".to_owned()), "{soon:?}");
        assert_eq!(scene.waiting(), ["a", "b"]);
        assert_eq!(scene.work(10_000).len(), 3_001 - 304);
        assert!(scene.waiting().is_empty() && scene.pending.is_empty());
    }

    #[test]
    fn a_request_for_many_topics_has_no_more_turns_than_one_for_one() {
        let mut scene = Scene::default();
        let names: Vec<_> = (0..500).map(|number| format!("many-{number}")).collect();
        for name in &names {
            scene.make(name, 2);
        }
        let names: Vec<_> = names.iter().map(|name| &**name).collect();
        scene.wait("a", &names);
        scene.make("small", 1);
        scene.wait("b", &["small"]);
        let soon = scene.work(3);
        assert!(soon.contains(&"make small-0".to_owned()), "{soon:?}");
        assert_eq!(scene.work(10_000).len(), 998);
        assert!(scene.waiting().is_empty() && scene.pending.is_empty());
    }

    #[test]
    fn what_nobody_waits_for_is_made_beside_what_others_wait_for() {
        let mut scene = Scene::default();
        scene.make("asked", 1_000);
        scene.wait("a", &["asked"]);
        scene.make("lonely", 2);
        // The common turn works on the oldest step too.
        assert_eq!(scene.work(1_001).len(), 1_001);
        assert!(scene.waiting().is_empty());
        assert_eq!(scene.work(10), ["make lonely-1"]);
    }

    #[test]
    fn who_waits_is_told_when_the_last_piece_is_finished() {
        let mut scene = Scene::default();
        scene.make("t", 2);
        scene.wait("a", &["t", "unknown"]);
        let (first, second) = (scene.next().unwrap(), scene.next().unwrap());
        assert_eq!(scene.next(), None);
        assert!(!scene.pending.done(&second));
        assert!(scene.pending.done(&first));
        assert_eq!(scene.waiting(), ["a"]);
        scene.pending.finished(&first);
        assert!(scene.waiting().is_empty());
        scene.wait("late", &["t"]);
        assert!(scene.waiting().is_empty());
    }

    #[test]
    fn a_topic_that_is_deleted_is_not_made_to_its_end() {
        let mut scene = Scene::default();
        scene.make("t", 1_000);
        scene.wait("creator", &["t"]);
        let made = scene.next().unwrap();
        scene.remove("t", 3);
        scene.wait("deleter", &["t"]);
        scene.make("t", 1);
        scene.wait("creator again", &["t"]);
        // The piece in hand comes first: its directory has the same name.
        assert_eq!(scene.next(), None);
        scene.done(&made);
        assert_eq!(scene.waiting(), ["deleter", "creator again"]);
        let removed = ["remove t-0", "remove t-1", "remove t-2"];
        assert_eq!(scene.work(3), removed);
        assert_eq!(scene.waiting(), ["creator again"]);
        assert_eq!(scene.work(10), ["make t-0"]);
        assert!(scene.waiting().is_empty() && scene.pending.is_empty());
    }

    #[test]
    fn a_topic_that_is_deleted_before_anything_was_made_tells_its_creator_too() {
        let mut scene = Scene::default();
        scene.make("t", 5);
        scene.wait("creator", &["t"]);
        scene.remove("t", 5);
        assert_eq!(scene.waiting(), ["creator"]);
        assert_eq!(scene.work(10).len(), 5);
        assert!(scene.waiting().is_empty() && scene.pending.is_empty());
    }

    #[test]
    fn at_a_stop_what_is_to_be_removed_is_removed_and_nothing_is_made() {
        let mut scene = Scene::default();
        scene.make("made", 5);
        scene.wait("creator", &["made"]);
        scene.remove("removed", 2);
        scene.make("removed", 3);
        let begun = scene.next().unwrap();
        assert_eq!(&*begun.topic, "made");
        scene.pending.make_no_more();
        assert_eq!(scene.work(10), ["remove removed-0", "remove removed-1"]);
        scene.done(&begun);
        assert!(scene.waiting().is_empty() && scene.pending.is_empty());
    }
}
